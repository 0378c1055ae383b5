"""Which values a secret may have."""

import codecs
import re
import tomllib

from ..errors import AgentError, FieldError, Problem
from ..host.toml import TooMuchError, parse
from ..model.secret import SNOWFLAKE_PREFIX

_POSITION = re.compile(r"\(at (line \d+, column \d+|end of document)\)")


def checked_value(name: str, value: bytes) -> bytes:
    """The value to store. A secret whose name begins with `snowflake` must be a connections.toml.

    A byte order mark before it, which some editors write, is left out: the connector refuses it.

    Format: docs.snowflake.com, "Connecting using the connections.toml file": one table per connection.
    Raises `AgentError` (invalid-request) that says what is wrong without quoting the value.
    """
    if not name.startswith(SNOWFLAKE_PREFIX):
        return value
    value = value.removeprefix(codecs.BOM_UTF8)
    try:
        connections = parse(value.decode("utf-8"))
    except UnicodeDecodeError:
        raise _refused("is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        place = _POSITION.search(str(error))
        raise _refused(f"is not TOML{f' (at {place[1]})' if place else ''}") from None
    except TooMuchError as error:
        raise _refused(str(error)) from None
    except ValueError:
        raise _refused("has a number with too many digits") from None
    if "connections" in connections:
        raise _refused("has its connections below [connections]; write [NAME], not [connections.NAME]")
    if not any(isinstance(table, dict) and "account" in table for table in connections.values()):
        raise _refused('has no connection: a table such as [default] with account = "…"')
    return value


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.INVALID_REQUEST,
        "A secret of this name must be a connections.toml.",
        "docs/secrets.md shows an example. A secret of another name may have any value.",
        (FieldError("value", why),),
    )

"""Which values a secret may have."""

import re
import tomllib

from ..errors import AgentError, FieldError, Problem
from ..host.toml import TooMuchError, parse
from ..model.secret import SNOWFLAKE_PREFIX

_POSITION = re.compile(r"\(at (line \d+, column \d+|end of document)\)")


def check_value(name: str, value: bytes) -> None:
    """Checks that a secret whose name begins with `snowflake` is a connections.toml.

    Format: docs.snowflake.com, "Connecting using the connections.toml file": one table per connection.
    Raises `AgentError` (invalid-request) that says what is wrong without quoting the value.
    """
    if not name.startswith(SNOWFLAKE_PREFIX):
        return
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


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.INVALID_REQUEST,
        "A secret of this name must be a connections.toml.",
        "docs/secrets.md shows an example. A secret of another name may have any value.",
        (FieldError("value", why),),
    )

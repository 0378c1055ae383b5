"""Which values a secret may have, and that a refused one is never quoted."""

import pytest

from agent.errors import AgentError, Problem
from agent.secrets.values import checked_value

CANARY = "hunter2-do-not-show"


def accepted(name: str, value: bytes) -> bool:
    try:
        checked_value(name, value)
    except AgentError as error:
        return error.problem is not Problem.INVALID_REQUEST
    return True


def test_a_connections_file_with_a_connection_is_accepted() -> None:
    assert accepted("snowflake", b'[default]\naccount = "ab123"\n')
    assert accepted("snowflake-dev", b'[a]\naccount = "x"\n[b]\naccount = "y"\n')


def test_a_byte_order_mark_is_left_out_of_a_connections_file_only() -> None:
    connection = b'[default]\naccount = "x"\n'
    assert checked_value("snowflake", b"\xef\xbb\xbf" + connection) == connection
    assert checked_value("api-key", b"\xef\xbb\xbfkey") == b"\xef\xbb\xbfkey"


def test_other_secrets_may_have_any_value() -> None:
    assert accepted("api-key", b"\xff\x00")
    assert not accepted("snowflake", b"\xff\x00")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f'password = "{CANARY}', "not TOML"),
        (f'[default]\naccount = "x"\npassword = {CANARY}', "line 3"),
        (f'password = "{CANARY}"', "no connection"),
        (f'[default]\npassword = "{CANARY}"', "no connection"),
        (f'[connections.default]\naccount = "x"\npassword = "{CANARY}"', r"\[connections\]"),
        ("\udcff", "UTF-8"),
        (f"{CANARY} = {'[' * 100_000}", "nested too deeply"),
        (f"{CANARY}{'.a' * 100_000} = 1", "dots in line 1"),
        (f"{CANARY} = {'1' * 5000}", "too many digits"),
    ],
)
def test_a_refused_connections_file_is_not_quoted(value: str, why: str) -> None:
    with pytest.raises(AgentError, match=why) as caught:
        checked_value("snowflake", value.encode(errors="surrogateescape"))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None

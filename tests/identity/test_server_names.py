"""The names of the server: which are accepted, and how they come back."""

import pytest

from agent.errors import AgentError
from agent.identity.authority import Authority
from agent.identity.server_names import server_names


def test_server_names_are_read_back(authority: Authority) -> None:
    names = ["ml.example.org", "*.example.org", "192.0.2.7", "2001:db8::1"]
    assert server_names(authority.issue_server(names).certificate) == names


@pytest.mark.parametrize("name", ["", "with space", "a/b", "münchen", "-x", "a..b", "a" * 64, "x\n"])
def test_an_invalid_server_name_is_refused_and_named(authority: Authority, name: str) -> None:
    with pytest.raises(AgentError) as caught:
        authority.issue_server(["localhost", name])
    assert repr(name) in caught.value.message

"""Reading a secret's value, and remarks on the file that it came from."""

from pathlib import Path

import pytest

from agent.cli import secret_value
from agent.errors import AgentError


def test_a_file_that_others_can_read_is_remarked(tmp_path: Path) -> None:
    file = tmp_path / "connections.toml"
    file.write_text("x")
    file.chmod(0o644)
    assert "chmod 600" in (secret_value.remark_on(file) or "")
    assert secret_value.remark_on(None) is None


def test_a_private_file_that_keeps_the_value_is_remarked(tmp_path: Path) -> None:
    file = tmp_path / "connections.toml"
    file.touch(0o600)
    assert secret_value.remark_on(file) == f"{file} still holds the value; Podman has its own copy now."


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"nowhere cannot be read: No such file"):
        secret_value.read_value(tmp_path / "nowhere")

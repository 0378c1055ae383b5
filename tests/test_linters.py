"""The linters are tests, so that one command says whether a change is ready."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


# As in the Makefile: what is imported from different places is checked apart.
COMMANDS = (
    "ruff check",
    "ruff format --check",
    "mypy",
    "mypy tests/host/systemd_host",
    "mypy --explicit-package-bases"
    " --exclude tests/security/hostile|tests/cases/scripts|tests/fleet/host/inside|earlier_state"
    " tests/api tests/bench tests/cases tests/faults tests/fleet/host tests/hostile tests/security"
    " tests/support",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_linter_has_nothing_to_say(command: str) -> None:
    environment = {**os.environ, "MYPYPATH": "." if "--explicit" in command else ""}
    ran = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{command}:\n{ran.stdout}{ran.stderr}"

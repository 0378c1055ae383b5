"""The API without the agent behind it. Tests marked `over_any_backend` run over the backend in memory."""

import subprocess
import sys

BEHIND = (
    "sqlite3.",
    "dbus_fast.",
    "agent.config.",
    "agent.store.",
    "agent.jobs.",
    "agent.runtime.",
    "agent.scripts.",
)
LOADED = "import sys, agent.api.app; print(*sys.modules)"


def test_the_api_loads_none_of_the_modules_behind_it() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "agent.backend" in loaded
    assert [name for name in loaded if f"{name}.".startswith(BEHIND)] == []

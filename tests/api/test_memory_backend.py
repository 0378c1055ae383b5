"""The API without the agent behind it. Tests that are marked `over_any_backend` use the backend in memory."""

import subprocess
import sys

BEHIND = (
    "sqlite3",
    "dbus_fast",
    "agent.config",
    "agent.store",
    "agent.jobs",
    "agent.runtime",
    "agent.scripts",
)
LOADED = "import sys, agent.api.app; print(*sys.modules)"


def test_the_api_loads_nothing_that_stands_behind_it() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "agent.backend" in loaded
    assert [name for name in loaded if name.startswith(BEHIND)] == []

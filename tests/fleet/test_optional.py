"""A host that is in no fleet needs nothing of one: neither its libraries nor its code."""

import subprocess
import sys

PROGRAMS = ("agent.cli.admin.main", "agent.cli.job.main", "agent.cli.fleet.main", "agent.service")
LOOK = """
import importlib, sys
for name in ("redis", "aio_pika", "aiormq"):
    sys.modules[name] = None  # as if it were not installed: importing it fails
importlib.import_module(sys.argv[1])
print(*(name for name in sys.modules if name.startswith("agent.fleet")))
"""


def test_no_other_program_imports_the_fleet() -> None:
    for program in PROGRAMS:
        ran = subprocess.run(
            [sys.executable, "-c", LOOK, program], capture_output=True, text=True, check=False, timeout=60
        )
        assert (ran.returncode, ran.stdout.strip()) == (0, ""), f"{program}: {ran.stderr}{ran.stdout}"

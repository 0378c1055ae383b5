"""The programs that a job's unit runs."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.config import shipped


@pytest.mark.parametrize(("main_process", "begins"), [("conmon", True), ("podman", False), (None, False)])
def test_the_script_may_start_when_systemd_watches_conmon(
    tmp_path: Path, main_process: str | None, begins: bool
) -> None:
    with contextlib.ExitStack() as stack:
        environment = {"PATH": "/usr/bin:/bin"}
        if main_process is not None:
            program = tmp_path / main_process
            shutil.copy("/bin/sleep", program)
            process = stack.enter_context(subprocess.Popen([program, "60"]))
            stack.callback(process.kill)
            environment["MAINPID"] = str(process.pid)
        hook = [shipped("units") / "ml-job-started", tmp_path / "started"]
        ran = subprocess.run(hook, env=environment, capture_output=True, text=True, check=False)
    assert (tmp_path / "started").exists() == begins
    assert (ran.returncode, ran.stderr) == (
        (0, "") if begins else (1, "The container ended before its script began.\n")
    )

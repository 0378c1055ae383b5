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


ID = "f" * 64
INVOCATION = "0123456789abcdef" * 2


class Ending:
    """The files of an attempt and of its container, and a Podman that notes how it is called."""

    def __init__(self, directory: Path) -> None:
        self.runtime, self.attempt, programs = (directory / name for name in ("run", "attempt", "bin"))
        self.exits = self.runtime / "libpod/tmp/exits"
        for each in (self.exits, self.attempt / "input", programs):
            each.mkdir(parents=True)
        self.record, self.calls = self.attempt / "ended", directory / "calls"
        (self.attempt / "ended.new").write_bytes(b" " * 1024)
        self.cid, self.left = (self.runtime / f"ml-job@abcdefghijkl.{each}" for each in ("cid", "left"))
        self.failures = directory / "failures"
        self.failures.write_text("0")
        program = programs / "podman"
        program.write_text(
            f"""#!/bin/sh
            echo "$*" >> {self.calls}
            failures=$(cat {self.failures})
            echo $((failures - 1)) > {self.failures}
            [ "$failures" -le 0 ]
            """
        )
        program.chmod(0o755)
        self.calls.touch()
        self.path = f"{programs}:/usr/bin:/bin"

    def runs(self, result: str, code: str, status: str) -> str:
        """Runs the program as systemd does; returns the record."""
        environment = {"PATH": self.path, "XDG_RUNTIME_DIR": str(self.runtime), "INVOCATION_ID": INVOCATION}
        environment |= {"SERVICE_RESULT": result}
        if code != "-":
            environment |= {"EXIT_CODE": code, "EXIT_STATUS": status}
        hook = [shipped("units") / "ml-job-ended", self.record, self.cid, "ml-job@abcdefghijkl"]
        subprocess.run(hook, env=environment, check=True, stderr=subprocess.DEVNULL)
        return self.record.read_text("ascii").strip()

    def removals(self) -> int:
        """How often Podman was asked to remove the job's container, and nothing else."""
        calls = self.calls.read_text().splitlines()
        assert set(calls) <= {"--events-backend=none rm --force --ignore --volumes ml-job-abcdefghijkl"}
        return len(calls)


@pytest.fixture
def ending(tmp_path: Path) -> Ending:
    return Ending(tmp_path)


@pytest.mark.parametrize(
    ("words", "exit_file", "own"),
    [
        (("exit-code", "exited", "1"), None, " ?"),
        (("exit-code", "exited", "125"), "0", " 0"),
        (("exit-code", "exited", "1"), "", " ?"),
        (("signal", "killed", "KILL"), "3\n", " 3"),
    ],
)
def test_a_record_has_the_containers_status_where_conmon_or_podman_failed(
    ending: Ending, words: tuple[str, str, str], exit_file: str | None, own: str
) -> None:
    (ending.attempt / "input/started").touch()
    ending.cid.write_text(ID)
    if exit_file is not None:
        (ending.exits / ID).write_text(exit_file)
    assert ending.runs(*words) == f"{' '.join(words)} {INVOCATION}{own}"
    assert ending.record.stat().st_size == 1024
    assert ending.removals() == 1
    assert not ending.cid.exists()


@pytest.mark.parametrize(
    ("words", "started", "cid", "removals"),
    [
        (("success", "exited", "0"), True, False, 0),
        (("exit-code", "exited", "3"), True, False, 1),
        (("exit-code", "exited", "126"), False, True, 1),
        (("timeout", "-", "-"), False, False, 1),
    ],
)
def test_a_record_has_no_status_of_the_container_where_conmon_tells_it(
    ending: Ending, words: tuple[str, str, str], started: bool, cid: bool, removals: int
) -> None:
    if started:
        (ending.attempt / "input/started").touch()
    if cid:
        ending.cid.write_text(ID)
    assert ending.runs(*words) == f"{' '.join(words)} {INVOCATION}"
    assert ending.removals() == removals
    assert not ending.cid.exists()
    assert not ending.left.exists()


def test_without_podmans_directory_of_exit_files_conmon_is_believed(ending: Ending) -> None:
    (ending.attempt / "input/started").touch()
    ending.cid.write_text(ID)
    ending.exits.rmdir()
    assert ending.runs("exit-code", "exited", "3") == f"exit-code exited 3 {INVOCATION}"


@pytest.mark.parametrize(("failures", "removals", "left"), [(0, 1, False), (1, 2, False), (9, 2, True)])
def test_a_container_that_podman_cannot_remove_is_marked(
    ending: Ending, failures: int, removals: int, left: bool
) -> None:
    ending.failures.write_text(str(failures))
    ending.cid.write_text(ID)
    ending.runs("signal", "killed", "KILL")
    assert ending.removals() == removals
    assert ending.left.exists() == ending.cid.exists() == left


def test_a_record_is_written_once(ending: Ending) -> None:
    first = ending.runs("exit-code", "exited", "3")
    assert ending.runs("success", "exited", "0") == first


@pytest.mark.parametrize(
    ("main_process", "cid", "exit_file", "marked"),
    [
        (True, ID, None, True),
        (True, "", None, True),
        # The script has ended by itself, and its container is being removed, or has been.
        (True, ID, "0", False),
        (True, None, None, False),
        (False, ID, None, False),
    ],
)
def test_only_a_stop_of_a_running_script_is_marked(
    ending: Ending, main_process: bool, cid: str | None, exit_file: str | None, marked: bool
) -> None:
    mark = ending.attempt / "stopping"
    (ending.attempt / "stopping.new").write_bytes(b" " * 1024)
    if cid is not None:
        ending.cid.write_text(cid)
    if exit_file is not None:
        (ending.exits / ID).write_text(exit_file)
    environment = {"PATH": ending.path, "XDG_RUNTIME_DIR": str(ending.runtime), "SERVICE_RESULT": "success"}
    environment |= {"MAINPID": "4711"} if main_process else {}
    subprocess.run([shipped("units") / "ml-job-stopping", mark, ending.cid], env=environment, check=True)
    assert mark.exists() == marked
    if marked:
        assert (mark.read_text("ascii").strip(), mark.stat().st_size) == ("success", 1024)

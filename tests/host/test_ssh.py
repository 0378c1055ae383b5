"""What a virtual machine's login shell is given to execute, executed by this machine's."""

import signal
import subprocess
from pathlib import Path

import pytest
from systemd_host import ssh


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login begins in the home directory."""
    monkeypatch.chdir(tmp_path)


def login(
    *command: str, cwd: str | None = None, pid_file: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Execute as sshd(8) does."""
    words = ssh.script(command, True, cwd, pid_file)
    return subprocess.run(["bash", "-c", words], input=b"input", capture_output=True, check=False)


def test_arguments_and_input_arrive_exactly() -> None:
    arguments = ["two words", "", "--", "'", '"', "a\nb", "$HOME", "*", "\\", "ü", "%s;|&"]
    assert login("printf", "%s\\0", *arguments).stdout.decode().split("\0")[:-1] == arguments
    assert login("cat").stdout == b"input"


@pytest.mark.parametrize("status", [0, 1, 77, 255])
def test_the_exit_status_is_the_commands(status: int) -> None:
    assert login("sh", "-c", f"echo said >&2; exit {status}").returncode == status


def test_a_command_ended_by_a_signal_gives_128_plus_its_number_and_says_nothing() -> None:
    done = login("sh", "-c", "kill -KILL $$")
    assert (done.returncode, done.stderr) == (128 + signal.SIGKILL, b"")


def test_nothing_of_the_logins_own_environment_is_left() -> None:
    assert b"SHLVL" not in login("env").stdout
    assert b"HOME=/root\n" in login("env").stdout


def test_a_working_directory_that_is_not_there_is_named() -> None:
    done = login("true", cwd="/no such")
    assert done.returncode == 125
    assert done.stderr == b"host: --cwd /no such: no such directory\n"


def test_the_commands_own_process_is_remembered_for_signals_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    done = login("sh", "-c", f"echo $$; cat {path}", pid_file=str(path))
    own, remembered = done.stdout.split()
    assert own == remembered
    assert not path.exists()

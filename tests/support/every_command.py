"""Every command of a program, each in a process of its own, with streams that are closed or full.

As a program, `python -m tests.support.every_command PROGRAM STREAM [DIRECTORY]` reads JSON from stdin, two
lists of command lines, and prints a list of `[status, stdout, stderr]`. It loads the program once and forks.
A DIRECTORY becomes a file system of its own in the state that STREAM says. That needs a mount namespace.
"""

import contextlib
import faulthandler
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import typer

from tests.support.full_disk import fill

MAINS = {
    "ml-job": "agent.cli.job.main",
    "ml-agent": "agent.cli.admin.main",
    "ml-fleet": "agent.cli.fleet.main",
}
STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
# Free bytes of a file system; None is read-only.
DISKS: dict[str, int | None] = {"full disk": 0, "almost full disk": 24 * 1024, "read-only disk": None}
DISK_SIZE = "16m"
NAMESPACE = ("unshare", "--map-current-user", "--keep-caps", "--mount")
SECONDS = 3  # a command that still runs then is ended as Ctrl-C ends it
PATIENCE = 30  # seconds; one that has not ended then shows where it hangs, and is ended
HUNG = "(most recent call first)"  # in what it shows


def command_names(program: str) -> list[tuple[str, ...]]:
    """The words of every command."""
    group: Any = typer.main.get_command(importlib.import_module(MAINS[program]).app)
    return list(_names(group, ()))


def _names(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not hasattr(command, "commands"):
        yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from _names(below, (*words, name))


def run_each(
    program: str,
    stream: str,
    lines: Sequence[Sequence[str]],
    environment: dict[str, str],
    directory: Path | None = None,
    after: Sequence[Sequence[str]] = (),
) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each command line. `stream` is closed; of `full`, stdout is full.

    With a `directory`, `stream` is one of `DISKS`, and the file system of the directory is in that state. The
    command lines `after` follow when it has room again.
    """
    command = [sys.executable, "-m", "tests.support.every_command", program, stream]
    done = subprocess.run(
        [*NAMESPACE, *command, str(directory)] if directory else command,
        input=json.dumps([list(lines), list(after)]),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
        timeout=240,
    )
    return [(status, out, err) for status, out, err in json.loads(done.stdout)]


def _run(program: str, stream: str, line: list[str]) -> tuple[int, str, str]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os._exit(_in_child(program, stream, line, out, err))
        _, status = os.waitpid(child, 0)
        for file in (out, err):
            file.seek(0)
        return os.waitstatus_to_exitcode(status), out.read().decode("latin-1"), err.read().decode("latin-1")


def _in_child(program: str, stream: str, line: list[str], out: BinaryIO, err: BinaryIO) -> int:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(PATIENCE, exit=True, file=err)
    null = os.open(os.devnull, os.O_RDONLY)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor, source in enumerate((null, full if stream == "full" else out.fileno(), err.fileno())):
        os.dup2(source, descriptor)
    encoding = sys.stdout.encoding
    sys.stdin, sys.stdout, sys.stderr = (
        open(descriptor, mode, encoding=encoding, closefd=False)  # noqa: SIM115
        for descriptor, mode in enumerate("rww")
    )
    if stream in STREAMS:
        os.close(STREAMS[stream])
        setattr(sys, stream, None)  # as Python begins then
    sys.argv = [program, *line]
    status = 0
    try:
        importlib.import_module(MAINS[program]).main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        status = 99
        err.write(traceback.format_exc().encode())
        err.flush()
    for each in (sys.stdout, sys.stderr):
        try:
            each.flush()
        except (OSError, AttributeError):
            status = 120  # as Python ends then, with "Exception ignored" on stderr
    return status


def _mount(directory: Path) -> None:
    """Makes the directory a small file system with the same files, in this mount namespace alone."""
    with tempfile.TemporaryDirectory() as kept:
        copy = shutil.copytree(directory, Path(kept, "copy"), symlinks=True)
        options = f"size={DISK_SIZE},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
        shutil.copytree(copy, directory, symlinks=True, dirs_exist_ok=True)
    os.chdir(directory)


def _prepare(directory: Path, stream: str) -> None:
    """Brings the file system into its state again, whatever the last command has freed."""
    free = DISKS[stream]
    if free is None:
        subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
    else:
        fill(directory, but=free)


def _restore(directory: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", directory], check=True)
    (directory / "fill").unlink(missing_ok=True)


def _run_all(
    program: str, stream: str, lines: list[list[str]], after: list[list[str]], directory: Path | None
) -> Iterator[Any]:
    if directory:
        _mount(directory)
    for line in lines:
        if directory:
            _prepare(directory, stream)
        yield _run(program, stream, line)
    if directory:
        _restore(directory)
    for line in after:
        yield _run(program, stream, line)


if __name__ == "__main__":
    given = json.load(sys.stdin)
    importlib.import_module(MAINS[sys.argv[1]])  # once, before all forks
    with contextlib.redirect_stdout(sys.stderr):
        program, stream, *places = sys.argv[1:]
        lines, after = given
        found = list(_run_all(program, stream, lines, after, Path(places[0]) if places else None))
    print(json.dumps(found))

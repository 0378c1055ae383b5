"""Every command of a program, each in a process of its own, with streams that are closed or full.

As a program, `python -m tests.support.every_command PROGRAM STREAM` reads JSON from stdin, a list of command
lines, and prints a list of `[status, stdout, stderr]`. It loads the program once and forks for each.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import typer

MAINS = {"ml-job": "agent.cli.job.main", "ml-agent": "agent.cli.admin.main"}
STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
SECONDS = 3  # a command that still runs then is ended as Ctrl-C ends it


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
    program: str, stream: str, lines: Sequence[Sequence[str]], environment: dict[str, str]
) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each command line. `stream` is closed; of `full`, stdout is full."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.every_command", program, stream],
        input=json.dumps(lines),
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


if __name__ == "__main__":
    given = json.load(sys.stdin)
    importlib.import_module(MAINS[sys.argv[1]])  # once, before all forks
    with contextlib.redirect_stdout(sys.stderr):
        found = [_run(sys.argv[1], sys.argv[2], line) for line in given]
    print(json.dumps(found))

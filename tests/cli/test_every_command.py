"""No command shows a traceback, whatever the terminal, the locale and the caller's descriptors are."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.cli.failure import (
    EXIT_CANCELLED,
    EXIT_CONFIGURATION,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
)
from agent.identity import tls
from agent.identity.authority import Authority
from tests.support.every_command import command_names, run_each
from tests.support.ml_agent import make_account, runner
from tests.support.ml_job import make_home
from tests.support.stand_in_agent import JOB_ID, StandIn, job, serving

# A locale that has ASCII alone and stays so, and a narrow terminal.
ASCII = {
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii",
    "COLUMNS": "40",
}
SENSIBLE = {
    0,
    EXIT_FAILURE,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    EXIT_CONFIGURATION,
    EXIT_INTERRUPTED,
    EXIT_CANCELLED,
}
CONDITIONS = ("stdin", "stdout", "stderr", "full", "open")

# Bytes that are no text in UTF-8, as Python passes them on.
NO_TEXT = [["list", "--owner", "\udcff"], ["scripts", "\udcff"], ["show", "\udcff"], ["\udcff"]]

# What follows the words of a command; none, and its own usage, where a command is not here.
JOB_ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("submit",): ["träin.py", "-p", "depth=ü"],
    ("scripts",): [],
    ("secret", "set"): ["api"],
    ("secret", "rm"): ["api"],
    ("enrol",): ["https://localhost:1/#nonsense"],
    ("watch",): ["--ended", "0"],
    ("artifacts", "get"): [JOB_ID, "-o", "gänge"],
} | {(name,): [JOB_ID] for name in ("rerun", "show", "cancel", "pin", "unpin", "logs", "wait")}
JOB_ARGUMENTS[("artifacts", "list")] = [JOB_ID]
AGENT_ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("egress",): ["nowhere"],
    ("issue",): ["bob"],
    ("invite",): ["bob"],
    ("init",): ["--scripts", "/nowhere/ü"],
    ("withdraw",): ["HEAD", "--reason", "Größe"],
    ("restore",): ["HEAD"],
    ("secret", "set"): ["api"],
    ("secret", "rm"): ["api"],
    ("revoke",): ["--user", "bob"],
    ("install",): ["--dry-run"],
    ("uninstall",): ["--dry-run"],
}


def lines_of(program: str, arguments: dict[tuple[str, ...], list[str]]) -> list[list[str]]:
    """Each command with its arguments, its help, and an option that it has not."""
    names = command_names(program)
    assert set(arguments) <= set(names)
    given = [[*name, *arguments.get(name, [])] for name in names]
    return [*given, *([*name, "--help"] for name in names), [], ["--help"], ["--nö"], ["nö"], *NO_TEXT]


def check(program: str, stream: str, lines: Sequence[list[str]]) -> None:
    """Runs each command line, and expects neither a traceback nor a status that says nothing."""
    wrong = [
        (line, status, err[-1500:])
        for line, (status, _, err) in zip(lines, run_each(program, stream, lines, ASCII), strict=True)
        if status not in SENSIBLE or "Traceback" in err or "Exception ignored" in err
    ]
    assert not wrong, "\n\n".join(f"{line}: {status}\n{err}" for line, status, err in wrong)


@pytest.mark.parametrize("stream", CONDITIONS)
def test_no_command_of_ml_job_shows_a_traceback(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.create(tmp_path, "the host's authority")
    server = authority.issue_server(["localhost"])
    (tmp_path / "server.crt").write_bytes(server.certificate_pem())
    (tmp_path / "server.key").write_bytes(server.key_pem())
    make_home(tmp_path / "home", authority, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    agent = StandIn(
        jobs=[job(name="Größe 漢")], files={"m.pkl": b"x", "größe": b"y"}, plain_log=b"\xff\xc3\xa4\n"
    )
    with serving(agent, tls.server_context(tmp_path)) as url:
        monkeypatch.setenv("ML_JOB_SERVER", url)
        check("ml-job", stream, lines_of("ml-job", JOB_ARGUMENTS))


@pytest.mark.parametrize("stream", CONDITIONS)
def test_no_command_of_ml_agent_shows_a_traceback(
    stream: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_account(tmp_path, monkeypatch)
    ready = runner(monkeypatch, capsys)
    assert ready("init", "--scripts", str(tmp_path / "repository"), "--san", "localhost").status == 0
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    check("ml-agent", stream, lines_of("ml-agent", AGENT_ARGUMENTS))

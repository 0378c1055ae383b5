"""No command shows a traceback, whatever the terminal, locale, descriptors and disk are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from agent.cli.fleet import main as fleet_main
from agent.identity import tls
from agent.identity.authority import Authority
from tests.support.every_command import DISKS, HUNG, command_names, run_each
from tests.support.ml_agent import make_account, runner
from tests.support.ml_job import make_home
from tests.support.stand_in_agent import (
    JOB_ID,
    StandIn,
    alias,
    job,
    model,
    schedule,
    schedule_run,
    serving,
    sweep,
    trial,
)

# A locale that has ASCII alone and stays so, and a narrow terminal.
ASCII = {
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii",
    "COLUMNS": "40",
}
NARROW = {"PYTHONUTF8": "1", "COLUMNS": "40"}
SENSIBLE = {
    0,
    EXIT_FAILURE,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    EXIT_CONFIGURATION,
    EXIT_INTERRUPTED,
    EXIT_CANCELLED,
}
FAULTS = ("Traceback", "Exception ignored", HUNG)
# What a command says that cannot write.
CAUSES = ("No space left", "Read-only file system", "is full", "full or", "readonly")
CHECKOUT = Path(__file__).parents[2]
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
OF_SWEEPS = ("rerun", "show", "trials", "cancel", "pause", "resume", "pin", "unpin")
JOB_ARGUMENTS |= {("sweep", name): [JOB_ID] for name in OF_SWEEPS}
JOB_ARGUMENTS[("sweep", "submit")] = ["träin.py", "-s", "depth=1..9", "--minimize", "loss", "--trials", "3"]
JOB_ARGUMENTS[("compare",)] = [JOB_ID, "--csv", "größe.csv"]
JOB_ARGUMENTS[("usage",)] = ["--by", "label", "--csv", "größe.csv"]
JOB_ARGUMENTS[("metrics",)] = [JOB_ID]
JOB_ARGUMENTS[("diff",)] = [JOB_ID, JOB_ID]
JOB_ARGUMENTS[("sweep", "extend")] = [JOB_ID, "--trials", "9"]
OF_SCHEDULES = ("show", "runs", "pause", "resume", "run", "remove")
JOB_ARGUMENTS |= {("schedule", name): [JOB_ID] for name in OF_SCHEDULES}
JOB_ARGUMENTS[("schedule", "create")] = ["daily", "träin.py", "--name", "nächtlich", "--delay", "5m"]
JOB_ARGUMENTS |= {("model", name): ["größe", "champion"] for name in ("history", "rm")}
JOB_ARGUMENTS |= {("share",): [JOB_ID, "--everybody"], ("sweep", "share"): [JOB_ID, "--stop"]}
JOB_ARGUMENTS |= {("model", name): ["churn"] for name in ("show", "share")}
JOB_ARGUMENTS[("model", "get")] = ["churn", "champion", "-o", "gänge"]
JOB_ARGUMENTS[("model", "set")] = ["churn", "champion", JOB_ID, "größe"]
AGENT_ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("egress",): ["nowhere"],
    ("issue",): ["bob", "--replace"],
    ("invite",): ["bob"],
    ("init",): ["--scripts", "/nowhere/ü"],
    ("withdraw",): ["HEAD", "--reason", "Größe"],
    ("readmit",): ["HEAD"],
    ("backup",): ["größe.tar.gz"],
    ("restore",): ["größe.tar.gz", "--trust-backup"],
    ("secret", "set"): ["api"],
    ("secret", "rm"): ["api"],
    ("revoke",): ["--user", "bob"],
    ("install",): ["--dry-run"],
    ("uninstall",): ["--dry-run"],
    ("usage",): ["--by", "label", "--csv", "größe.csv"],
}

FLEET_ARGUMENTS: dict[tuple[str, ...], list[str]] = {
    ("join",): ["h1", "--url", "https://localhost:8443"],
    ("drain",): ["größe"],
    ("promote",): ["größe"],
    ("forget",): ["größe", "--yes"],
    ("install",): ["--dry-run"],
    ("uninstall",): ["--dry-run"],
}


# Commands that write files where there is neither Podman nor systemd.
JOB_WRITES = {
    ("artifacts", "get"),
    ("compare",),
    ("usage",),
    ("model", "get"),
}  # for `renew`, whose agent is real: tests/cli/job/test_renewal.py
AGENT_WRITES = {
    *(
        (name,)
        for name in (
            "issue",
            "invite",
            "withdraw",
            "readmit",
            "backup",
            "revoke",
            "renew",
            "rotate-ca",
            "prune",
            "usage",
        )
    ),
}
FLEET_WRITES = {("join",)}


def given_to(program: str, arguments: dict[tuple[str, ...], list[str]]) -> list[list[str]]:
    """Each command with its arguments."""
    return [[*name, *arguments.get(name, [])] for name in command_names(program)]


def lines_of(program: str, arguments: dict[tuple[str, ...], list[str]]) -> list[list[str]]:
    """Each command with its arguments, its help, and an option that it has not."""
    names = command_names(program)
    assert set(arguments) <= set(names)
    return [
        *given_to(program, arguments),
        *([*name, "--help"] for name in names),
        [],
        ["--help"],
        ["--nö"],
        ["nö"],
        *NO_TEXT,
    ]


def check(program: str, stream: str, lines: Sequence[list[str]]) -> None:
    """Runs each command line, and expects neither a traceback nor a status that says nothing."""
    wrong = [
        (line, status, err[-1500:])
        for line, (status, _, err) in zip(lines, run_each(program, stream, lines, ASCII), strict=True)
        if status not in SENSIBLE or any(fault in err for fault in FAULTS)
    ]
    assert not wrong, "\n\n".join(f"{line}: {status}\n{err}" for line, status, err in wrong)


@dataclass(frozen=True)
class Site:
    """An account with an agent's state and a client's files in `home`, and the arguments of its commands."""

    home: Path
    program: str
    arguments: dict[tuple[str, ...], list[str]]
    writes: set[tuple[str, ...]]
    after: list[list[str]]  # work as before when the disk has room again


@pytest.fixture
def ml_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """`ml-job`, with an agent that answers."""
    authority = Authority.create(tmp_path, "the host's authority")
    server = authority.issue_server(["localhost"])
    (tmp_path / "server.crt").write_bytes(server.certificate_pem())
    (tmp_path / "server.key").write_bytes(server.key_pem())
    home = tmp_path / "home"
    make_home(home, authority, monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    agent = StandIn(
        jobs=[job(name="Größe 漢")],
        sweeps=[sweep(name="Größe 漢")],
        trials=[trial(0, 0.5)],
        schedules=[schedule(name="Größe 漢")],
        runs=[schedule_run("SKIPPED", reason="refused", message="größe")],
        models=[model(aliases=[alias(content=b"x" * 2**20)])],
        files={"m.pkl": b"x" * 2**20, "größe": b"y", "trained": b"x" * 2**20},
        plain_log=b"\xff\xc3\xa4\n",
    )
    with serving(agent, tls.server_context(tmp_path)) as url:
        monkeypatch.setenv("ML_JOB_SERVER", url)
        yield Site(home, "ml-job", JOB_ARGUMENTS, JOB_WRITES, [["list"], ["scripts"]])


@pytest.fixture
def ml_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    """`ml-agent`, after `init` and with a user."""
    home = tmp_path / "home"
    home.mkdir()
    make_account(home, monkeypatch)
    ready = runner(monkeypatch, capsys)
    monkeypatch.chdir(home)
    assert ready("init", "--scripts", str(home / "repository"), "--san", "localhost").status == 0
    assert ready("issue", "bob").status == 0
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    after = [["list"], ["audit"], ["audit", "--verify"], ["issue", "carol"], ["renew"], ["withdrawn"]]
    return Site(home, "ml-agent", AGENT_ARGUMENTS, AGENT_WRITES, after)


@pytest.fixture
def ml_fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    """`ml-fleet`, after `init`, where neither Redis nor RabbitMQ answers."""
    home = tmp_path / "home"
    home.mkdir()
    make_account(home, monkeypatch)
    ready = runner(monkeypatch, capsys, fleet_main.main)
    monkeypatch.chdir(home)
    assert ready("init", "--san", "localhost", "--redis", "localhost").status == 0
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return Site(home, "ml-fleet", FLEET_ARGUMENTS, FLEET_WRITES, [["install", "--dry-run"]])


@pytest.mark.parametrize("stream", CONDITIONS)
def test_no_command_of_ml_job_shows_a_traceback(ml_job: Site, stream: str) -> None:
    check("ml-job", stream, lines_of("ml-job", JOB_ARGUMENTS))


@pytest.mark.parametrize("stream", CONDITIONS)
def test_no_command_of_ml_agent_shows_a_traceback(ml_agent: Site, stream: str) -> None:
    check("ml-agent", stream, lines_of("ml-agent", AGENT_ARGUMENTS))


@pytest.mark.parametrize("stream", CONDITIONS)
def test_no_command_of_ml_fleet_shows_a_traceback(ml_fleet: Site, stream: str) -> None:
    check("ml-fleet", stream, lines_of("ml-fleet", FLEET_ARGUMENTS))


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("name", ["ml_job", "ml_agent", "ml_fleet"])
def test_a_command_that_cannot_write_says_so_and_destroys_nothing(
    name: str, disk: str, request: pytest.FixtureRequest
) -> None:
    site: Site = request.getfixturevalue(name)
    lines = given_to(site.program, site.arguments)
    ended = run_each(site.program, disk, lines, NARROW, site.home, after=site.after)
    wrong = [
        (line, status, err)
        for line, (status, _, err) in zip([*lines, *site.after], ended, strict=True)
        if status not in SENSIBLE or any(fault in err for fault in FAULTS)
    ]
    for writer in site.writes:
        at = next(at for at, line in enumerate(lines) if tuple(line[: len(writer)]) == writer)
        status, out, err = ended[at]
        if disk != "almost full disk" and (status == 0 or not any(cause in err for cause in CAUSES)):
            wrong.append((lines[at], status, out + err))
    wrong += [
        (line, *each[::2]) for line, each in zip(site.after, ended[len(lines) :], strict=True) if each[0]
    ]
    assert not wrong, "\n\n".join(f"{line}: {status}\n{err[-1500:]}" for line, status, err in wrong)

"""The sentence that explains a job, for each end and each thing that a job waits for."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.explanation import explain as module
from agent.explanation.explain import explain
from agent.explanation.facts import MAX_TEXT, Facts, LogLine
from agent.explanation.output import OWN_SIGNS, SYSTEM_SIGNS
from agent.model.explanation import EvidenceSource, Explanation
from agent.model.host import QueuePlace, Usage
from agent.model.inputs import Limits
from agent.model.job import Attempt, JobState, Reason
from agent.scheduling.policy import Room, Snapshot, Waiting, Window
from agent.scheduling.policy import explain as explain_turns
from tests.support.jobs import make_job

DOCS = Path(__file__).parents[2] / "docs"


def explained(*lines: str, own: bool = True, usage: Usage | None = None, **fields: Any) -> Explanation:
    """A job with these fields whose log ends with these lines."""
    usual: dict[str, Any] = {"status": JobState.FAILED, "reason": Reason.EXIT_CODE, "exit_status": 1}
    job = make_job(**usual | fields)
    log = [LogLine(number, text, own, stderr=own) for number, text in enumerate(lines, 1)]
    return explain(Facts(job, log, usage))


@pytest.mark.parametrize(
    ("line", "summary"),
    [
        ("ModuleNotFoundError: No module named 'lightgbm'", "imports lightgbm, which the image has not"),
        ("ImportError: cannot import name 'x' from 'y'", "could not import a module: cannot import name"),
        ("KeyError: 'HP_ALPHA'", "reads HP_ALPHA, and the job has no such hyperparameter"),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/run/secrets/snowflake/a.toml'",
            "reads the secret snowflake, which the job did not get",
        ),
        (
            "OSError: [Errno 30] Read-only file system: '/scripts/out'",
            "wrote to /scripts/out, which is read-only",
        ),
        ("PermissionError: [Errno 13] Permission denied: '/etc/shadow'", "may not open /etc/shadow"),
        ("OSError: [Errno 28] No space left on device", "could not write a file"),
        ("OSError: [Errno 28] No space left on device: '/tmp/x'", "could not write /tmp/x"),
        ("OSError: [Errno 27] File too large", "larger than a job's files may be"),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: 'train.csv'",
            "opens train.csv, which does not",
        ),
        ("MemoryError", "asked for more memory than it could get"),
        (
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array",
            "asked for more memory than it could get",
        ),
        (
            "concurrent.futures.process.BrokenProcessPool: A process in the process pool was terminated",
            "worker process of the script was killed",
        ),
        ("RuntimeError: can't start new thread", "more processes or threads than its limit"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "and the job has none"),
        ("ConnectionRefusedError: [Errno 111] Connection refused", "on which nothing listens"),
        ("SyntaxError: '(' was never closed", "is no valid Python: '(' was never closed"),
        (
            "train.py: error: unrecognized arguments: --x",
            "refused its arguments: unrecognized arguments: --x",
        ),
        (
            "snowflake.connector.errors.DatabaseError: 250001 (08001): None: Failed to connect to DB:"
            " Incorrect username or password was specified.",
            "Snowflake refused the login",
        ),
        (
            "snowflake.connector.errors.ProgrammingError: 002003 (02000): Object 'T' does not exist.",
            "Snowflake refused what the script asked: 002003 (02000): Object 'T' does not exist.",
        ),
        ("ValueError: Input X contains NaN.", "ended with ValueError: Input X contains NaN."),
        (
            "pandas.errors.EmptyDataError: No columns to parse from file",
            "ended with EmptyDataError: No columns",
        ),
        ("KeyboardInterrupt", "ended with KeyboardInterrupt."),
    ],
)
def test_the_last_line_of_a_traceback_names_the_cause(line: str, summary: str) -> None:
    found = explained("Traceback (most recent call last):", line, network="none")
    assert summary in found.summary
    assert found.evidence[0].source is EvidenceSource.LOG
    assert (found.evidence[0].line, found.evidence[0].text) == (2, line)


@pytest.mark.parametrize(
    ("line", "summary"),
    [
        ("socket.gaierror: [Errno -2] Name or service not known", "could not find a host by its name"),
        ("OSError: Tunnel connection failed: 403 Forbidden", "that the network warehouse does not allow"),
    ],
)
def test_a_job_with_a_network_is_told_what_that_lacks(line: str, summary: str) -> None:
    assert summary in explained(line, network="warehouse").summary


def test_the_newest_telling_line_decides() -> None:
    found = explained("ModuleNotFoundError: No module named 'a'", "ValueError: b", "bye")
    assert found.summary == "The script ended with ValueError: b."


def test_an_error_that_does_not_say_what_it_is_about_gives_way() -> None:
    vague = "FileNotFoundError: [Errno 2] No such file or directory"
    assert "A worker process" in explained("TerminatedWorkerError: A worker was terminated", vague).summary
    assert vague in explained(vague).summary


def test_a_script_that_ends_itself_is_quoted() -> None:
    found = explained("reading", "no rows since Monday", exit_status=3)
    said = "The script ended itself with status 3; its last words were: no rows since Monday."
    assert found.summary == said
    assert "said nothing" in explained(exit_status=3).summary


@pytest.mark.parametrize(
    ("line", "summary"),
    [
        ("Error: localhost/ml-runner:latest: image not known", "has not the image"),
        ('Error: no secret with name or id "snowflake": no such secret', "secret of the job was removed"),
        ("Error: write /var/x: no space left on device", "disk was full"),
        ("Error: unable to find network with name or ID a: network not found", "has not the network"),
        ("{...} exec /launch: Exec format error", "another processor"),
        ("Error: something of its own", "could not start the container: something of its own."),
    ],
)
def test_a_container_that_did_not_start_is_explained_by_podman(line: str, summary: str) -> None:
    fields: dict[str, Any] = {"reason": Reason.START_FAILED, "exit_status": None}
    message = "The container did not start; its log says why."
    assert summary in explained(line, own=False, message=message, **fields).summary
    # A line that the job itself wrote is no word of Podman's.
    assert explained(line, own=True, message=message, **fields).summary == message


@pytest.mark.parametrize(
    ("reason", "fields", "summary", "advice"),
    [
        (
            Reason.OOM_KILL,
            {"limits": Limits(memory_bytes=2**30)},
            "more memory than its limit of 1 GiB",
            "--memory",
        ),
        (Reason.TIMEOUT, {"limits": Limits(run_time_seconds=60)}, "longer than its limit of 60 s", "--time"),
        (
            Reason.SIGNAL,
            {"exit_status": 139, "message": "The job was killed by SIGSEGV."},
            "SIGSEGV",
            "compiled",
        ),
        (Reason.INTERRUPTED, {"message": "The host went down."}, "The host went down.", "not at fault"),
        (Reason.ARTIFACT_QUOTA, {"message": "Too much."}, "Too much.", "/artifacts"),
        (Reason.ARTIFACT_MISSING, {"message": "No file."}, "No file.", "declares"),
        (Reason.STORAGE_FULL, {"message": "The disk is full."}, "The disk is full.", "operator"),
        (Reason.START_FAILED, {"message": "Commit x is withdrawn."}, "Commit x is withdrawn.", "operator"),
        (Reason.CANCELLED, {"status": JobState.CANCELLED}, "cancelled the job before it began", "rerun"),
    ],
)
def test_every_other_end_has_its_sentence_and_its_advice(
    reason: Reason, fields: dict[str, Any], summary: str, advice: str
) -> None:
    found = explained(**{"reason": reason, "exit_status": None} | fields)
    assert summary in found.summary
    assert advice in " ".join(found.advice)


@pytest.mark.parametrize("status", JobState)
def test_every_state_and_reason_is_explained_without_a_message_or_a_log(status: JobState) -> None:
    for reason in [None, *Reason] if status.terminal else [None]:
        assert explained(status=status, reason=reason, message=None).summary.endswith(".")


def waiting_words() -> list[str]:
    """What a job may wait for, as the page about the queue lists it."""
    table = (
        (DOCS / "queue.md").read_text("utf-8").partition("| waits for | because |")[2].partition("\n\n")[0]
    )
    return re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)


@pytest.mark.parametrize("words", waiting_words())
def test_each_thing_that_a_job_waits_for_is_known(words: str) -> None:
    assert any(re.search(pattern, words) for pattern, _ in module.WAITING)
    place = QueuePlace(position=2, waits_for=words)
    found = explained(status=JobState.PENDING, reason=None, queue=place)
    assert found.summary == f"The job waits for {words}."
    assert found.evidence[0].text == "position 2 of the queue"


def test_a_running_job_near_its_limit_is_told_so() -> None:
    usage = Usage(job_id="a" * 12, at="2026-01-01T00:00:00Z", memory_bytes=1000 * 2**20, cpu_seconds=12.25)
    limits = Limits(memory_bytes=1024 * 2**20)
    found = explained(status=JobState.RUNNING, reason=None, limits=limits, usage=usage)
    assert found.summary == "The job runs, and uses 1000 MiB of its 1 GiB of memory."
    assert [each.text for each in found.evidence] == ["1000 MiB of 1 GiB of memory", "12.2 s of CPU time"]


def test_earlier_attempts_are_evidence() -> None:
    first = Attempt(number=1, message="The host went down.", finished_at="2026-01-01T00:00:00Z")
    found = explained("ValueError: x", attempt=2, max_attempts=2, attempts=[first])
    assert "attempt 1 of 2: The host went down." in [each.text for each in found.evidence]


def test_what_a_job_wrote_is_quoted_in_a_bounded_length_and_cannot_fill_in_the_sentence() -> None:
    found = explained("ValueError: {job} " + "x" * 10_000)
    assert "{job}" in found.summary
    assert len(found.summary) < 2 * MAX_TEXT
    assert all(len(each.text) <= MAX_TEXT for each in found.evidence)


@pytest.mark.parametrize("sign", [*OWN_SIGNS, *SYSTEM_SIGNS], ids=lambda sign: sign.pattern.pattern[:30])
@pytest.mark.parametrize("piece", ["'", "Error: ", "a", "403 Forbidden", "PermissionError: '", ".py: error"])
def test_no_line_takes_long_to_look_at(sign: object, piece: str) -> None:
    pattern: re.Pattern[str] = sign.pattern  # type: ignore[attr-defined]

    def seconds(length: int) -> float:
        line = (piece * length)[:length]
        begun = time.process_time()
        for _ in range(20):
            pattern.search(line)
        return time.process_time() - begun

    # A pattern that looks at a character again and again would take a thousand times as long.
    assert seconds(10_000) < 200 * (seconds(1000) + 0.0005)


def test_every_command_in_an_advice_exists() -> None:
    texts = [sign.advice for sign in (*OWN_SIGNS, *SYSTEM_SIGNS)]
    texts += [advice for _, advice in module.WAITING]
    texts.append(Path(module.__file__).read_text("utf-8"))
    commands = set(re.findall(r"`(ml-job [a-z]+(?: set)?)", " ".join(texts)))
    assert {"ml-job rerun", "ml-job secret set"} <= commands
    for command in sorted(commands):
        words = [*command.split()[1:], "--help"]
        code = "import sys; from agent.cli.job.main import main; main()"
        shown = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        )
        options = set(re.findall(rf"{command}[^`]*?(--[a-z-]+) (?:SIZE|TIME)", " ".join(texts)))
        assert {option for option in options if option not in shown.stdout} == set()


@pytest.mark.parametrize(
    ("window", "advice"),
    [
        (Window(50, 200, "never starts"), "It starts by itself then."),
        (Window(50), "The operator has taken the host out of use for now."),
        (Window(150, 200, "disk"), "submit it with --time"),
    ],
)
def test_a_job_that_waits_for_a_maintenance_is_told_what_helps(window: Window, advice: str) -> None:
    room = Room.of(cpus=1, memory_bytes=1)
    job = Waiting("a", "alice", room, 60, 0, 1, 100, 90)
    turn = explain_turns(Snapshot(100, room, (), (job,), window=window))["a"]
    place = QueuePlace(position=1, waits_for=turn.waits_for)
    found = explained(status=JobState.PENDING, reason=None, exit_status=None, queue=place)
    assert found.summary == f"The job waits for {turn.waits_for}."
    assert advice in " ".join(found.advice)

"""`ml-job logs`: to a pipe, to a terminal, and over lost connections."""

import asyncio
import random
import re
import subprocess
from base64 import b64encode
from typing import Any

import pytest
from aiohttp import web

from agent.cli.job import http, stream
from agent.cli.job.render import TICKS
from agent.cli.terminal import ERASE, STATUS_INTERVAL
from agent.model.log import GapCause
from tests.support.ml_job import ML_JOB, Terminal, at_a_terminal, ml_job
from tests.support.sample_events import END
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn, cut, event, hang, job, line, problem

CUT = [  # by journald: two lines
    line(1, "one"),
    line(2, "AAA", continued=True),
    line(3, "BBB", continued=True),
    event("gap", {"after": 3, "count": 2, "time": CREATED}, "token-gap"),
    line(4, "CCC"),
    line(5, "50%", continued=True),
    line(6, "\r51%\r52%", continued=True),
    END,
]


def exact_line(number: int, text: bytes, **more: Any) -> bytes:
    """A line as an agent sends it that is not UTF-8."""
    data = {"number": number, "time": CREATED, "source": "job", "text": text.decode(errors="replace")}
    return event("line", data | {"base64": b64encode(text).decode()} | more, f"token-{number}")


MARKED = [
    line(1, "begun"),
    line(2, '::progress {"done": 1, "total": 4}'),
    line(3, '::metric {"name": "loss", "value": 0.5, "step": 1}'),
    line(4, '::metric {"name": "loss", "value": 0.25, "step": 2}'),
    line(5, "::progress oops"),
    line(6, "done"),
    event("end", job()),
]


def test_a_pipe_gets_the_bytes_unchanged(agent: StandIn) -> None:
    agent.plain_log = b"plain\n\x1b[2Jred\xff\x00\n10%\r20%\n"
    result = ml_job("logs", JOB_ID)
    assert result.stdout_bytes == agent.plain_log
    assert result.stderr == ""


def test_if_the_job_printed_nothing_messages_of_the_system_are_printed(agent: StandIn) -> None:
    why = job(status="FAILED", reason="start-failed", message="The container did not start.")
    agent.streams = [[line(1, "no such image", "system"), line(2, "too late"), event("end", why)]]
    result = ml_job("logs", JOB_ID, "--tail", "5")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "no such image",
        f"ml-job: job {JOB_ID} is FAILED (start-failed): The container did not start.",
    ]
    assert agent.paths() == [f"/jobs/{JOB_ID}/logs?tail=5", f"/jobs/{JOB_ID}/logs?tail=5&follow=false"]


def test_if_the_job_printed_nothing_yet_its_state_is_printed(agent: StandIn) -> None:
    agent.streams = [[event("pause", job(status="PENDING"))]]
    result = ml_job("logs", JOB_ID)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"ml-job: job {JOB_ID} is PENDING\n"


def test_tail_is_sent_to_the_agent(agent: StandIn) -> None:
    agent.plain_log = b"one\n"
    ml_job("logs", JOB_ID, "--tail", "5")
    assert agent.paths() == [f"/jobs/{JOB_ID}/logs?tail=5"]


def test_following_prints_messages_about_the_job_on_stderr(agent: StandIn) -> None:
    gap = event("gap", {"after": 1, "count": 40, "cause": "rate-limit", "time": CREATED}, "token-gap")
    state = event("state", job(status="RUNNING"))
    agent.jobs = [job(status="PENDING")]
    agent.streams = [
        [b": \n\n", state, line(1, "one"), gap, line(2, "Started.", "system"), line(3, "two"), END]
    ]
    result = ml_job("logs", "-f", JOB_ID)
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")
    assert result.stderr.splitlines() == [
        f"ml-job: job {JOB_ID} is RUNNING",
        "ml-job: 40 lines are missing after line 1: journald's rate limit dropped them",
        "Started.",
        f"ml-job: job {JOB_ID} is COMPLETED",
    ]


def test_a_line_that_journald_cut_is_one_line(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job()], [CUT]
    assert ml_job("logs", "-f", JOB_ID).stdout == "one\nAAABBBCCC\n50%\r51%\r52%"


def test_a_remark_at_a_terminal_ends_a_cut_line(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job(status="RUNNING")], [CUT]
    shown = re.sub("\x1b[^m]*m", "", at_a_terminal("logs", "-f", JOB_ID)).splitlines()
    gap = "ml-job: 2 lines are missing after line 3"
    end = f"ml-job: job {JOB_ID} is COMPLETED"
    assert shown == ["one", "AAABBB", gap, "CCC", "50%", "52%", end]


def test_the_status_line_is_not_drawn_over_a_cut_line(agent: StandIn) -> None:
    async def long_enough(_: web.Request) -> None:
        await asyncio.sleep(3 * STATUS_INTERVAL)  # for a drawing that must not come

    terminal = Terminal()
    mark = '::progress {"done": 1, "total": 2}'
    begun, rest = line(2, "AAA", continued=True), line(3, mark, continued=True)
    agent.jobs = [job(status="RUNNING")]
    agent.streams = [
        [
            *(line(1, mark), terminal.shows("━"), begun, long_enough, rest, long_enough),
            *(line(4, "BBB"), terminal.shows(f"BBB\r\n\r{ERASE}━"), END),
        ]
    ]
    assert f"AAA{mark}BBB\n\r{ERASE}━" in terminal.run("logs", "-f", JOB_ID)


def test_following_skips_events_of_a_newer_agent(agent: StandIn) -> None:
    agent.jobs = [job()]
    agent.streams = [[event("sparkle", {"new": 1}, "s"), line(1, "one"), END]]
    assert ml_job("logs", "-f", JOB_ID).stdout == "one\n"


def test_a_lost_connection_is_continued_after_the_last_whole_event(agent: StandIn) -> None:
    agent.jobs = [job()]
    half = line(3, "three")[:-7]
    agent.streams = [
        [line(1, "one"), line(2, "two"), half, cut],
        [],  # ends without an end
        [line(3, "three"), cut],
        [END],
    ]
    result = ml_job("logs", "-f", "--tail", "9", JOB_ID)
    assert result.stdout == "one\ntwo\nthree\n"
    streams = [
        (path, headers.get("Last-Event-ID"))
        for _, path, headers, _ in agent.requests
        if headers["Accept"].startswith("text/event-stream")
    ]
    path = f"/jobs/{JOB_ID}/logs"
    assert streams == [(f"{path}?tail=9", None), (path, "token-2"), (path, "token-2"), (path, "token-3")]
    # The second connection brought nothing, so the first loss is not over until the third.
    assert result.stderr.count("Continuing") == 2
    assert result.stderr.count("Connected again") == 2


def test_a_log_that_is_cut_off_anywhere_arrives_whole_and_once(
    agent: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_DELAY", 0.001)
    log = [line(number, f"line {number}") for number in range(1, 1001)]
    chance = random.Random(7)

    async def some(request: web.Request) -> bytes:
        done = int(request.headers.get("Last-Event-ID", "token-0").removeprefix("token-"))
        rest = b"".join(log[done:])
        return rest[: chance.randrange(1, 3000)] if rest else END

    agent.jobs = [job()]
    agent.streams = [[some] for _ in range(1000)]
    result = ml_job("logs", "-f", JOB_ID)
    assert result.stdout == "".join(f"line {number}\n" for number in range(1, 1001))
    assert len(agent.paths()) > 50


def test_an_error_event_is_a_reason_to_reconnect_or_to_stop(agent: StandIn) -> None:
    agent.jobs = [job()]
    passing = {"type": "urn:ml-agent:problem:host", "title": "Host", "status": 503, "detail": "Broken."}
    agent.streams = [
        [line(1, "one"), event("error", passing)],
        [line(2, "two"), event("error", passing | {"status": 403, "detail": "Revoked."})],
    ]
    result = ml_job("logs", "-f", JOB_ID)
    assert (result.exit_code, result.stdout) == (2, "one\ntwo\n")
    assert result.stderr.splitlines() == [
        "ml-job: Broken. Continuing …",
        "ml-job: Connected again.",
        "error: Revoked.",
    ]


NOT_TEXT = [b"latin \xe9 and \xff\xfe", b"\x1b[2Jred", b"\r 10%\r 20%", b"half \xf0\x9f", b"\x98\x80 char"]


def test_following_into_a_pipe_prints_the_bytes_that_the_job_printed(agent: StandIn) -> None:
    agent.jobs = [job(status="RUNNING")]
    lines = [exact_line(number, text) for number, text in enumerate(NOT_TEXT, 1)]
    agent.streams = [[*lines, END]]
    assert ml_job("logs", "-f", JOB_ID).stdout_bytes == b"".join(line + b"\n" for line in NOT_TEXT)


def test_a_character_that_journald_cut_is_whole_again(agent: StandIn) -> None:
    agent.jobs = [job(status="RUNNING")]
    agent.streams = [[exact_line(1, b"x\xe2\x82", continued=True), exact_line(2, b"\xac"), END]]
    assert ml_job("logs", "-f", JOB_ID).stdout == "x€\n"


@pytest.mark.parametrize(
    "data", [{"text": "\ud800"}, {"text": "x", "base64": "="}, {"text": "x", "base64": "é"}]
)
def test_a_line_that_no_agent_would_send_is_no_traceback(agent: StandIn, data: dict[str, str]) -> None:
    agent.jobs = [job(status="RUNNING")]
    sent = {"number": 1, "time": CREATED, "source": "job"} | data
    agent.streams = [[event("line", sent, "token-1"), END]]
    result = ml_job("logs", "-f", JOB_ID)
    assert result.exit_code in (0, 1)
    assert "Traceback" not in result.stderr


def test_a_gap_of_unknown_size_is_still_a_gap(agent: StandIn) -> None:
    agent.jobs = [job()]
    agent.streams = [[event("gap", {"after": 7, "time": "2026-01-01T00:00:00.000Z"}, "g"), END]]
    assert "lines are missing after line 7" in ml_job("logs", "-f", JOB_ID).stderr


@pytest.mark.parametrize(
    ("cause", "said"),
    [(cause, "7: ") for cause in GapCause] + [("of-a-newer-agent", "are missing after line 7\n")],
)
def test_a_gap_says_its_cause_if_it_is_known(agent: StandIn, cause: str, said: str) -> None:
    agent.jobs = [job()]
    agent.streams = [[event("gap", {"after": 7, "cause": cause, "time": CREATED}, "g"), END]]
    assert said in ml_job("logs", "-f", JOB_ID).stderr


@pytest.mark.parametrize("cause", [GapCause.JOURNALD_KILLED, GapCause.NOT_CLOSED])
def test_a_gap_that_may_be_none_does_not_claim_lost_lines(agent: StandIn, cause: str) -> None:
    agent.jobs = [job()]
    agent.streams = [[event("gap", {"after": 7, "cause": cause, "time": CREATED}, "g"), END]]
    assert "lines may be missing after line 7: " in ml_job("logs", "-f", JOB_ID).stderr


def test_a_busy_agent_is_asked_again(agent: StandIn) -> None:
    agent.jobs = [job()]
    agent.answers[f"GET /jobs/{JOB_ID}/logs"] = [
        problem(503, "host", "Starting."),
        problem(429, "x", "Full."),
    ]
    agent.streams = [[line(1, "one"), END]]
    result = ml_job("logs", "-f", JOB_ID)
    assert (result.exit_code, result.stdout) == (0, "one\n")
    assert result.stderr.startswith("ml-job: Starting. Continuing …\nml-job: Connected again.\n")


def test_a_silent_connection_counts_as_lost(agent: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENCE_SECONDS", 0.3)
    agent.jobs = [job()]
    agent.streams = [[line(1, "one"), hang], [line(2, "two"), END]]
    result = ml_job("logs", "-f", JOB_ID)
    assert result.stdout == "one\ntwo\n"
    assert "did not answer in time" in result.stderr


def test_a_missing_job_is_an_error_at_once(agent: StandIn) -> None:
    result = ml_job("logs", "-f", JOB_ID)
    assert result.exit_code == 2
    assert "There is no such job." in result.stderr
    assert len(agent.requests) == 1


def test_a_reader_that_stops_reading_causes_no_error(agent: StandIn) -> None:
    agent.plain_log = b"a line that is much longer than nothing\n" * 100_000
    command = subprocess.Popen([*ML_JOB, "logs", JOB_ID], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    command.stdout.readline()
    command.stdout.close()
    assert command.wait(30) == 141
    assert command.stderr is not None
    assert command.stderr.read() == b""
    command.stderr.close()


def test_a_terminal_gets_colours_and_no_other_control_sequence(agent: StandIn) -> None:
    agent.plain_log = b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\n10%\r20%\n"
    shown = at_a_terminal("logs", JOB_ID)
    assert shown == "\x1b[31mred\x1b[0m ^[]0;title^G^[[2J\x1b[0m\n20%\n"


def test_no_color_removes_the_jobs_colours(agent: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    agent.plain_log = b"\x1b[31mred\x1b[0m\n"
    assert at_a_terminal("logs", JOB_ID) == "red\n"


def test_a_person_sees_marks_as_a_bar_and_curves(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job(status="RUNNING")], [MARKED]
    shown = at_a_terminal("logs", "-f", JOB_ID)
    lines = [row.rpartition(ERASE)[2].strip("\r") for row in shown.splitlines()]
    assert "begun" in lines
    assert "::progress oops" in lines
    assert f"━━━━━───────────────  25 %  1 of 4   loss 0.25 {TICKS[-1]}{TICKS[0]}" in lines
    assert "::metric" not in shown


@pytest.mark.usefixtures("dumb")
def test_a_dumb_terminal_gets_marks_as_lines(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job(status="RUNNING")], [[line(1, "\x1b[31mred"), *MARKED[1:]]]
    shown = at_a_terminal("logs", "-f", JOB_ID)
    assert shown.splitlines()[:2] == ["red", '::progress {"done": 1, "total": 4}']
    assert "\x1b" not in shown


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_log_without_misunderstood_marks_says_nothing_of_them(agent: StandIn, arguments: list[str]) -> None:
    marks = [each for each in MARKED if b"oops" not in each]
    agent.jobs, agent.streams = [job(status="RUNNING")], [marks]
    assert "understood" not in ml_job("logs", "-f", JOB_ID, *arguments).stderr


def test_a_followed_log_says_that_marks_were_not_understood(agent: StandIn) -> None:
    agent.jobs = [job(status="RUNNING")]
    for shown in (at_a_terminal, lambda *arguments: ml_job(*arguments).stderr):
        agent.streams = [MARKED]
        assert "1 mark was not understood; it is line " in re.sub(r"\s+", " ", shown("logs", "-f", JOB_ID))


def test_a_pipe_gets_marks_as_lines(agent: StandIn) -> None:
    agent.jobs, agent.streams = [job(status="RUNNING")], [MARKED]
    result = ml_job("logs", "-f", JOB_ID)
    assert len(result.stdout.splitlines()) == 6
    assert '::progress {"done": 1, "total": 4}' in result.stdout

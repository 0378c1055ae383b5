"""`ml-job` against an agent that answers by script, over real mutual TLS."""

import asyncio
import json
import os
import pty
import random
import re
import shlex
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from agent import __version__
from agent.cli.job import http, stream
from agent.cli.job.download import target
from agent.cli.job.main import app
from agent.cli.job.stream import Event, EventParser
from agent.cli.quantities import format_duration, format_size, parse_duration, parse_size
from agent.cli.terminal import ERASE, shown_line, visible
from agent.identity import authority as authority_module
from agent.identity import tls
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn, cut, event, job, line, problem, serving

ML_JOB = [sys.executable, "-c", "from agent.cli.job.main import main; main()"]
END = event("end", job())
ENDS = [  # and what following and waiting exit with
    ({"status": "COMPLETED"}, 0),
    ({"status": "FAILED", "reason": "exit-code", "exit_status": 3}, 3),
    ({"status": "FAILED", "reason": "oom-kill", "exit_status": 137}, 137),
    ({"status": "FAILED", "reason": "start-failed"}, 1),
    ({"status": "FAILED", "reason": "interrupted", "exit_status": 0}, 1),
    ({"status": "CANCELLED", "reason": "cancelled", "exit_status": 143}, 143),
]
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


@dataclass
class Home:
    """A client's configuration directory, and the authority that its host trusts."""

    path: Path
    authority: authority_module.Authority

    def add(self, user: str, issued: authority_module.Issued) -> None:
        (self.path / f"{user}.crt").write_bytes(issued.certificate_pem())
        key = self.path / f"{user}.key"
        key.touch(0o600)
        key.write_bytes(issued.key_pem())


@pytest.fixture(scope="session")
def host_pki(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, authority_module.Authority]:
    directory = tmp_path_factory.mktemp("pki")
    authority = authority_module.Authority.create(directory, "the host's authority")
    server = authority.issue_server(["localhost"])
    (directory / "server.crt").write_bytes(server.certificate_pem())
    (directory / "server.key").write_bytes(server.key_pem())
    return directory, authority


@pytest.fixture
def home(
    tmp_path: Path, host_pki: tuple[Path, authority_module.Authority], monkeypatch: pytest.MonkeyPatch
) -> Home:
    _, authority = host_pki
    path = tmp_path / "config" / "ml-job"
    path.mkdir(parents=True)
    (path / "ca.crt").write_bytes(authority.certificate_pem())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path.parent))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path)
    for name in ("ML_JOB_SERVER", "ML_JOB_IDENTITY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    made = Home(path, authority)
    made.add("alice", authority.issue_client("alice"))
    return made


@pytest.fixture
def agent(
    home: Home, host_pki: tuple[Path, authority_module.Authority], monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandIn]:
    stand_in = StandIn()
    with serving(stand_in, tls.server_context(host_pki[0])) as url:
        monkeypatch.setenv("ML_JOB_SERVER", url)
        yield stand_in


def ml_job(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.mark.parametrize("form", ["version", "--version"])
def test_both_forms_print_the_version(form: str) -> None:
    assert ml_job(form).stdout == f"ml-job {__version__}\n"


def at_a_terminal(*arguments: str, typed: bytes = b"") -> str:
    """What `ml-job` shows on a terminal, stdout and stderr together; `typed` once it has asked."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*ML_JOB, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    shown = b""
    try:
        while typed and b": " not in shown:
            shown += os.read(master, 65536)
        os.write(master, typed)
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # EIO: the last one to hold the terminal has gone
        pass
    finally:
        os.close(master)
    process.wait(30)
    return shown.decode().replace("\r\n", "\n")


class TestSecrets:
    def test_a_value_travels_as_the_body_and_is_never_shown(self, agent: StandIn) -> None:
        value = b"hunter2\xff\n"
        result = CliRunner().invoke(app, ["secret", "set", "api"], input=value, catch_exceptions=False)
        assert result.exit_code == 0
        method, path, headers, body = agent.requests[0]
        assert (method, path, body) == ("PUT", "/secrets/api", value)
        assert headers["Content-Type"] == "application/octet-stream"
        assert result.stdout == (
            "Rotated: jobs that start from now on get api of alice.\n"
            f"Running with the earlier value: {JOB_ID}.\n"
        )
        assert "hunter2" not in result.output

    def test_a_value_that_is_typed_is_not_shown(self, agent: StandIn) -> None:
        shown = at_a_terminal("secret", "set", "api", typed=b"hunter2\n")
        assert agent.requests[0][3] == b"hunter2"
        assert "Value (not shown)" in shown
        assert "hunter2" not in shown

    def test_a_value_from_a_file_that_others_can_read_is_remarked(
        self, agent: StandIn, tmp_path: Path
    ) -> None:
        file = tmp_path / "value"
        file.write_text("hunter2")
        file.chmod(0o644)
        result = ml_job("secret", "set", "api", "--file", str(file))
        assert agent.requests[0][3] == b"hunter2"
        assert "chmod 600" in result.stderr

    def test_there_is_no_way_to_give_a_value_as_an_argument(self, agent: StandIn) -> None:
        assert ml_job("secret", "set", "api", "hunter2").exit_code == 2
        assert agent.requests == []

    def test_a_file_that_is_not_there_is_named(self, agent: StandIn) -> None:
        result = ml_job("secret", "set", "api", "--file", "nowhere")
        assert (result.exit_code, agent.requests) == (2, [])
        assert "nowhere cannot be read" in result.stderr

    def test_they_are_listed_with_whose_they_are_and_when_they_were_set(self, agent: StandIn) -> None:
        time = "2026-01-01T00:00:00.000Z"
        assert ml_job("secret", "list").stdout == f"shared\teverybody\t{time}\napi\talice\t{time}\n"
        assert json.loads(ml_job("secret", "list", "--json").stdout)["secrets"][1]["age_seconds"] == 60

    def test_one_is_removed(self, agent: StandIn) -> None:
        assert ml_job("secret", "rm", "api").stdout == "Removed api of alice.\n"
        assert agent.paths("DELETE") == ["/secrets/api"]

    def test_one_whose_removal_was_not_answered_is_removed(self, agent: StandIn) -> None:
        gone = [problem(404, "secret-not-found", "You have no secret api.") for _ in range(3)]
        agent.answers["DELETE /secrets/api"] = [None, gone[0], None, None, None, gone[1], gone[2]]
        assert ml_job("secret", "rm", "api").stdout == "Removed api of alice.\n"
        assert json.loads(ml_job("secret", "rm", "api", "--json").stdout) == {"name": "api", "user": "alice"}
        # What is not there at the first request was never removed.
        result = ml_job("secret", "rm", "api")
        assert (result.exit_code, result.stderr) == (2, "error: You have no secret api.\n")

    def test_another_refusal_of_a_repeated_removal_is_told(self, agent: StandIn) -> None:
        revoked = problem(403, "certificate-refused", "It was revoked.")
        agent.answers["DELETE /secrets/api"] = [None, revoked]
        assert ml_job("secret", "rm", "api").exit_code == 2

    def test_a_name_is_never_more_than_a_part_of_the_path(self, agent: StandIn) -> None:
        ml_job("secret", "rm", "../jobs?x")
        assert agent.paths("DELETE") == ["/secrets/..%2Fjobs%3Fx"]


class TestSubmit:
    def test_sends_what_was_asked_and_prints_the_id(self, agent: StandIn) -> None:
        result = ml_job(
            *("submit", "train.py", "-p", "depth=3", "-p", "note=a=b", "--ref", "v1", "--name", "first"),
            *("--label", "team=risk", "--memory", "2G", "--cpus", "1.5", "--time", "30m"),
            *("--grace", "2m"),
        )
        assert (result.exit_code, result.stdout) == (0, f"{JOB_ID}\n")
        method, path, headers, body = agent.requests[0]
        assert (method, path) == ("POST", "/jobs")
        assert len(headers["Idempotency-Key"]) >= 20
        assert body == {
            "script_name": "train.py",
            "hyperparameters": {"depth": "3", "note": "a=b"},
            "ref": "v1",
            "name": "first",
            "labels": {"team": "risk"},
            "limits": {
                "memory_bytes": 2 * 2**30,
                "cpus": 1.5,
                "run_time_seconds": 1800,
                "grace_seconds": 120,
            },
        }

    def test_says_nothing_about_what_was_not_asked(self, agent: StandIn) -> None:
        ml_job("submit", "train.py")
        assert agent.requests[0][3] == {"script_name": "train.py", "hyperparameters": {}}

    def test_json_is_the_job_as_the_agent_gave_it(self, agent: StandIn) -> None:
        result = ml_job("submit", "train.py", "--json")
        assert json.loads(result.stdout) == job(status="PENDING")

    def test_repeats_a_lost_request_under_the_same_key(self, agent: StandIn) -> None:
        agent.answers["POST /jobs"] = [None, None]
        result = ml_job("submit", "train.py")
        assert (result.exit_code, len(agent.jobs)) == (0, 1)
        keys = [headers["Idempotency-Key"] for _, _, headers, _ in agent.requests]
        assert len(keys) == 3
        assert len(set(keys)) == 1

    def test_two_submissions_have_two_keys(self, agent: StandIn) -> None:
        ml_job("submit", "train.py")
        ml_job("submit", "train.py")
        assert len({headers["Idempotency-Key"] for _, _, headers, _ in agent.requests}) == 2

    def test_prints_each_refused_field_and_the_hint(self, agent: StandIn) -> None:
        errors = [{"field": "hyperparameters.depth", "message": "must be at least 1", "code": "range"}]
        refusal = problem(422, "invalid-request", "The request is not valid.", hint="See it.", errors=errors)
        agent.answers["POST /jobs"] = [refusal]
        result = ml_job("submit", "train.py", "-p", "depth=0")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines() == [
            "error: The request is not valid.",
            "  hyperparameters.depth: must be at least 1",
            "hint: See it.",
        ]

    @pytest.mark.parametrize("parameters", [["depth"], ["=3"], ["depth=1", "depth=2"]])
    def test_takes_each_parameter_once_and_as_a_pair(self, agent: StandIn, parameters: list[str]) -> None:
        options = [text for parameter in parameters for text in ("-p", parameter)]
        assert ml_job("submit", "train.py", *options).exit_code == 2
        assert agent.requests == []

    def test_a_priority_is_sent_where_one_is_given(self, agent: StandIn) -> None:
        ml_job("submit", "train.py", "--priority", "-2")
        ml_job("submit", "train.py")
        bodies = [body for method, _, _, body in agent.requests if method == "POST"]
        assert [body.get("priority") for body in bodies] == [-2, None]

    @pytest.mark.parametrize(("final", "status"), ENDS)
    def test_following_exits_as_the_job_does(
        self, agent: StandIn, final: dict[str, Any], status: int
    ) -> None:
        agent.streams = [[line(1, "one"), event("end", job(**final))]]
        result = ml_job("submit", "train.py", "--follow")
        assert (result.exit_code, result.stdout) == (status, "one\n")
        assert f"job {JOB_ID} is {final['status']}" in result.stderr

    def test_following_as_json_prints_every_event(self, agent: StandIn) -> None:
        agent.streams = [[line(1, "one"), event("gap", {"after": 1, "count": 2, "time": "…"}, "g"), END]]
        result = ml_job("submit", "train.py", "--follow", "--json")
        events = [json.loads(text) for text in result.stdout.splitlines()]
        assert [each["event"] for each in events] == ["state", "line", "gap", "end"]
        assert events[0]["data"]["job_id"] == JOB_ID
        assert events[1]["data"]["text"] == "one"
        assert events[3]["data"] == job()

    def test_an_interrupt_while_following_detaches_and_leaves_the_job(self, agent: StandIn) -> None:
        async def wait(request: web.Request) -> None:
            await asyncio.sleep(60)

        agent.streams = [[line(1, "one"), wait]]
        process = subprocess.Popen(
            [*ML_JOB, "submit", "train.py", "--follow"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        process.send_signal(signal.SIGINT)
        _, remarks = process.communicate(timeout=30)
        assert process.returncode == 130
        assert f"detached, the job goes on; `ml-job logs -f {JOB_ID}`" in remarks
        assert f"`ml-job cancel {JOB_ID}` ends it" in remarks
        assert "Traceback" not in remarks
        assert agent.paths("POST") == ["/jobs"]


class TestLogs:
    def test_piped_are_the_very_bytes(self, agent: StandIn) -> None:
        agent.plain_log = b"plain\n\x1b[2Jred\xff\x00\n10%\r20%\n"
        result = ml_job("logs", JOB_ID)
        assert result.stdout_bytes == agent.plain_log
        assert result.stderr == ""

    def test_where_the_job_printed_nothing_the_system_says_why(self, agent: StandIn) -> None:
        why = job(status="FAILED", reason="start-failed", message="The container did not start.")
        agent.streams = [[line(1, "no such image", "system"), line(2, "too late"), event("end", why)]]
        result = ml_job("logs", JOB_ID, "--tail", "5")
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.splitlines() == [
            "no such image",
            f"ml-job: job {JOB_ID} is FAILED (start-failed): The container did not start.",
        ]
        assert agent.paths() == [f"/jobs/{JOB_ID}/logs?tail=5", f"/jobs/{JOB_ID}/logs?tail=5&follow=false"]

    def test_a_job_that_has_not_printed_anything_yet_says_what_it_is(self, agent: StandIn) -> None:
        agent.streams = [[event("pause", job(status="PENDING"))]]
        result = ml_job("logs", JOB_ID)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"ml-job: job {JOB_ID} is PENDING\n"

    def test_tail_is_the_agents_to_count(self, agent: StandIn) -> None:
        agent.plain_log = b"one\n"
        ml_job("logs", JOB_ID, "--tail", "5")
        assert agent.paths() == [f"/jobs/{JOB_ID}/logs?tail=5"]

    def test_following_keeps_the_jobs_lines_apart_from_what_is_said_about_it(self, agent: StandIn) -> None:
        gap = event("gap", {"after": 1, "count": 40, "time": "2026-01-01T00:00:00.000Z"}, "token-gap")
        state = event("state", job(status="RUNNING"))
        agent.jobs = [job(status="PENDING")]
        agent.streams = [
            [b": \n\n", state, line(1, "one"), gap, line(2, "Started.", "system"), line(3, "two"), END]
        ]
        result = ml_job("logs", "-f", JOB_ID)
        assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")
        assert result.stderr.splitlines() == [
            f"ml-job: job {JOB_ID} is RUNNING",
            "ml-job: 40 lines are missing after line 1: the journal dropped them",
            "Started.",
            f"ml-job: job {JOB_ID} is COMPLETED",
        ]

    def test_a_line_that_journald_has_cut_is_one_line(self, agent: StandIn) -> None:
        agent.jobs, agent.streams = [job()], [CUT]
        assert ml_job("logs", "-f", JOB_ID).stdout == "one\nAAABBBCCC\n50%\r51%\r52%"

    def test_a_cut_line_at_a_terminal_is_one_line_until_something_is_said(self, agent: StandIn) -> None:
        agent.jobs, agent.streams = [job(status="RUNNING")], [CUT]
        shown = re.sub("\x1b[^m]*m", "", at_a_terminal("logs", "-f", JOB_ID)).splitlines()
        gap = "ml-job: 2 lines are missing after line 3: the journal dropped them"
        end = f"ml-job: job {JOB_ID} is COMPLETED"
        assert shown == ["one", "AAABBB", gap, "CCC", "50%", "52%", end]

    def test_a_cut_line_at_a_terminal_is_not_drawn_over(self, agent: StandIn) -> None:
        async def wait(request: web.Request) -> None:
            await asyncio.sleep(0.3)

        mark = '::progress {"done": 1, "total": 2}'
        begun, rest = line(2, "AAA", continued=True), line(3, mark, continued=True)
        agent.jobs = [job(status="RUNNING")]
        agent.streams = [[line(1, mark), wait, begun, wait, rest, wait, line(4, "BBB"), wait, END]]
        assert f"AAA{mark}BBB\n\r{ERASE}━" in at_a_terminal("logs", "-f", JOB_ID)

    def test_following_skips_events_of_a_newer_agent(self, agent: StandIn) -> None:
        agent.jobs = [job()]
        agent.streams = [[event("sparkle", {"new": 1}, "s"), line(1, "one"), END]]
        assert ml_job("logs", "-f", JOB_ID).stdout == "one\n"

    def test_a_lost_connection_is_continued_behind_the_last_whole_event(self, agent: StandIn) -> None:
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

    def test_a_log_that_breaks_off_anywhere_arrives_whole_and_once(
        self, agent: StandIn, monkeypatch: pytest.MonkeyPatch
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

    def test_an_error_event_is_a_reason_to_ask_again_or_to_stop(self, agent: StandIn) -> None:
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

    def test_a_state_is_told_once_however_often_it_is_sent(self, agent: StandIn) -> None:
        state = event("state", job(status="PENDING"))
        agent.streams = [[state, cut], [state, line(1, "one"), END]]
        remarks = ml_job("submit", "train.py", "--follow").stderr
        assert remarks.count("is PENDING") == 1

    def test_a_gap_of_unknown_size_is_still_a_gap(self, agent: StandIn) -> None:
        agent.jobs = [job()]
        agent.streams = [[event("gap", {"after": 7, "time": "2026-01-01T00:00:00.000Z"}, "g"), END]]
        assert "lines are missing after line 7" in ml_job("logs", "-f", JOB_ID).stderr

    def test_an_agent_that_is_busy_is_asked_again(self, agent: StandIn) -> None:
        agent.jobs = [job()]
        agent.answers[f"GET /jobs/{JOB_ID}/logs"] = [
            problem(503, "host", "Starting."),
            problem(429, "x", "Full."),
        ]
        agent.streams = [[line(1, "one"), END]]
        result = ml_job("logs", "-f", JOB_ID)
        assert (result.exit_code, result.stdout) == (0, "one\n")
        assert result.stderr.startswith("ml-job: Starting. Continuing …\nml-job: Connected again.\n")

    def test_a_silent_connection_counts_as_lost(
        self, agent: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def silence(request: web.Request) -> None:
            await asyncio.sleep(5)

        monkeypatch.setattr(stream, "SILENCE_SECONDS", 0.3)
        agent.jobs = [job()]
        agent.streams = [[line(1, "one"), silence], [line(2, "two"), END]]
        result = ml_job("logs", "-f", JOB_ID)
        assert result.stdout == "one\ntwo\n"
        assert "did not answer in time" in result.stderr

    def test_a_missing_job_is_no_lost_connection(self, agent: StandIn) -> None:
        result = ml_job("logs", "-f", JOB_ID)
        assert result.exit_code == 2
        assert "There is no such job." in result.stderr
        assert len(agent.requests) == 1

    def test_a_reader_that_has_enough_is_no_error(self, agent: StandIn) -> None:
        agent.plain_log = b"a line that is much longer than nothing\n" * 100_000
        command = subprocess.Popen([*ML_JOB, "logs", JOB_ID], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert command.stdout is not None
        command.stdout.readline()
        command.stdout.close()
        assert command.wait(30) == 141
        assert command.stderr is not None
        assert command.stderr.read() == b""
        command.stderr.close()

    def test_a_terminal_gets_colours_and_nothing_else_that_drives_it(self, agent: StandIn) -> None:
        agent.plain_log = b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\n10%\r20%\n"
        shown = at_a_terminal("logs", JOB_ID)
        assert shown == "\x1b[31mred\x1b[0m ^[]0;title^G^[[2J\x1b[0m\n20%\n"

    def test_no_color_takes_a_jobs_colours_too(self, agent: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        agent.plain_log = b"\x1b[31mred\x1b[0m\n"
        assert at_a_terminal("logs", JOB_ID) == "red\n"


class TestWait:
    @pytest.mark.parametrize(("final", "status"), ENDS)
    def test_exits_as_the_job_does(self, agent: StandIn, final: dict[str, Any], status: int) -> None:
        agent.jobs = [job(status="RUNNING")]
        change = event("job", job(status="RUNNING"), "7.abc")
        agent.streams = [[b": \n\n", change, event("end", job(**final))]]
        result = ml_job("wait", "@last")
        assert (result.exit_code, result.stdout) == (status, "")
        assert result.stderr.startswith(f"ml-job: job {JOB_ID} is {final['status']}")
        assert agent.paths()[-1] == f"/jobs/{JOB_ID}/events"

    def test_a_job_that_ended_long_ago_is_not_waited_for(self, agent: StandIn) -> None:
        agent.jobs = [job(status="FAILED", reason="exit-code", exit_status=4)]
        result = ml_job("wait", JOB_ID, "--json")
        assert (result.exit_code, json.loads(result.stdout), result.stderr) == (4, agent.jobs[0], "")
        assert agent.paths() == [f"/jobs/{JOB_ID}"]

    def test_goes_on_where_the_connection_was_lost(self, agent: StandIn) -> None:
        agent.jobs = [job(status="RUNNING")]
        agent.streams = [[event("job", job(status="RUNNING"), "7.abc"), cut], [END]]
        result = ml_job("wait", JOB_ID)
        assert result.exit_code == 0
        assert "Connected again" in result.stderr
        assert agent.requests[-1][2]["Last-Event-ID"] == "7.abc"

    def test_a_missing_job_is_no_lost_connection(self, agent: StandIn) -> None:
        result = ml_job("wait", JOB_ID)
        assert result.exit_code == 2
        assert "There is no such job." in result.stderr


class TestListAndShow:
    def test_a_person_sees_a_table_with_short_ids(self, agent: StandIn) -> None:
        agent.jobs = [job(name="\x1b[2Jfirst", reason=None)]
        shown = at_a_terminal("list")
        assert "STATUS" in shown
        assert "abcdefgh\x1b" in shown
        assert "COMPLETED" in shown
        assert "^[[2Jfirst" in shown

    def test_a_program_gets_whole_values_between_tabs(self, agent: StandIn) -> None:
        times = {"started_at": "2026-01-01T00:00:01.000Z", "finished_at": "2026-01-01T00:00:03.500Z"}
        agent.jobs = [job(status="FAILED", reason="exit-code", **times)]
        row = ml_job("list").stdout
        when = "2026-01-01T00:00:00.000Z"
        assert row == f"{JOB_ID}\tFAILED\texit-code\ttrain.py\t\talice\t{when}\t2.500\n"

    def test_filters_and_limit_are_sent(self, agent: StandIn) -> None:
        ml_job("list", "--status", "running", "--script", "a b.py", "--owner", "bob", "-n", "7")
        assert agent.paths() == ["/jobs?status=RUNNING&script=a+b.py&owner=bob&limit=7"]

    def test_a_status_that_is_none_is_answered_with_those_there_are(self, home: Home) -> None:
        result = ml_job("list", "--status", "FOO")
        assert result.exit_code == 2
        assert "'--status': 'FOO' is not one of PENDING, CREATED, RUNNING, " in result.stderr

    def test_all_goes_through_every_page(self, agent: StandIn) -> None:
        agent.jobs = [
            job(f"{letter}{other}aaaaaaaaaa") for letter in "abcdefghijklmnop" for other in "abcdefghijklmnop"
        ]
        listed = json.loads(ml_job("list", "--all", "--json").stdout)
        assert listed == agent.jobs
        assert len(agent.requests) == 3

    def test_a_limit_beyond_a_page_takes_as_much_as_it_needs(self, agent: StandIn) -> None:
        agent.jobs = [job()] * 250
        assert len(json.loads(ml_job("list", "-n", "130", "--json").stdout)) == 130
        assert agent.paths() == ["/jobs?limit=100", "/jobs?cursor=100&limit=30"]

    def test_show_leaves_out_what_is_not_known(self, agent: StandIn) -> None:
        agent.jobs = [job()]
        lines = ml_job("show", JOB_ID).stdout.splitlines()
        assert f"unit\tml-job@{JOB_ID}.service" in lines
        assert "parameter\tdepth=3" in lines
        assert "limits\t2.0 GiB memory" in lines
        assert not any(text.startswith(("reason", "exit status", "container")) for text in lines)

    def test_a_waiting_job_shows_its_place(self, agent: StandIn) -> None:
        place = {"position": 2, "waits_for": "4 GiB of memory"}
        agent.jobs = [job(status="PENDING", queue=place, priority=-3)]
        lines = ml_job("show", JOB_ID).stdout.splitlines()
        assert "queue\t2 in line; waits for 4 GiB of memory" in lines
        assert "priority\t-3" in lines

    def test_the_host_shows_what_is_taken_and_who_waits(self, agent: StandIn) -> None:
        agent.answers["GET /host"] = [web.json_response(HOST)]
        assert ml_job("host").stdout.splitlines() == [
            "versions\tagent 0.1.0, systemd 257",
            "running\t1 of 4",
            "CPUs\t1.5 of 8",
            "memory\t1.0 GiB of 16.0 GiB",
            "waiting\t7",
            "alice\t7\t1\t12.5",
        ]

    def test_an_answer_that_breaks_the_contract_is_a_failure_that_names_the_place(
        self, agent: StandIn
    ) -> None:
        agent.jobs = [job(created_at="yesterday")]
        result = ml_job("show", JOB_ID)
        assert result.exit_code == 1
        assert "not understood (Job.created_at" in result.stderr


class TestJobIds:
    def test_a_unique_beginning_is_enough(self, agent: StandIn) -> None:
        agent.jobs = [job("aaaabbbbcccc"), job()]
        assert json.loads(ml_job("show", "abcd", "--json").stdout)["job_id"] == JOB_ID

    def test_an_ambiguous_beginning_is_refused_with_the_candidates(self, agent: StandIn) -> None:
        agent.jobs = [job("abcdbbbbcccc"), job()]
        result = ml_job("cancel", "abcd")
        assert result.exit_code == 2
        assert f"abcdbbbbcccc, {JOB_ID}" in result.stderr
        assert agent.paths("POST") == []

    def test_last_is_the_newest_job_of_ones_own(self, agent: StandIn) -> None:
        agent.jobs = [job(), job("aaaabbbbcccc")]
        assert json.loads(ml_job("show", "@last", "--json").stdout)["job_id"] == JOB_ID
        assert agent.paths()[0] == "/jobs?owner=alice&limit=1"

    @pytest.mark.parametrize("text", ["abc", "ABCDEF", "../jobs", "abcdefghijklm", "ab1d", ""])
    def test_anything_else_is_refused_before_a_request_is_made(self, agent: StandIn, text: str) -> None:
        assert ml_job("show", text).exit_code == 2
        assert agent.requests == []

    def test_a_beginning_that_nothing_has_is_said_so(self, agent: StandIn) -> None:
        result = ml_job("show", "zzzz")
        assert result.exit_code == 2
        assert "begins with zzzz" in result.stderr


class TestRerun:
    def test_sends_what_differs_and_prints_the_new_jobs_id(self, agent: StandIn) -> None:
        result = ml_job("rerun", "k" * 12, "-p", "depth=4", "--memory", "1G")
        assert (result.exit_code, result.stdout) == (0, f"{JOB_ID}\n")
        method, path, headers, body = agent.requests[0]
        assert (method, path) == ("POST", f"/jobs/{'k' * 12}/rerun")
        assert len(headers["Idempotency-Key"]) >= 20
        assert body == {"hyperparameters": {"depth": "4"}, "limits": {"memory_bytes": 2**30}}

    def test_sends_how_often_and_after_what_a_job_is_tried_again(self, agent: StandIn) -> None:
        options = ("--max-attempts", "3", "--retry-on", "timeout", "--retry-on", "interrupted")
        ml_job("rerun", "k" * 12, *options)
        ml_job("submit", "train.py", *options)
        wanted = {"max_attempts": 3, "retry_on": ["timeout", "interrupted"]}
        assert agent.requests[0][3] == wanted
        assert agent.requests[1][3] == {"script_name": "train.py", "hyperparameters": {}, **wanted}

    def test_refuses_to_retry_what_somebody_stopped(self, agent: StandIn) -> None:
        result = ml_job("submit", "train.py", "--max-attempts", "3", "--retry-on", "stopped")
        assert result.exit_code == 2
        assert "'stopped' is not one of exit-code, " in result.stderr
        assert agent.requests == []

    def test_sends_nothing_where_nothing_differs(self, agent: StandIn) -> None:
        ml_job("rerun", "k" * 12)
        assert agent.requests[0][3] == {}


class TestCancelAndScripts:
    def test_a_job_that_may_be_tried_again_says_which_attempt_it_is_at(self, agent: StandIn) -> None:
        agent.jobs = [job(status="RUNNING", attempt=2, max_attempts=3)]
        assert ml_job("cancel", JOB_ID).stdout == f"job {JOB_ID} is RUNNING, attempt 2 of 3\n"

    def test_pin_and_unpin_say_what_the_job_is_now(self, agent: StandIn) -> None:
        agent.jobs = [job()]
        assert ml_job("pin", JOB_ID).stdout == f"job {JOB_ID} is pinned\n"
        assert "pinned\tyes\n" in ml_job("show", JOB_ID).stdout
        assert ml_job("unpin", JOB_ID).stdout == f"job {JOB_ID} is not pinned\n"
        assert agent.paths("PUT") == agent.paths("DELETE") == [f"/jobs/{JOB_ID}/pin"]

    def test_what_retention_removed_is_shown(self, agent: StandIn) -> None:
        agent.jobs = [job(removed={"at": CREATED, "rule": "age"})]
        assert f"removed\tartifacts and log, {CREATED}\n" in ml_job("show", JOB_ID).stdout

    def test_cancel_says_what_the_job_is_now(self, agent: StandIn) -> None:
        agent.jobs = [job(status="RUNNING", cancel_requested=True)]
        result = ml_job("cancel", JOB_ID)
        assert result.stdout == f"job {JOB_ID} is RUNNING, to be cancelled\n"
        assert agent.paths("POST") == [f"/jobs/{JOB_ID}/cancel"]

    def test_scripts_lists_parameters(self, agent: StandIn) -> None:
        assert ml_job("scripts", "--ref", "v1").stdout == "train.py\tdepth\tTrains.\n"
        assert agent.paths() == ["/scripts?ref=v1"]

    def test_one_script_is_shown_with_what_each_parameter_takes(self, agent: StandIn) -> None:
        assert "depth\tinteger\t3\t≥ 1, ≤ 1000000\t" in ml_job("scripts", "train.py").stdout
        assert json.loads(ml_job("scripts", "train.py", "--json").stdout)["script_name"] == "train.py"

    def test_an_unknown_script_brings_the_nearest_one_to_mind(self, agent: StandIn) -> None:
        result = ml_job("scripts", "tran.py")
        assert result.exit_code == 2
        assert "Did you mean train.py?" in result.stderr


HOST = {
    "versions": {"agent": "0.1.0", "systemd": "257"},
    "capacity": {"jobs": 4, "cpus": 8.0, "memory_bytes": 16 * 2**30},
    "in_use": {"jobs": 1, "cpus": 1.5, "memory_bytes": 2**30},
    "waiting": 7,
    "running": 1,
    "users": [{"user": "alice", "waiting": 7, "running": 1, "recent_use_seconds": 12.5}],
}

FILES = {"model.joblib": b"\x00" * 600_000, "plots/roc curve #1.png": b"png", "metrics.json": b"{}"}


class TestArtifacts:
    def test_are_listed_without_naming_the_command(self, agent: StandIn) -> None:
        agent.files = FILES
        rows = [row.split("\t") for row in ml_job("artifacts", JOB_ID).stdout.splitlines()]
        assert [(row[0], row[1]) for row in rows] == [
            ("model.joblib", "600000"),
            ("plots/roc curve #1.png", "3"),
            ("metrics.json", "2"),
        ]
        assert json.loads(ml_job("artifacts", "--json", JOB_ID).stdout)["complete"] is True

    def test_are_fetched_whole_into_a_directory_of_the_jobs_name(
        self, agent: StandIn, tmp_path: Path
    ) -> None:
        agent.files = FILES
        result = ml_job("artifacts", "get", JOB_ID)
        assert result.exit_code == 0, result.stderr
        root = tmp_path / JOB_ID
        found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        assert found == FILES
        assert result.stdout.splitlines() == [f"{JOB_ID}/{path}" for path in FILES]

    def test_named_files_and_directories_alone_are_fetched(self, agent: StandIn, tmp_path: Path) -> None:
        agent.files = FILES
        result = ml_job("artifacts", "get", JOB_ID, "metrics.json", "plots/", "-o", "here")
        assert result.stdout.splitlines() == ["here/plots/roc curve #1.png", "here/metrics.json"]
        assert not (tmp_path / "here" / "model.joblib").exists()

    def test_a_place_that_cannot_be_written_to_is_named(self, agent: StandIn, tmp_path: Path) -> None:
        agent.files = FILES
        (tmp_path / "file").write_text("before")
        result = ml_job("artifacts", "get", JOB_ID, "-o", "file")
        assert result.exit_code == 2
        assert "error: file is no directory." in result.stderr
        assert "hint: " in result.stderr
        assert (tmp_path / "file").read_text() == "before"

    def test_a_name_that_the_job_has_not_is_refused(self, agent: StandIn) -> None:
        agent.files = FILES
        result = ml_job("artifacts", "get", JOB_ID, "model")
        assert result.exit_code == 2
        assert "no artifact 'model'" in result.stderr

    @pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 1}, {"size": 3}])
    def test_a_damaged_one_leaves_what_was_there(
        self, agent: StandIn, tmp_path: Path, change: dict[str, object]
    ) -> None:
        (tmp_path / "metrics.json").write_text("before")
        agent.files, agent.manifest_changes = {"metrics.json": b"{}"}, change
        result = ml_job("artifacts", "get", JOB_ID, "-o", ".")
        assert result.exit_code == 1
        assert (tmp_path / "metrics.json").read_text() == "before"
        assert not list(tmp_path.glob(".ml-job-*"))

    @pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "link/evil"])
    def test_none_is_written_outside_the_directory(self, agent: StandIn, tmp_path: Path, path: str) -> None:
        root = tmp_path / "root"
        root.mkdir()
        (root / "link").symlink_to(tmp_path)
        agent.files = {"harmless": b"1", path: b"2"}
        result = ml_job("artifacts", "get", JOB_ID, "-o", str(root))
        assert result.exit_code == 1
        assert "outside" in result.stderr
        assert not (tmp_path / "evil").exists()
        assert not (root / "harmless").exists()

    @pytest.mark.parametrize(
        ("made", "why"),
        [
            ("out/d/b/", "out/d/b is a directory"),
            ("out/d", "out/d is no directory"),
            ("out", "out is no directory"),
        ],
    )
    def test_what_something_else_has_the_place_of_is_not_fetched(
        self, agent: StandIn, tmp_path: Path, made: str, why: str
    ) -> None:
        place = tmp_path / made
        (place if made.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
        if not made.endswith("/"):
            place.write_text("before")
        agent.files = {"a": b"1", "d/b": b"2"}
        result = ml_job("artifacts", "get", JOB_ID, "-o", "out")
        assert (result.exit_code, result.stdout) == (2, "")
        assert why in result.stderr
        assert len(agent.paths()) == 1
        assert place.is_dir() or place.read_text() == "before"

    @pytest.mark.parametrize(
        ("path", "output", "why"),
        [
            ("x" * 300, "out", "File name too long"),
            ("x" * 300 + "/b", "out", "File name too long"),
            ("a", "/proc/nothing", "/proc/nothing/a cannot be written"),
        ],
    )
    def test_what_cannot_be_written_is_named(
        self, agent: StandIn, tmp_path: Path, path: str, output: str, why: str
    ) -> None:
        agent.files = {path: b"1"}
        result = ml_job("artifacts", "get", JOB_ID, "-o", output)
        assert (result.exit_code, result.stdout) == (2, "")
        assert why in result.stderr
        assert not [each for each in (tmp_path / "out").rglob("*") if each.is_file()]

    def test_a_full_disk_leaves_what_was_there(self, agent: StandIn, tmp_path: Path) -> None:
        (tmp_path / "model").write_text("before")
        agent.files = {"model": b"x" * 3_000_000}
        # A limit of a file's size is met as a full disk is: by a write that takes a part, and the next.
        limited = f"ulimit -f 1000; exec {shlex.join([*ML_JOB, 'artifacts', 'get', JOB_ID, '-o', '.'])}"
        result = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("error: model cannot be written: File too large.\nhint: Make room")
        assert (tmp_path / "model").read_text() == "before"
        assert not list(tmp_path.glob(".ml-job-*"))

    def test_a_link_in_its_place_is_replaced_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_text("before")
        root = tmp_path / "root"
        root.mkdir()
        (root / "metrics.json").symlink_to(tmp_path / "elsewhere")
        place = target(root, "metrics.json")
        (root / "part").write_text("after")
        (root / "part").replace(place)
        assert (tmp_path / "elsewhere").read_text() == "before"


class TestConnection:
    def test_nobody_listening_is_said_so(self, home: Home) -> None:
        result = ml_job("--server", "https://localhost:1", "submit", "train.py")
        assert result.exit_code == 69
        assert "Cannot connect to https://localhost:1" in result.stderr

    def test_an_untrusted_server_is_not_spoken_to(self, agent: StandIn, home: Home, tmp_path: Path) -> None:
        other = authority_module.Authority.create(tmp_path, "another authority")
        (home.path / "ca.crt").write_bytes(other.certificate_pem())
        result = ml_job("list")
        assert result.exit_code == 69
        assert "is not trusted" in result.stderr
        assert "current ca.crt" in result.stderr
        assert agent.requests == []

    def test_a_server_of_another_name_is_not_trusted(
        self, agent: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ML_JOB_SERVER", os.environ["ML_JOB_SERVER"].replace("localhost", "127.0.0.1"))
        result = ml_job("list")
        assert result.exit_code == 69
        assert "--san" in result.stderr
        assert "is not valid for '127.0.0.1'.\n" in result.stderr

    def test_an_expired_certificate_of_ones_own_is_named(self, agent: StandIn, home: Home) -> None:
        home.add("alice", home.authority.issue_client("alice", timedelta(seconds=-1)))
        result = ml_job("list")
        assert result.exit_code == 69
        assert "alice.crt expired on" in result.stderr
        assert "ml-agent issue alice" in result.stderr

    def test_a_certificate_of_another_authority_is_named(
        self, agent: StandIn, home: Home, tmp_path: Path
    ) -> None:
        home.add(
            "alice", authority_module.Authority.create(tmp_path, "another authority").issue_client("alice")
        )
        result = ml_job("list")
        assert result.exit_code == 69
        assert "was not issued by" in result.stderr

    def test_a_server_without_tls_is_no_agent(self, home: Home) -> None:
        with serving(StandIn(), None) as url:
            result = ml_job("--server", url, "list")
        assert result.exit_code == 69
        assert "does not speak TLS 1.3" in result.stderr

    def test_an_older_tls_is_refused(
        self, home: Home, host_pki: tuple[Path, authority_module.Authority]
    ) -> None:
        context = tls.server_context(host_pki[0])
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with serving(StandIn(), context) as url:
            assert ml_job("--server", url, "list").exit_code == 69

    @pytest.mark.parametrize(("status", "exit_code"), [(404, 2), (500, 1), (302, 2)])
    def test_an_error_without_a_problem_document_is_still_told(
        self, agent: StandIn, status: int, exit_code: int
    ) -> None:
        agent.answers["GET /jobs"] = [web.Response(status=status, text="<html>")]
        result = ml_job("list")
        assert result.exit_code == exit_code
        assert f"answered {status}" in result.stderr


class TestIdentity:
    def test_the_only_one_is_taken(self, agent: StandIn) -> None:
        assert ml_job("list").exit_code == 0

    def test_among_several_one_must_be_chosen(
        self, agent: StandIn, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home.add("bob", home.authority.issue_client("bob"))
        result = ml_job("list")
        assert result.exit_code == 2
        assert "alice, bob" in result.stderr
        assert ml_job("-i", "bob", "list").exit_code == 0
        monkeypatch.setenv("ML_JOB_IDENTITY", "alice")
        assert ml_job("list").exit_code == 0
        monkeypatch.delenv("ML_JOB_IDENTITY")
        (home.path / "config.toml").write_text('identity = "bob"\n')
        assert ml_job("list").exit_code == 0

    def test_an_identity_that_is_not_there_is_answered_with_those_that_are(self, home: Home) -> None:
        result = ml_job("-i", "../alice", "list")
        assert result.exit_code == 2
        assert "There is: alice." in result.stderr

    def test_none_at_all_says_where_to_put_one(self, home: Home) -> None:
        (home.path / "alice.key").unlink()
        result = ml_job("list")
        assert result.exit_code == 2
        assert "ml-agent issue USER" in result.stderr

    def test_a_key_of_another_certificate_is_refused(self, home: Home) -> None:
        (home.path / "alice.key").write_bytes(home.authority.issue_client("alice").key_pem())
        result = ml_job("list")
        assert result.exit_code == 2
        assert "alice.key cannot be used" in result.stderr

    def test_a_key_that_others_can_read_is_remarked_where_somebody_looks(
        self, agent: StandIn, home: Home
    ) -> None:
        key = home.path / "alice.key"
        assert "chmod" not in at_a_terminal("list")
        key.chmod(0o640)
        assert at_a_terminal("list").count("alice.key can be read by other accounts") == 1
        assert ml_job("list").stderr == ""

    def test_the_server_may_stand_in_the_configuration(
        self, agent: StandIn, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (home.path / "config.toml").write_text(f'server = "{os.environ["ML_JOB_SERVER"]}/"\n')
        monkeypatch.delenv("ML_JOB_SERVER")
        assert ml_job("list").exit_code == 0

    @pytest.mark.parametrize("text", ["sever = 'x'", "server = 1", "server =", "server = 'http://host'"])
    def test_a_wrong_configuration_names_its_file_or_value(self, home: Home, text: str) -> None:
        (home.path / "config.toml").write_text(text)
        result = ml_job("list")
        assert result.exit_code == 2
        assert "config.toml" in result.stderr or "http://host" in result.stderr


class TestEventParser:
    def test_events_are_the_same_however_the_bytes_are_cut(self) -> None:
        data = b": hello\n\nid: 1\nevent: line\ndata: {}\n\nid: 2\r\nevent: gap\r\ndata: a\r\ndata: b\r\n\r\n"
        expected = [Event("line", b"{}"), Event("gap", b"a\nb")]
        for size in range(1, len(data) + 1):
            parser = EventParser()
            pieces = [data[start : start + size] for start in range(0, len(data), size)]
            assert [each for piece in pieces for each in parser.feed(piece)] == expected
            assert parser.last_id == "2"

    def test_an_event_cut_off_does_not_move_the_id(self) -> None:
        parser = EventParser()
        assert len(list(parser.feed(b"id: 1\ndata: x\n\nid: 2\ndata: y\n"))) == 1
        assert parser.last_id == "1"
        parser.reset()
        assert list(parser.feed(b"data: z\n\n")) == [Event("message", b"z")]
        assert parser.last_id == "1"

    def test_the_id_is_right_for_each_event_as_it_is_yielded(self) -> None:
        parser = EventParser()
        seen = [parser.last_id for _ in parser.feed(b"id: 1\ndata: x\n\ndata: y\n\nid: 3\ndata: z\n\n")]
        assert seen == ["1", "1", "3"]


class TestTerminalText:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("plain\täß漢", "plain\täß漢"),
            ("\x1b[1;31mred", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[2J\x1b[H", "^[[2J^[[H"),
            ("\x1b]52;c;aGk=\x07", "^[]52;c;aGk=^G"),
            ("\x9b31m\x7f\x00", "\\x9b31m^?^@"),
            ("a\u202eb\u2066", "a\\u202eb\\u2066"),
            ("\x1b\x1b[31m", "^[\x1b[31m\x1b[0m"),
        ],
    )
    def test_colours_pass_and_controls_are_seen(self, text: str, shown: str) -> None:
        assert visible(text, colours=True) == shown

    def test_without_colours_no_escape_passes(self) -> None:
        assert visible("\x1b[31mred") == "^[[31mred"

    @pytest.mark.parametrize(
        ("line", "shown"), [("1%\r2%\r3%", "3%"), ("dos\r", "dos"), ("\r", ""), ("", "")]
    )
    def test_a_progress_bar_is_seen_as_it_was_left(self, line: str, shown: str) -> None:
        assert shown_line(line, colours=True) == shown


class TestQuantities:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("512M", 512 * 2**20), ("2G", 2**31), ("1.5GiB", 3 * 2**29), ("100", 100), ("1kb", 1024)],
    )
    def test_sizes_are_powers_of_1024(self, text: str, value: int) -> None:
        assert parse_size(text) == value

    @pytest.mark.parametrize(
        ("text", "value"),
        [("90", 90), ("45s", 45), ("30m", 1800), ("30min", 1800), ("1h30m", 5400), ("2d 1h", 176400)],
    )
    def test_durations_are_read_as_people_write_them(self, text: str, value: int) -> None:
        assert parse_duration(text) == value

    @pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1m1h", "1.5h"])
    def test_what_is_no_quantity_is_refused(self, text: str, home: Home) -> None:
        assert ml_job("submit", "train.py", "--time", text).exit_code == 2

    def test_what_is_shown_has_few_digits(self) -> None:
        assert [format_size(size) for size in (0, 999, 1000, 3 * 2**20, 2**40)] == [
            *("0 B", "999 B", "1.0 KiB", "3.0 MiB", "1.0 TiB"),
        ]
        assert [format_duration(seconds) for seconds in (0.84, 42, 200, 7200, 270000)] == [
            *("0.8 s", "42 s", "3 min 20 s", "2 h", "3 d 3 h"),
        ]

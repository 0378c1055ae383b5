"""`ml-job list`, `show`, `cancel`, `pin` and `unpin`."""

import json
from typing import Any

import pytest
from aiohttp import web

from tests.support.ml_job import Home, at_a_terminal, ml_job
from tests.support.stand_in_agent import CREATED, JOB_ID, StandIn, job, problem


def test_a_person_sees_a_table_with_short_ids(agent: StandIn) -> None:
    agent.jobs = [job(name="\x1b[2Jfirst", reason=None)]
    shown = at_a_terminal("list")
    assert "STATUS" in shown
    assert "abcdefgh\x1b" in shown
    assert "COMPLETED" in shown
    assert "^[[2Jfirst" in shown


def test_a_program_gets_whole_values_separated_by_tabs(agent: StandIn) -> None:
    times = {"started_at": "2026-01-01T00:00:01.000Z", "finished_at": "2026-01-01T00:00:03.500Z"}
    agent.jobs = [job(status="FAILED", reason="exit-code", **times)]
    row = ml_job("list").stdout
    when = "2026-01-01T00:00:00.000Z"
    assert row == f"{JOB_ID}\tFAILED\texit-code\ttrain.py\t\talice\t{when}\t2.500\n"


def test_filters_and_limit_are_sent(agent: StandIn) -> None:
    ml_job("list", "--status", "running", "--script", "a b.py", "--owner", "bob", "-n", "7")
    assert agent.paths() == ["/jobs?status=RUNNING&script=a+b.py&owner=bob&limit=7"]


def test_labels_a_metric_and_an_order_are_sent_and_values_shown(agent: StandIn, home: Home) -> None:
    agent.jobs = [job(), job("mnopqrstuvwx")]
    agent.page_changes = {"values": {JOB_ID: 0.123456789}}
    arguments = ("list", "--label", "team=a&b", "--label", "x=1", "--metric", "auc", "--sort", "highest")
    first, second = ml_job(*arguments).stdout.splitlines()
    assert agent.paths() == ["/jobs?label=team%3Da%26b&label=x%3D1&metric=auc&sort=highest&limit=20"]
    assert first.split("\t")[-1] == "0.123456789"
    assert second.split("\t")[-1] == ""
    shown = at_a_terminal(*arguments)
    assert "0.123457" in shown
    assert "auc" in shown


@pytest.mark.parametrize(
    "arguments",
    [("--sort", "best"), ("--sort", "lowest"), ("--label", "x"), ("--label", "x=1", "--label", "x=2")],
)
def test_a_list_in_no_order_is_refused(agent: StandIn, arguments: tuple[str, ...]) -> None:
    assert ml_job("list", *arguments).exit_code == 2
    assert agent.requests == []


def test_an_unknown_status_is_refused_with_the_known_ones(home: Home) -> None:
    result = ml_job("list", "--status", "FOO")
    assert result.exit_code == 2
    assert "'--status': 'FOO' is not one of PENDING, CREATED, RUNNING, " in result.stderr


def test_all_reads_every_page(agent: StandIn) -> None:
    agent.jobs = [
        job(f"{letter}{other}aaaaaaaaaa") for letter in "abcdefghijklmnop" for other in "abcdefghijklmnop"
    ]
    listed = json.loads(ml_job("list", "--all", "--json").stdout)
    assert listed == agent.jobs
    assert len(agent.requests) == 3


def test_a_limit_beyond_a_page_reads_as_many_pages_as_it_needs(agent: StandIn) -> None:
    agent.jobs = [job()] * 250
    assert len(json.loads(ml_job("list", "-n", "130", "--json").stdout)) == 130
    assert agent.paths() == ["/jobs?limit=100", "/jobs?cursor=100&limit=30"]


def test_reasons_of_a_later_agent_are_shown_as_they_are(agent: StandIn) -> None:
    ended = {"number": 1, "reason": "eaten-by-a-bear", "finished_at": "2026-01-01T00:00:03.500Z"}
    later = {"reason": "eaten-by-a-bear", "retry_on": ["bored", "timeout"], "max_attempts": 2}
    agent.jobs = [job(status="FAILED", **later, attempts=[ended])]
    assert "\teaten-by-a-bear\t" in ml_job("list").stdout
    lines = ml_job("show", JOB_ID).stdout.splitlines()
    assert {"reason\teaten-by-a-bear", "retry on\tbored, timeout"} <= set(lines)
    assert [line for line in lines if line.startswith("attempt") and "eaten-by-a-bear" in line]
    assert "eaten-by-a-bear" in ml_job("wait", JOB_ID).stderr


def test_show_omits_unknown_facts(agent: StandIn) -> None:
    agent.jobs = [job()]
    lines = ml_job("show", JOB_ID).stdout.splitlines()
    assert f"unit\tml-job@{JOB_ID}.service" in lines
    assert "parameter\tdepth=3" in lines
    assert "limits\t2.0 GiB memory" in lines
    assert not any(text.startswith(("reason", "exit status", "container")) for text in lines)


def test_show_prints_the_queue_place_of_a_waiting_job(agent: StandIn) -> None:
    place = {"position": 2, "waits_for": "4 GiB of memory"}
    agent.jobs = [job(status="PENDING", queue=place, priority=-3)]
    lines = ml_job("show", JOB_ID).stdout.splitlines()
    assert "queue\t2 in line; waits for 4 GiB of memory" in lines
    assert "priority\t-3" in lines


def test_show_prints_that_marks_were_not_understood(agent: StandIn) -> None:
    agent.jobs = [job(started_at=CREATED)]
    metrics = {"job_id": JOB_ID, "complete": True, "series": [], "refused": 0}
    ignored = {"count": 3, "line": 17, "reason": "value: must be a number"}
    agent.answers["GET /jobs/abcdefghijkl/metrics"] = [
        web.json_response(metrics | {"ignored": ignored}),
        web.json_response(metrics),
        problem(503, "host", "The journal cannot be read."),
    ]
    said = "marks\t3 marks were not understood; the first is line 17: value: must be a number\n"
    assert said in ml_job("show", JOB_ID).stdout
    for _ in range(2):
        result = ml_job("show", JOB_ID)
        assert (result.exit_code, "marks\t" in result.stdout) == (0, False)


def log_lines(*lines: tuple[str, str | None]) -> bytes:
    """A log in JSON lines: texts, and their streams."""
    events: list[dict[str, Any]] = [{"event": "gap", "data": {"after": 0, "time": CREATED}}]
    for number, (text, stream) in enumerate(lines, start=1):
        line = {"number": number, "time": CREATED, "source": "job" if stream else "system", "text": text}
        events.append({"event": "line", "data": line | ({"stream": stream} if stream else {})})
    events.append({"event": "end", "data": job()})
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([("a", "stdout"), ("KeyError: 'x'", "stderr"), (" ", "stderr"), ("z", "stdout")], "KeyError: 'x'"),
        ([("only this\x1b[2J", "stdout"), ("Consumed 1 s", None)], "only this^[[2J"),
        ([("Consumed 1 s", None)], None),
    ],
)
def test_show_prints_the_last_error_of_a_failed_job(
    agent: StandIn, lines: list[tuple[str, str | None]], error: str | None
) -> None:
    agent.jobs = [job(status="FAILED", started_at=CREATED)]
    agent.json_log = log_lines(*lines)
    facts = dict(line.split("\t") for line in ml_job("show", JOB_ID).stdout.splitlines())
    assert facts.get("last error") == error
    agent.answers[f"GET /jobs/{JOB_ID}/logs"] = [problem(503, "host", "The journal is broken.")]
    assert "last error" not in ml_job("show", JOB_ID).stdout


def test_show_asks_for_no_log_of_other_jobs(agent: StandIn) -> None:
    agent.jobs = [job(started_at=CREATED)]
    ml_job("show", JOB_ID)
    assert not [path for path in agent.paths() if "/logs" in path]


def test_show_prints_what_retention_removed(agent: StandIn) -> None:
    agent.jobs = [job(removed={"at": CREATED, "rule": "age"})]
    assert f"removed\tartifacts and log, {CREATED}\n" in ml_job("show", JOB_ID).stdout


def test_an_answer_that_breaks_the_contract_is_a_failure_that_names_the_member(agent: StandIn) -> None:
    agent.jobs = [job(created_at="yesterday")]
    result = ml_job("show", JOB_ID)
    assert result.exit_code == 1
    assert "not understood (Job.created_at" in result.stderr


def test_cancel_prints_the_jobs_state(agent: StandIn) -> None:
    agent.jobs = [job(status="RUNNING", cancel_requested=True)]
    result = ml_job("cancel", JOB_ID)
    assert result.stdout == f"job {JOB_ID} is RUNNING, to be cancelled\n"
    assert agent.paths("POST") == [f"/jobs/{JOB_ID}/cancel"]


def test_cancel_prints_the_attempt_of_a_job_with_several(agent: StandIn) -> None:
    agent.jobs = [job(status="RUNNING", attempt=2, max_attempts=3)]
    assert ml_job("cancel", JOB_ID).stdout == f"job {JOB_ID} is RUNNING, attempt 2 of 3\n"


def test_pin_and_unpin_print_whether_the_job_is_pinned(agent: StandIn) -> None:
    agent.jobs = [job()]
    assert ml_job("pin", JOB_ID).stdout == f"job {JOB_ID} is pinned\n"
    assert "pinned\tyes\n" in ml_job("show", JOB_ID).stdout
    assert ml_job("unpin", JOB_ID).stdout == f"job {JOB_ID} is not pinned\n"
    assert agent.paths("PUT") == agent.paths("DELETE") == [f"/jobs/{JOB_ID}/pin"]

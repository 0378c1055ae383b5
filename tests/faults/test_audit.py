"""The auditor finds what it looks for: one that cannot find anything would prove nothing."""

from dataclasses import replace
from typing import Any

from .audit import Seen, Verdict, examine
from .client import Told

ENDED = ["success exited 0 abc"]
TEXTS = ["nonce n", *map(str, range(1, 21))]
JOB = {"status": "COMPLETED", "invocation_id": "abc", "revision": 4, "exit_status": 0}
TOLD = Told(
    "alice",
    "short.py",
    job_id="j",
    lines=list(enumerate(TEXTS, start=1)),
    followed=True,
    ended=JOB,
    text="\n".join(TEXTS),
)


def broken(told: Told = TOLD, job: dict[str, Any] = JOB, **found: Any) -> list[int]:
    """The promises that a job breaks, by their numbers."""
    verdict = Verdict()
    seen: dict[str, Any] = {"nonces": ["n"], "ended": ENDED, "seen": Seen(1, {"abc"})}
    examine(verdict, told, job, **(seen | found))
    return [number for number, sentences in verdict.violations.items() if sentences]


def test_a_job_that_kept_every_promise_breaks_none() -> None:
    assert broken() == []


def test_a_job_that_has_not_ended_is_lost() -> None:
    assert 1 in broken(job={**JOB, "status": "RUNNING"})


def test_a_second_nonce_is_a_second_invocation() -> None:
    assert 2 in broken(nonces=["n", "m"])


def test_a_second_start_is_a_second_invocation_even_if_it_printed_nothing() -> None:
    assert 2 in broken(seen=Seen(2, {"abc", "def"}))


def test_completed_without_an_exit_record_is_untrue() -> None:
    assert 3 in broken(ended=[])


def test_completed_is_untrue_where_the_exit_record_says_otherwise() -> None:
    assert 3 in broken(ended=["signal killed KILL abc"])


def test_a_state_that_changed_after_a_client_was_told_of_it_is_untrue() -> None:
    assert 3 in broken(told=replace(TOLD, ended={**JOB, "status": "FAILED"}))


def test_a_follower_must_get_every_line() -> None:
    assert 4 in broken(told=replace(TOLD, lines=TOLD.lines[:7] + TOLD.lines[8:]))


def test_a_follower_must_not_get_a_line_twice() -> None:
    assert 4 in broken(told=replace(TOLD, lines=[*TOLD.lines, TOLD.lines[-1]]))


def test_a_lost_line_is_forgiven_where_a_gap_says_so_and_lines_were_made_to_be_lost() -> None:
    lost = replace(TOLD, lines=TOLD.lines[:7] + TOLD.lines[8:])
    assert 4 in broken(told=lost, lossy=True)
    assert broken(told=replace(lost, gaps=[7]), lossy=True) == []


def test_a_job_that_the_agents_death_took_along_was_in_its_way() -> None:
    assert 5 in broken(job={**JOB, "status": "FAILED", "reason": "interrupted"}, ended=[])

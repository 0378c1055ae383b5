"""The auditor finds what it looks for: one that cannot find anything would prove nothing."""

import hashlib
from dataclasses import replace
from typing import Any

from .audit import Left, Seen, Verdict, examine, examine_chain, examine_ledger
from .client import Told

ENDED = ["success exited 0 abc"]
TEXTS = ["nonce n", *map(str, range(1, 21))]
ATTEMPT = {"number": 1, "invocation_id": "abc", "exit_status": 0}
JOB = {"status": "COMPLETED", "revision": 4, "attempts": [ATTEMPT]}
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
    seen: dict[str, Any] = {"left": [Left(["n"], ENDED)], "seen": Seen(1, {"abc"})}
    examine(verdict, told, job, **(seen | found))
    return [number for number, sentences in verdict.violations.items() if sentences]


def test_a_job_that_kept_every_promise_breaks_none() -> None:
    assert broken() == []


def test_a_job_that_has_not_ended_is_lost() -> None:
    assert 1 in broken(job={**JOB, "status": "RUNNING"})


def test_a_second_nonce_is_a_second_invocation() -> None:
    assert 2 in broken(left=[Left(["n", "m"], ENDED)])


def test_a_second_start_is_a_second_invocation_even_if_it_printed_nothing() -> None:
    assert 2 in broken(seen=Seen(2, {"abc", "def"}))


def test_completed_without_an_exit_record_is_untrue() -> None:
    assert 3 in broken(left=[Left(["n"], [])])


def test_completed_is_untrue_where_the_exit_record_says_otherwise() -> None:
    assert 3 in broken(left=[Left(["n"], ["signal killed KILL abc"])])


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
    attempts = [{**ATTEMPT, "reason": "interrupted"}]
    job = {**JOB, "status": "FAILED", "reason": "interrupted", "attempts": attempts}
    assert 5 in broken(job=job, left=[Left(["n"], [])])


AGAIN_TEXTS = ["nonce n", *map(str, range(1, 8)), "nonce m", *map(str, range(1, 21))]
AGAIN: dict[str, Any] = {
    "told": replace(
        TOLD,
        attempts=2,
        lines=list(enumerate(AGAIN_TEXTS, start=1)),
        text="\n".join(AGAIN_TEXTS),
        ended={},
    ),
    "job": {
        **JOB,
        "attempts": [
            {"number": 1, "invocation_id": "abc", "reason": "interrupted"},
            {"number": 2, "invocation_id": "def", "exit_status": 0},
        ],
    },
    "left": [Left(["n"], []), Left(["m"], ["success exited 0 def"])],
    "seen": Seen(2, {"abc", "def"}),
}


def test_a_job_that_was_tried_again_as_it_asked_breaks_no_promise() -> None:
    assert broken(**AGAIN) == []


def test_more_attempts_than_were_asked_for_are_too_many() -> None:
    assert 2 in broken(**AGAIN | {"told": replace(AGAIN["told"], attempts=1)})


def test_a_second_nonce_of_one_attempt_is_a_second_invocation() -> None:
    assert 2 in broken(**AGAIN | {"left": [Left(["n", "o"], []), AGAIN["left"][1]]})


def test_a_third_invocation_of_two_attempts_is_one_too_many() -> None:
    assert {2, 3} <= set(broken(**AGAIN | {"seen": Seen(3, {"abc", "def", "ghi"})}))


def test_an_earlier_attempt_that_succeeded_was_not_interrupted() -> None:
    assert 3 in broken(**AGAIN | {"left": [Left(["n"], ENDED), AGAIN["left"][1]]})


def test_the_last_attempts_log_must_be_whole() -> None:
    told = replace(AGAIN["told"], text="\n".join(AGAIN_TEXTS[:-1]))
    assert 4 in broken(**AGAIN | {"told": told})


def chain(*entries: str) -> list[tuple[int, str, str]]:
    rows, before = [], "0" * 64
    for number, entry in enumerate(entries, start=1):
        before = hashlib.sha256(f"{number}\n{before}\n{entry}".encode()).hexdigest()
        rows.append((number, entry, before))
    return rows


def test_the_audit_names_the_jobs_that_were_accepted_and_a_broken_one_is_found() -> None:
    entries = [f'{{"action":"submitJob","result":"done","subject":"{job}"}}' for job in "abc"]
    entries.append('{"action":"submitJob","result":"refused","subject":"d"}')
    rows, verdict = chain(*entries), Verdict()
    assert examine_chain(verdict, rows) == {"a", "b", "c"}
    assert verdict.violations[1] == []
    for damaged in (rows[1:], [*rows[:1], *rows[2:]], [rows[0], (2, entries[0], rows[1][2]), *rows[2:]]):
        verdict = Verdict()
        examine_chain(verdict, damaged)
        assert len(verdict.violations[1]) == 1


def test_an_attempt_that_the_ledger_lacks_or_has_twice_is_untrue() -> None:
    for entered, violations in ((2, 0), (1, 1), (3, 1)):
        verdict = Verdict()
        examine_ledger(verdict, [("alice", 2, entered), ("bob", 0, 0)])
        assert len(verdict.violations[3]) == violations

"""What the measurement of costs counts, and that the largest lists are the largest."""

import json
from pathlib import Path

import pytest

from agent.api.fleet_routes import MEMBER_ROUTES
from agent.api.route import Route
from agent.fleet.entries import Claim
from agent.jobs.artifacts import MAX_ENTRIES, manifest
from agent.model.base import new_job_id
from agent.model.paths import JobPaths
from tests.support.artifacts import list_in

from .cost import MAX_MEMORY, MAX_RATIO, MIB, Cost, excess
from .front_cost import known_bodies, most
from .inputs import BODY, Case
from .largest import FILLINGS, NAME, cases, leave

LIST = Case("list", "a list", "GET", "/jobs/a/artifacts", in_pieces=True)
OTHER = Case("path", "another", "GET", "/jobs/a")


@pytest.mark.parametrize(
    ("case", "answer", "allowed"),
    [
        (OTHER, 0, 1),
        (OTHER, 6 * MIB, 1),
        (LIST, 0, 1),
        (LIST, MIB, 1),
        (LIST, MIB + 1, 2),
        (LIST, 6 * MIB, 6),
    ],
)
def test_an_answer_in_pieces_may_cost_as_much_for_each_mib(case: Case, answer: int, allowed: int) -> None:
    def wrong(loop: float, threads: float = 0.0, memory: float = 0.0) -> list[str]:
        return excess(Cost(case, loop, threads, memory, 200, answer), 0.5)

    most = MAX_RATIO * 0.5 * allowed
    assert (wrong(most - 1, most - 1), len(wrong(most + 1)), len(wrong(0, most + 1))) == ([], 1, 1)
    assert (wrong(0, 0, MAX_MEMORY), len(wrong(0, 0, MAX_MEMORY + 1))) == ([], 1)


async def test_the_largest_list_has_all_that_is_published_of_a_job(tmp_path: Path) -> None:
    attempt = JobPaths(tmp_path / "jobs", tmp_path / "run", "abcdefghijkl").attempt(1)
    attempt.artifacts.mkdir(parents=True)
    leave(attempt.artifacts, FILLINGS["characters of 4 bytes"])
    listed = await list_in(await manifest("abcdefghijkl", attempt, complete=True))
    assert (len(listed.artifacts), listed.left_out_count) == (MAX_ENTRIES, 0)
    assert all(NAME - 4 < len(each.path.encode()) <= NAME for each in listed.artifacts)


def test_each_kind_of_names_is_listed_and_fetched() -> None:
    jobs = {filling: f"job {number}" for number, filling in enumerate(FILLINGS)}
    asked = [case.path.split("/")[2:] for case in cases(jobs)]
    assert {job for job, *_ in asked} == set(jobs.values())
    assert all(sum(job == each and len(rest) == 1 for each, *rest in asked) == 1 for job in jobs.values())
    assert len({"/".join(path) for path in asked}) == len(FILLINGS) * (1 + 4)


@pytest.mark.parametrize("route", MEMBER_ROUTES, ids=lambda route: str(route.operation_id))
def test_a_member_may_send_what_is_measured(route: Route) -> None:
    claim = Claim(new_job_id(), "1", 1, "alice", "{}")
    if isinstance(route.body, type):
        usual = json.dumps(known_bodies(claim)[route.operation_id])
        route.body.model_validate_json(usual)
        (largest,) = [case for case in most(claim) if case.path == route.path]
        assert len(usual) <= len(largest.body) <= BODY
        route.body.model_validate_json(largest.body)

"""Rate limits, and turns."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agent.api.routes import ROUTES
from agent.api.server import rates
from agent.api.server.rates import Rates
from agent.backend import JobRecords
from agent.model.job import Job
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed
from tests.support.waiting import until


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> int:
        return round(self.now * 1e9)


def test_a_full_bucket_allows_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    asked = Rates(10, 5, clock=clock)
    assert [asked.take("alice") for _ in range(5)] == [0] * 5
    assert asked.take("alice") == pytest.approx(0.1)
    clock.now += 0.1
    assert asked.take("alice") == 0
    assert asked.take("alice") == pytest.approx(0.1)
    clock.now += 3600
    assert [asked.take("alice") for _ in range(5)] == [0] * 5
    assert asked.take("alice") > 0


def test_a_refused_request_takes_nothing_from_the_bucket() -> None:
    clock = Clock()
    asked = Rates(10, 1, clock=clock)
    asked.take("alice")
    assert {asked.take("alice") for _ in range(100)} == {0.1}


def test_what_counts_for_several_requests_takes_them_at_once_and_never_more_than_a_bucket_has() -> None:
    clock = Clock()
    asked = Rates(10, 5, clock=clock)
    assert asked.take("alice", 3) == 0
    assert asked.take("alice", 3) == pytest.approx(0.1)
    assert asked.take("alice", 2) == 0
    clock.now += 0.5
    assert asked.take("alice", 100) == 0
    assert asked.take("alice") == pytest.approx(0.1)


def test_each_user_has_a_bucket() -> None:
    asked = Rates(10, 1, clock=Clock())
    assert asked.take("alice") == asked.take("bob") == 0
    assert asked.take("alice") > 0


def test_the_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_BUCKETS", 3)
    asked = Rates(10, 1, clock=Clock())
    for number in range(10):
        asked.take(f"user {number}")
        asked.take("alice")
    # Only the buckets that were used last are remembered, and one that is forgotten is full again.
    assert asked.take("user 0") == 0
    assert asked.take("alice") > 0


class Slow:
    """Reads of jobs that last until they are told to end."""

    def __init__(self, jobs: JobRecords) -> None:
        self.begun = 0
        self.end = asyncio.Event()
        self._get = jobs.get

    async def get(self, job_id: str) -> Job:
        self.begun += 1
        await self.end.wait()
        return await self._get(job_id)

    async def have_begun(self, count: int) -> None:
        async def look() -> bool:
            return self.begun >= count

        await until(look)


@over_any_backend
async def test_few_requests_of_a_user_have_their_turn_at_a_time(
    served: AnyServed, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "LONGEST_TURN", 3600.0)
    path, slow = f"/jobs/{(await alice.submit())['job_id']}", Slow(served.backend.jobs)
    monkeypatch.setattr(served.backend.jobs, "get", slow.get)
    async with asyncio.TaskGroup() as group:
        hers = [group.create_task(alice.get(path)) for _ in range(rates.AT_A_TIME + 3)]
        await slow.have_begun(rates.AT_A_TIME)
        assert (await bob.get("/host")).status == 200
        assert slow.begun == rates.AT_A_TIME
        slow.end.set()
    assert {(await each).status for each in hers} == {200}


@over_any_backend
async def test_a_turn_ends_after_a_while_and_when_a_stream_begins(
    served: AnyServed, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, slow = f"/jobs/{(await alice.submit())['job_id']}", Slow(served.backend.jobs)
    async with contextlib.AsyncExitStack() as stack:
        monkeypatch.setattr(rates, "LONGEST_TURN", 3600.0)
        for _ in range(rates.AT_A_TIME + 1):
            await stack.enter_async_context(alice.stream("/events"))
        monkeypatch.setattr(rates, "LONGEST_TURN", 0.05)
        monkeypatch.setattr(served.backend.jobs, "get", slow.get)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(alice.get(path)) for _ in range(rates.AT_A_TIME + 3)]
            await slow.have_begun(len(tasks))
            slow.end.set()


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """A body of unknown length."""
    yield body


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals are answered at once."""
    monkeypatch.setattr(rates, "REFUSAL_DELAY", 0.0)


@over_any_backend
@pytest.mark.usefixtures("at_once")
async def test_a_user_above_the_rate_is_told_when_to_retry_and_others_are_not_affected(
    serve: Callable[..., Any],
) -> None:
    served = await serve(requests_per_second=0.1, request_burst=3)
    alice, bob = await served.known("alice"), await served.known("bob")
    for path in ("/jobs", "/jobs/aaaaaaaaaaaa", "/nowhere"):  # what fails counts, too
        assert (await alice.get(path)).status in (200, 404)
    answer = await alice.get("/jobs")
    assert (answer.status, answer.problem) == (429, "too-many-requests")
    assert 1 <= int(answer.headers["Retry-After"]) <= 10
    assert (await alice.post("/jobs", {"script_name": "succeed.py"})).status == 429
    assert (await bob.get("/jobs")).status == 200
    await served.nothing_is_left()


@over_any_backend
@pytest.mark.usefixtures("at_once")
async def test_all_certificates_and_connections_of_a_user_share_a_bucket(serve: Callable[..., Any]) -> None:
    served = await serve(requests_per_second=0.1, request_burst=2)
    for _ in range(2):
        assert (await (await served.known("alice")).get("/jobs")).status == 200
    assert (await (await served.known("alice")).get("/jobs")).status == 429


@over_any_backend
@pytest.mark.usefixtures("at_once")
async def test_a_refused_certificate_has_a_bucket_apart_from_its_user(
    serve: Callable[..., Any],
) -> None:
    served = await serve(requests_per_second=0.1, request_burst=2)
    unknown = served.client(served.authorities.own.issue_client("alice"))
    assert [(await unknown.get("/jobs")).status for _ in range(3)] == [403, 403, 429]
    assert (await (await served.known("alice")).get("/jobs")).status == 200


async def test_the_default_rate_allows_an_app_that_polls(
    serve: Callable[..., Any],
) -> None:
    served = await serve(requests_per_second=100, request_burst=1000)
    alice = await served.known("alice")
    assert {(await alice.get("/jobs")).status for _ in range(200)} == {200}


@over_any_backend
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("what", ["body", "chunked", "header", "path"])
async def test_a_large_request_counts_for_as_many_as_its_size(serve: Callable[..., Any], what: str) -> None:
    served = await serve(requests_per_second=0.1, request_burst=10, max_body_bytes=4096)
    alice = await served.known("alice")
    body, path, headers = b"{}", "/jobs", {"Content-Type": "application/json"}
    if what == "body":
        body += b" " * 4000
    if what == "header":
        headers["X-Long"] = "x" * 4000
    if what == "path":
        path += "/" + "x" * 4000 + "/cancel"
    seen = []
    for _ in range(3):
        data = in_chunks(body) if what == "chunked" else body
        seen.append((await alice("POST", path, data=data, headers=headers)).status)
    assert [status == 429 for status in seen] == [False, False, True]


def test_what_was_had_already_is_charged_even_if_a_bucket_has_less() -> None:
    clock = Clock()
    asked = Rates(10, 5, clock=clock)
    asked.charge("alice", 10)
    assert asked.take("alice") == pytest.approx(0.6)
    clock.now += 0.6
    assert asked.take("alice") == 0


@over_any_backend
@pytest.mark.usefixtures("at_once")
async def test_a_large_answer_counts_for_as_many_requests_as_its_size(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "ANSWER_PART", 16)
    served = await serve(requests_per_second=0.1, request_burst=3)
    alice, bob = await served.known("alice"), await served.known("bob")
    assert [(await alice.get("/host")).status for _ in range(2)] == [200, 429]
    assert (await bob.get("/host")).status == 200


@over_any_backend
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("in_chunks", "accepted"), [(False, 4), (True, 2)])
async def test_a_large_body_counts_for_more_than_its_size(
    serve: Callable[..., Any], in_chunks: bool, accepted: int
) -> None:
    served = await serve(requests_per_second=0.1, request_burst=1000)
    alice, bob = await served.known("alice"), await served.known("bob")
    size = rates.LARGE_BODY + 32 * rates.PART  # 49 requests, or as many as the largest body, and 256 besides
    body = b'{"script_name": "' + b"x" * (size - 19) + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async def status(client: Client) -> int:
        data = pieces() if in_chunks else body
        return (await client("POST", "/jobs", data=data, headers={"Content-Type": "application/json"})).status

    assert [await status(alice) for _ in range(accepted + 1)] == [422] * accepted + [429]
    assert await status(bob) == 422


@pytest.mark.usefixtures("at_once")
async def test_a_list_of_artifacts_counts_with_its_size(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(requests_per_second=0.1, request_burst=100)
    alice = await served.known("alice")
    path = f"/jobs/{(await alice.submit())['job_id']}/artifacts"
    monkeypatch.setattr(rates, "ANSWER_PART", 1)
    seen = [(await alice.get(path)).status for _ in range(3)]
    assert seen[0] == 200
    assert seen[-1] == 429


def test_calls_that_count_for_many_requests_are_calls_of_the_contract() -> None:
    assert rates.COSTS.keys() <= {(route.method, route.path) for route in ROUTES}


@pytest.mark.usefixtures("at_once")
async def test_to_make_systemd_read_its_units_counts_for_many_requests(serve: Callable[..., Any]) -> None:
    served = await serve(requests_per_second=0.1, request_burst=60)
    alice, bob = await served.known("alice"), await served.known("bob")
    wanted = {"name": "nightly", "calendar": "daily", "job": {"script_name": "succeed.py"}}
    assert (await alice.post("/schedules", wanted)).status == 201
    assert (await alice.post("/schedules/preview", wanted)).status == 429
    known = (await bob.post("/schedules", wanted)).json
    assert (await bob("DELETE", f"/schedules/{known['schedule_id']}")).status == 429


@pytest.mark.usefixtures("at_once")
async def test_to_change_a_secret_counts_for_many_requests(serve: Callable[..., Any]) -> None:
    served = await serve(requests_per_second=0.1, request_burst=2 * rates.COSTS["PUT", "/secrets/{name}"])
    alice, bob = await served.known("alice"), await served.known("bob")
    assert (await alice("PUT", "/secrets/api", data=b"one")).status == 200
    assert (await alice("DELETE", "/secrets/api")).status == 200
    assert (await alice("PUT", "/secrets/api", data=b"two")).status == 429
    assert (await bob("PUT", "/secrets/api", data=b"one")).status == 200

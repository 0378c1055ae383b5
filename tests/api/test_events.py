"""Changes of jobs as event streams: what is sent, and how a client resumes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.api.calls import events as events_module
from agent.api.keys import OPAQUE, STREAMS
from agent.api.server import identity, streams
from agent.host.systemd import UnitUsage
from agent.jobs import changes as changes_module
from agent.logs import metrics_reader
from agent.logs.archiver import Archiver
from agent.logs.journal import Journal
from agent.model.certificate import Role
from agent.model.job import Attempt, Job, JobState
from agent.store.store import Store
from tests.support.api_client import Client, events
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed, Served
from tests.support.waiting import until

Event = tuple[str, Any, str]


class Watch:
    """An open stream. It skips heartbeats and places unless a test asks for them."""

    def __init__(self, source: AsyncIterator[Event]) -> None:
        self._source = source
        self.last_id = ""

    async def next(self, *names: str) -> Event:
        """The next event with one of these names, or the next event about jobs."""
        async with asyncio.timeout(10):
            async for event in self._source:
                self.last_id = event[2] or self.last_id
                if event[0] in names or (not names and event[0] not in (":", "queue")):
                    return event
        raise AssertionError("the stream ended")

    async def upto(self, name: str) -> list[Event]:
        """The events up to the first one with that name, and that one."""
        found = [await self.next()]
        while found[-1][0] != name:
            found.append(await self.next())
        return found

    async def rest(self) -> list[Event]:
        async with asyncio.timeout(10):
            return [event async for event in self._source if event[0] != "queue"]


@contextlib.asynccontextmanager
async def watching(client: Client, path: str = "/events", last_id: str = "") -> AsyncIterator[Watch]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with client.stream(path, **headers) as response:
        yield Watch(events(response))


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Job and status of the job events."""
    return [(data["job_id"], data["status"]) for name, data, _ in events if name == "job"]


@over_any_backend
async def test_a_stream_begins_with_a_snapshot(served: AnyServed, alice: Client) -> None:
    first, second = await alice.submit(), await alice.submit()
    await served.finish(first)
    async with watching(alice) as watch:
        begin = await watch.upto("current")
    assert [name for name, _, _ in begin] == ["reset", "job", "job", "current"]
    assert set(told(begin)) == {(first["job_id"], "COMPLETED"), (second["job_id"], "PENDING")}
    assert begin[-1][1] == {"jobs": 2}
    # Only the end of a snapshot has an id: an interrupted snapshot is sent again.
    assert [bool(event_id) for _, _, event_id in begin] == [False, False, False, True]


@over_any_backend
async def test_each_change_has_the_whole_job(served: AnyServed, alice: Client) -> None:
    async with watching(alice) as watch:
        await watch.upto("current")
        job = await alice.submit()
        name, data, event_id = await watch.next()
        assert (name, data["job_id"], data["status"], data["owner"]) == (
            "job",
            job["job_id"],
            "PENDING",
            "alice",
        )
        assert data["queue"]["position"] == 1
        assert event_id
        await alice.post(f"/jobs/{job['job_id']}/cancel")
        assert (await watch.next())[1]["status"] == "CANCELLED"


@over_any_backend
async def test_an_analyst_is_sent_their_own_jobs_and_an_administrator_all(
    alice: Client, bob: Client, administrator: Client
) -> None:
    async with watching(alice) as hers, watching(administrator) as all_of_them:
        await hers.upto("current")
        await all_of_them.upto("current")
        his, own = await bob.submit(), await alice.submit()
        assert (await hers.next())[1]["job_id"] == own["job_id"]
        seen = [(await all_of_them.next())[1]["job_id"] for _ in range(2)]
        assert seen == [his["job_id"], own["job_id"]]


@over_any_backend
async def test_a_stream_resumes_behind_the_last_event_id(served: AnyServed, alice: Client) -> None:
    before = await alice.submit()
    async with watching(alice) as watch:
        await watch.upto("current")
    missed = await alice.submit()
    await alice.post(f"/jobs/{missed['job_id']}/cancel")
    async with watching(alice, last_id=watch.last_id) as again:
        events = await again.upto("current")
    # States between may be skipped, but never the last one.
    assert told(events) == [(missed["job_id"], "CANCELLED")]
    assert before["job_id"] not in str(events)
    async with watching(alice, last_id=again.last_id) as nothing_new:
        assert told(await nothing_new.upto("current")) == []


async def test_event_ids_survive_a_restart(serve: Callable[..., Any]) -> None:
    first = await serve()
    alice = await first.known("alice")
    async with watching(alice) as watch:
        await watch.upto("current")
    job = await alice.submit()
    second = await serve()
    again = await second.known("alice")
    async with watching(again, last_id=watch.last_id) as later:
        assert told(await later.upto("current")) == [(job["job_id"], "PENDING")]


@over_any_backend
async def test_an_event_id_of_another_record_leads_to_a_snapshot(served: AnyServed, alice: Client) -> None:
    job = await alice.submit()
    epoch = (await served.backend.changes.history()).epoch
    opaque = served.app[OPAQUE]
    newer = opaque.seal_number(10**6, "event", epoch, "alice")
    of_another = opaque.seal_number(1, "event", "another record", "alice")
    # Earlier versions had the number itself, and a hash of the record or the record behind it.
    for last_id in ("1-00000000", "999999999-" + "0" * 8, f"1-{epoch}", newer, of_another, "0"):
        async with watching(alice, last_id=last_id) as watch:
            events = await watch.upto("current")
        assert events[0][0] == "reset"
        assert "another record" in events[0][1]["why"]
        assert told(events) == [(job["job_id"], "PENDING")]


@over_any_backend
async def test_an_event_id_of_another_view_leads_to_a_snapshot(served: AnyServed, bob: Client) -> None:
    await bob.submit()
    analyst = await served.known("carol")
    own = (await analyst.submit())["job_id"]
    operator = await served.known("carol", Role.OPERATOR)
    administrator = await served.known("carol", Role.ADMINISTRATOR)
    for before, after, jobs in ((analyst, operator, 2), (operator, analyst, 1), (bob, analyst, 1)):
        async with watching(before) as watch:
            await watch.upto("current")
        async with watching(after, last_id=watch.last_id) as again:
            begin = await again.upto("current")
        assert (begin[0][0], begin[-1][1]) == ("reset", {"jobs": jobs})
        assert own in {data["job_id"] for name, data, _ in begin if name == "job"}
    # With the same view, nothing is sent twice.
    for before, after in ((operator, administrator), (analyst, await served.known("carol"))):
        async with watching(before) as watch:
            await watch.upto("current")
        async with watching(after, last_id=watch.last_id) as again:
            assert [name for name, _, _ in await again.upto("current")] == ["current"]


async def test_too_many_missed_changes_lead_to_a_snapshot(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MAX_REPLAY", 3)
    async with watching(alice) as watch:
        await watch.upto("current")
    for _ in range(4):
        await alice.submit()
    async with watching(alice, last_id=watch.last_id) as again:
        events = await again.upto("current")
    assert events[0][0] == "reset"
    assert len(told(events)) == 4


@over_any_backend
@pytest.mark.parametrize("last_id", ["1 2", "1:s=0", "=", "a+b", "a/b", "é"])
async def test_a_malformed_event_id_is_refused(alice: Client, last_id: str) -> None:
    answer = await alice.get("/events", **{"Last-Event-ID": last_id})
    assert (answer.status, answer.fields) == (422, ["Last-Event-ID"])


@pytest.mark.parametrize("ended", ["-1", "1001", "x"])
async def test_an_invalid_snapshot_size_is_refused(alice: Client, ended: str) -> None:
    answer = await alice.get(f"/events?ended={ended}")
    assert (answer.status, answer.fields) == (422, ["ended"])


@over_any_backend
async def test_a_snapshot_has_the_requested_number_of_ended_jobs(served: AnyServed, alice: Client) -> None:
    jobs = [await alice.submit() for _ in range(3)]
    for job in jobs[:2]:
        await served.finish(job)
    async with watching(alice, "/events?ended=1") as watch:
        events = await watch.upto("current")
    assert told(events) == [(jobs[2]["job_id"], "PENDING"), (jobs[1]["job_id"], "COMPLETED")]


async def remove(store: Store, *jobs: Any) -> None:
    """Removes the records of jobs, as retention does."""

    def work(db: Any) -> None:
        db.executemany("DELETE FROM jobs WHERE id = ?", [(job["job_id"],) for job in jobs])

    await store.database.run(work)


async def test_the_removal_of_a_job_is_sent_to_its_owner(served: Served, alice: Client, bob: Client) -> None:
    job = await alice.submit()
    async with watching(alice) as watch, watching(bob) as other:
        await watch.upto("current")
        await other.upto("current")
        await remove(served.scene.store, job)
        assert (await watch.next())[:2] == ("removed", {"job_id": job["job_id"]})
        own = await bob.submit()
        assert (await other.next())[1]["job_id"] == own["job_id"]


async def test_a_removal_is_sent_to_a_client_that_resumes(served: Served, alice: Client) -> None:
    job = await alice.submit()
    async with watching(alice) as watch:
        await watch.upto("current")
    await remove(served.scene.store, job)
    async with watching(alice, last_id=watch.last_id) as again:
        events = await again.upto("current")
    assert [event[:2] for event in events[:-1]] == [("removed", {"job_id": job["job_id"]})]


async def test_forgotten_removals_lead_to_a_snapshot(served: Served, alice: Client) -> None:
    job = await alice.submit()
    async with watching(alice) as watch:
        await watch.upto("current")

    def many(db: Any) -> None:
        db.execute(
            "INSERT INTO changes (job_id, owner, removed)"
            " WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 1500)"
            " SELECT value, 'bob', 1 FROM n"
        )

    await served.scene.store.database.run(many)
    async with watching(alice, last_id=watch.last_id) as again:
        events = await again.upto("current")
    assert events[0][0] == "reset"
    assert told(events) == [(job["job_id"], "PENDING")]


async def test_a_change_by_another_process_is_sent(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "LOOK", 0.05)
    job = await alice.submit()
    async with watching(alice) as watch:
        await watch.upto("current")
        async with Store.open(served.scene.settings.database) as other:
            await remove(other, job)
        assert (await watch.next())[0] == "removed"


@over_any_backend
async def test_a_place_in_the_queue_is_sent_as_it_changes(
    served: AnyServed, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "INTERVAL", 0.05)
    first, second = await alice.submit(), await alice.submit()
    async with watching(alice) as every, watching(alice, f"/jobs/{second['job_id']}/events") as own:
        await every.upto("current")
        assert (await own.next())[1]["queue"]["position"] == 2
        await alice.post(f"/jobs/{first['job_id']}/cancel")
        for watch in (every, own):
            _, data, event_id = await watch.next("queue")
            assert (data["job_id"], data["position"], event_id) == (second["job_id"], 1, "")


async def test_the_events_of_a_job_end_with_the_job(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    served.log("END")
    path = f"/jobs/{job['job_id']}/events"
    async with watching(alice, path) as watch:
        assert (await watch.next())[1]["status"] == "RUNNING"
        await served.end(job)
        rest = await watch.rest()
    assert [(name, data["status"]) for name, data, _ in rest] == [("job", "COMPLETED"), ("end", "COMPLETED")]
    # Only the end follows the last event.
    last_id = rest[0][2]
    async with watching(alice, path, last_id) as again:
        assert [name for name, _, _ in await again.rest()] == ["end"]
    async with watching(alice, path, "1-00000000") as other:
        assert [name for name, _, _ in await other.rest()] == ["reset", "job", "end"]


async def test_the_events_of_a_job_end_with_its_removal(served: Served, alice: Client) -> None:
    job = await alice.submit()
    async with watching(alice, f"/jobs/{job['job_id']}/events") as watch:
        await watch.next()
        await remove(served.scene.store, job)
        assert [name for name, _, _ in await watch.rest()] == ["removed"]


@over_any_backend
async def test_the_events_of_another_users_job_are_not_found(alice: Client, bob: Client) -> None:
    job = await alice.submit()
    answer = await bob.get(f"/jobs/{job['job_id']}/events")
    assert (answer.status, answer.problem) == (404, "job-not-found")


async def test_a_stream_ends_when_the_certificate_is_revoked(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "INTERVAL", 0.05)
    async with watching(alice) as watch:
        await watch.upto("current")

        def revoke(db: Any) -> None:
            db.execute("UPDATE certificates SET revoked_at = '2026-01-01T00:00:00Z' WHERE user = 'alice'")

        await served.scene.store.database.run(revoke)
        _, data, _ = await watch.next("error")
        assert (data["status"], data["type"]) == (403, "urn:ml-agent:problem:certificate-refused")
        assert await watch.rest() == []


async def test_a_new_role_leads_to_a_snapshot(
    served: Served, alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "INTERVAL", 0.05)
    his = await bob.submit()
    watcher = await served.known("carol", Role.ADMINISTRATOR)
    async with watching(watcher) as watch:
        assert told(await watch.upto("current")) == [(his["job_id"], "PENDING")]

        def demote(db: Any) -> None:
            db.execute("UPDATE certificates SET role = 'analyst' WHERE user = 'carol'")

        await served.scene.store.database.run(demote)
        begin = await watch.upto("current")
    assert begin[0][0] == "reset"
    assert told(begin) == []


async def test_the_store_is_read_only_while_somebody_watches(served: Served, alice: Client) -> None:
    assert not served.reads_changes
    async with watching(alice) as one, watching(alice) as two:
        await one.upto("current")
        await two.upto("current")
        assert served.reads_changes

    async def nobody() -> bool:
        return not served.reads_changes

    await until(nobody)


async def test_a_slow_watcher_is_cut_off_and_delays_nobody(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_TIMEOUT", 0.3)
    monkeypatch.setattr(streams, "LAST_EVENT_TIMEOUT", 0.1)
    monkeypatch.setattr(changes_module, "HELD", 10)
    job = await served.jobs.registry.get((await alice.submit())["job_id"])
    # Some of these fill the buffers between both ends.
    large = job.model_copy(update={"message": "x" * 500_000})
    reader, writer = await asyncio.open_connection("localhost", port_of(served), ssl=alice.tls, limit=1024)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    await reader.read(1)
    async with watching(alice) as watch:
        await watch.upto("current")
        assert served.app[STREAMS].open_now == 2

        async def only_one() -> bool:
            nonlocal large
            large = await changed(served.scene.store, large, large.revision + 1)
            assert (await watch.next())[1]["revision"] == large.revision
            return served.app[STREAMS].open_now == 1

        await until(only_one)
    writer.transport.abort()


def port_of(served: Served) -> int:
    return int(served.base.rpartition(":")[2])


# --- progress and metrics ---------------------------------------------------------------------------------


def mark(kind: str, **values: Any) -> str:
    return f"::{kind} {json.dumps(values)}"


async def test_progress_and_metrics_are_sent_as_they_are_printed(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "INTERVAL", 0.05)
    job = await served.running_job(alice)
    async with watching(alice) as every, watching(alice, f"/jobs/{job['job_id']}/events") as own:
        await every.upto("current")
        served.log("begun", mark("progress", done=1, total=4), mark("metric", name="loss", value=0.5))
        for watch in (every, own):
            _, data, event_id = await watch.next("progress")
            assert (data["job_id"], data["done"], data["total"]) == (job["job_id"], 1, 4)
            assert event_id == ""
        _, data, _ = await own.next("metric")
        assert (data["name"], data["value"], data["step"]) == ("loss", 0.5, 0)
        served.log(mark("progress", done=4, total=4), mark("metric", name="loss", value=0.25), "END")
        await served.end(job)
        rest = await own.rest()
    # The last report comes before the end, however short the time between both.
    names = [name for name, _, _ in rest]
    assert names[-1] == "end", rest
    assert [data["done"] for name, data, _ in rest if name == "progress"] == [4], rest
    assert [data["value"] for name, data, _ in rest if name == "metric"] == [0.25]


async def metrics_of(client: Client, job: Any) -> Any:
    answer = await client.get(f"/jobs/{job['job_id']}/metrics")
    assert answer.status == 200, answer.body
    return answer.json


async def test_metrics_are_read_on_request(served: Served, alice: Client) -> None:
    job = await alice.submit()
    assert await metrics_of(alice, job) == {
        "job_id": job["job_id"],
        "complete": False,
        "series": [],
        "refused": 0,
    }
    job = await served.running_job(alice)
    served.log(mark("metric", name="loss", value=0.5, step=10), mark("progress", done=1, total=4))
    first = await metrics_of(alice, job)
    assert (first["complete"], first["progress"]["done"], first["series"][0]["count"]) == (False, 1, 1)
    served.log(mark("metric", name="loss", value=0.4, step=20))
    second = await metrics_of(alice, job)
    assert [(point["step"], point["value"]) for point in second["series"][0]["points"]] == [
        (10, 0.5),
        (20, 0.4),
    ]
    served.log(mark("metric", name="loss", value=0.3, step=30), "END")
    await served.end(job)
    last = await metrics_of(alice, job)
    assert (last["complete"], last["series"][0]["count"]) == (True, 3)


async def test_metrics_on_request_are_complete_while_somebody_watches(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    served.log(*(mark("metric", name="loss", value=0.5, step=step) for step in range(100)))
    async with watching(alice, f"/jobs/{job['job_id']}/events") as own:
        await own.next("metric")
        assert (await metrics_of(alice, job))["series"][0]["count"] == 100


async def test_metrics_on_request_are_complete_if_the_last_watcher_leaves_meanwhile(
    served: Served, alice: Client, journalctl: Callable[[str], None], tmp_path: Path
) -> None:
    journalctl(f"touch {tmp_path}/begun; until [ -e {tmp_path}/go ]; do sleep 0.01; done")
    job = await served.running_job(alice)
    async with watching(alice, f"/jobs/{job['job_id']}/events"):
        await until(lambda: asyncio.to_thread((tmp_path / "begun").exists))
        asking = asyncio.create_task(metrics_of(alice, job))
        await asyncio.sleep(0.1)
        assert not asking.done()
    (tmp_path / "go").touch()
    async with asyncio.timeout(10):
        assert (await asking)["series"] == []


@pytest.mark.parametrize("fault", ["journalctl fails", "no process can be started"])
async def test_progress_is_sent_once_the_journal_can_be_read_again(
    fault: str,
    served: Served,
    alice: Client,
    journalctl: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(events_module, "INTERVAL", 0.05)
    monkeypatch.setattr(metrics_reader, "RETRY_DELAY", 0.1)

    async def has_failed() -> bool:
        return "cannot be followed" in caplog.text

    job = await served.running_job(alice)
    served.log("begun", mark("progress", done=1, total=4))
    journalctl("echo 'Bad message' >&2; exit 1")
    with monkeypatch.context() as faulty:
        if fault == "no process can be started":
            faulty.setenv("PATH", str(tmp_path / "nothing"))
        async with watching(alice, f"/jobs/{job['job_id']}/events") as first:
            await first.next("job")
            await until(has_failed)
            async with asyncio.timeout(10):
                assert (await alice.get(f"/jobs/{job['job_id']}/metrics")).problem == "host"
            (tmp_path / "journalctl").unlink()
            faulty.undo()
            assert (await first.next("progress"))[1]["done"] == 1
            async with watching(alice, f"/jobs/{job['job_id']}/events") as second:
                assert (await second.next("progress"))[1]["done"] == 1


async def test_the_end_of_a_job_is_sent_although_the_journal_cannot_be_read(
    served: Served, alice: Client, journalctl: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "INTERVAL", 0.05)
    journalctl("echo 'Bad message' >&2; exit 1")
    job = await served.running_job(alice)
    async with watching(alice, f"/jobs/{job['job_id']}/events") as own:
        await own.next("job")
        await served.end(job)
        assert (await own.rest())[-1][0] == "end"
    answer = await alice.get(f"/jobs/{job['job_id']}/metrics")
    assert (answer.status, answer.problem) == (503, "host")


async def test_metrics_of_an_ended_job_are_kept_beside_its_log(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    served.log(mark("metric", name="loss", value=0.5), "END")
    await served.end(job)
    state = served.scene.settings.state_directory
    archiver = Archiver(served.scene.store.jobs, Journal(), served.scene.settings.paths_of)
    await archiver.archive(await served.jobs.registry.get(job["job_id"]))
    kept = state / "jobs" / job["job_id"] / "metrics.json"
    served.journal_file.write_text("")
    assert (await metrics_of(alice, job))["series"][0]["points"][0]["value"] == 0.5
    # If the file is lost, the archived log still has the metrics.
    kept.write_text("")
    assert (await metrics_of(alice, job))["series"][0]["points"][0]["value"] == 0.5


async def test_a_job_that_waits_for_a_retry_has_the_metrics_of_its_first_attempt(
    served: Served, alice: Client
) -> None:
    job = await served.running_job(alice)
    served.log(mark("metric", name="loss", value=0.5))
    known = await served.jobs.registry.get(job["job_id"])
    attempt = Attempt(number=1, finished_at=known.created_at)
    update = {"status": JobState.PENDING, "invocation_id": None, "attempt": 2, "attempts": [attempt]}
    found = await served.backend.metrics.metrics(known.model_copy(update=update))
    assert [series.count for series in found.series] == [1]


async def test_metrics_and_usage_of_another_users_job_are_not_found(alice: Client, bob: Client) -> None:
    job = await alice.submit()
    for what in ("metrics", "usage"):
        assert (await bob.get(f"/jobs/{job['job_id']}/{what}")).status == 404


async def test_usage_is_what_systemd_counts(served: Served, alice: Client) -> None:
    job = await alice.submit()
    nothing = (await alice.get(f"/jobs/{job['job_id']}/usage")).json
    assert set(nothing) == {"job_id", "at"}
    served.scene.units.usages[job["unit"]] = UnitUsage(cpu_nanoseconds=1_500_000_000, memory_bytes=2**20)
    used = (await alice.get(f"/jobs/{job['job_id']}/usage")).json
    assert (used["cpu_seconds"], used["memory_bytes"]) == (1.5, 2**20)
    assert "tasks" not in used


async def changed(store: Store, job: Job, revision: int) -> Job:
    newer = job.model_copy(update={"revision": revision})
    assert await store.jobs.update(newer)
    return newer

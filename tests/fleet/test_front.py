"""Fronts over a real record and the agents of hosts: what users see of a fleet, whichever front they ask."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.errors import AgentError, Problem
from agent.fleet.backend import hosts as hosts_module
from agent.fleet.record import Record
from agent.fleet.secret_record import NewSecret
from agent.model.certificate import Role
from agent.model.fleet import host_server_name
from agent.secrets.sealing import new_version
from tests.support.api_client import Answer, Client, events
from tests.support.hosts_and_fronts import Fleet
from tests.support.pki import save
from tests.support.redis_server import RedisServer, free_port
from tests.support.served_fleet import FrontServed, MemberByHand

pytestmark = pytest.mark.host


@pytest.fixture
async def member(fleet: Fleet) -> MemberByHand:
    return await fleet.host("h1")


@pytest.fixture
async def front(fleet: Fleet, member: MemberByHand) -> AsyncIterator[FrontServed]:
    async with fleet.front() as served:
        yield served


@pytest.fixture
async def alice(front: FrontServed) -> Client:
    return await front.known("alice")


# Submissions


async def test_a_job_waits_in_the_record_and_then_runs_on_a_host(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit(name="first")
    assert (job["status"], job["queue"]["position"]) == ("PENDING", 1)
    assert "host" not in job
    assert front.tickets == ["none"]
    await member.hand_over()
    given = (await alice.get(f"/jobs/{job['job_id']}")).json
    assert (given["host"], given["name"], given["created_at"]) == ("h1", "first", job["created_at"])
    await front.finish(job, exit_status=0)
    ended = (await alice.get(f"/jobs/{job['job_id']}")).json
    assert (ended["status"], ended["host"], ended["created_at"]) == ("COMPLETED", "h1", job["created_at"])
    assert ended["revision"] > given["revision"] > job["revision"]


async def test_the_host_runs_what_the_user_was_told(
    fleet: Fleet, front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit(hyperparameters={"depth": "3"}, priority=-1, max_attempts=2)
    given = await member.hand_over()
    told = {name: job[name] for name in ("commit", "limits", "hyperparameters", "priority", "max_attempts")}
    assert told.items() <= given.model_dump(mode="json", exclude_none=True).items()
    row = await fleet.record.job(job["job_id"])
    assert row is not None
    assert job["commit"] in row["request"]  # the next host may see other branches


async def test_the_same_key_gives_the_same_job_at_every_front(fleet: Fleet, member: MemberByHand) -> None:
    body = {"script_name": "succeed.py"}
    async with fleet.front("front-1") as one, fleet.front("front-2") as other:
        first = await (await one.known("alice")).post("/jobs", body, **{"Idempotency-Key": "k"})
        again = await (await other.known("alice")).post("/jobs", body, **{"Idempotency-Key": "k"})
        assert (again.status, again.body) == (202, first.body)
        assert other.tickets == []
        assert [row["action"] for row in await one.audited("alice")] == ["submitJob"]
        assert await other.audited("alice") == []


async def test_a_job_that_fits_no_host_is_refused_with_what_the_largest_has(fleet: Fleet) -> None:
    for name, cpus in (("h1", 4), ("h2", 2)):
        host = await fleet.host(name)
        capacity = host.capacity
        await host.join(capacity=type(capacity)(capacity.jobs, cpus * 1000, capacity.memory_bytes))
    async with fleet.front() as front:
        answer = await (await front.known("alice")).post(
            "/jobs", {"script_name": "succeed.py", "limits": {"cpus": 64}}
        )
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", ["limits.cpus"])
    assert answer.json["errors"][0]["message"] == "must be at most 4, which h1 has, not 64"


async def test_a_script_that_is_not_there_is_refused_as_by_an_agent(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    theirs = await member.served.known("alice")
    for body in (
        {"script_name": "nope.py"},
        {"script_name": "declared.py", "hyperparameters": {"depth": "99"}},
    ):
        assert (await alice.post("/jobs", body)).body == (await theirs.post("/jobs", body)).body


async def test_a_front_takes_no_job_that_waits_for_others(fleet: Fleet) -> None:
    async with fleet.front() as front:
        body = {"script_name": "succeed.py", "after": ["a" * 12]}
        answer = await (await front.known("alice")).post("/jobs", body)
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", ["after"])


async def test_a_fleet_without_hosts_says_so(fleet: Fleet) -> None:
    async with fleet.front() as front:
        answer = await (await front.known("alice")).post("/jobs", {"script_name": "succeed.py"})
    assert (answer.status, answer.problem) == (503, "host")
    assert "no host" in answer.json["detail"]


@pytest.mark.parametrize("broken", ["fails", "hangs"])
async def test_a_broker_that_is_away_delays_no_answer(
    fleet: Fleet, member: MemberByHand, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.fleet.backend.submissions.ANNOUNCE", 10.0)
    asked, waits = asyncio.Event(), False

    async def publish(need: str) -> None:
        nonlocal waits
        asked.set()
        if broken == "hangs":
            waits = True
            try:
                await asyncio.Event().wait()
            finally:
                waits = False
        raise AgentError(Problem.HOST, "The broker is away.")

    async with fleet.front(publish=publish) as front:
        alice = await front.known("alice")
        job = await alice.submit()
        await asked.wait()
        assert waits == (broken == "hangs")  # and yet there was an answer
        assert (await alice.get(f"/jobs/{job['job_id']}")).json["status"] == "PENDING"
        assert await fleet.record.pending() == {"none": 1}  # which the reconciler sees


@pytest.mark.parametrize("moment", range(6))
async def test_a_front_that_is_killed_at_any_step_leaves_one_job_or_none(
    fleet: Fleet, member: MemberByHand, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = moment

    def burns(cls: type, name: str) -> None:
        method = getattr(cls, name)

        async def call(self: Any, *args: Any, **options: Any) -> Any:
            nonlocal left
            for work in (None, method):
                left -= 1
                if left < 0:
                    await asyncio.Event().wait()
                answer = await work(self, *args, **options) if work else None
            return answer

        monkeypatch.setattr(cls, name, call)

    body, key = {"script_name": "succeed.py"}, {"Idempotency-Key": "once"}
    async with fleet.front("front-1") as front:
        alice = await front.known("alice")
        with monkeypatch.context() as patched:
            patched.setattr(monkeypatch, "setattr", patched.setattr)
            for cls, name in ((Record, "repeated"), (hosts_module.Hosts, "ask"), (Record, "submit")):
                burns(cls, name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.5):
                    await alice.post("/jobs", body, **key)
    async with fleet.front("front-2") as front:
        job = (await (await front.known("alice")).post("/jobs", body, **key)).json
        page = (await (await front.known("alice")).get("/jobs")).json
    assert [each["job_id"] for each in page["jobs"]] == [job["job_id"]]
    assert await fleet.record.pending() == {"none": 1}


async def test_a_job_is_run_again_only_where_its_image_is(
    front: FrontServed, member: MemberByHand, alice: Client, fleet: Fleet
) -> None:
    job = await alice.submit(hyperparameters={"depth": "3"}, labels={"team": "a"})
    await front.finish(job, image_digest="sha256:" + "1" * 64)
    refused = await alice.post(f"/jobs/{job['job_id']}/rerun")
    assert (refused.status, refused.problem) == (422, "image-missing")
    await member.join(image_digest="sha256:" + "1" * 64)
    await asyncio.sleep(hosts_module.KNOWN)
    changes = {"hyperparameters": {"depth": "4"}, "labels": {"run": "2"}}
    again = (await alice.post(f"/jobs/{job['job_id']}/rerun", changes)).json
    assert (again["rerun_of"], again["labels"]) == (job["job_id"], {"team": "a", "run": "2"})
    assert (again["hyperparameters"], again["commit"]) == ({"depth": "4"}, job["commit"])
    row = await fleet.record.job(again["job_id"])
    assert row is not None
    assert row["digest"] == "sha256:" + "1" * 64


async def test_a_host_that_does_not_answer_keeps_no_job_from_others_of_its_kind(
    fleet: Fleet, front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    await member.join(url="https://localhost:1")
    await asyncio.sleep(hosts_module.KNOWN)
    refused = await alice.post("/jobs", {"script_name": "succeed.py"})
    assert (refused.status, refused.problem) == (503, "host")
    await fleet.host("h2")
    await asyncio.sleep(hosts_module.KNOWN)
    assert (await alice.post("/jobs", {"script_name": "succeed.py"})).status == 202


# What the record and the hosts say of jobs


async def test_a_job_that_ended_is_read_from_the_record_at_once(
    front: FrontServed, member: MemberByHand, alice: Client, shared_redis: RedisServer
) -> None:
    job = await alice.submit()
    await member.hand_over()
    await front.finish(job)
    shared_redis.cli("config", "resetstat")
    for _ in range(20):
        await alice.get(f"/jobs/{job['job_id']}")
    commands = dict(
        line.split(":") for line in shared_redis.cli("info", "commandstats").splitlines() if "fcall" in line
    )
    # The front looks after its secrets and its retention meanwhile.
    assert 20 <= int(commands["cmdstat_fcall"].partition("calls=")[2].partition(",")[0]) < 30


async def test_cancelling_a_running_job_ends_it_on_its_host(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit()
    await member.hand_over()
    answer = await alice.post(f"/jobs/{job['job_id']}/cancel", b"")
    assert (answer.status, answer.json["status"]) == (202, "CANCELLED")
    theirs = await member.agent.job(job["job_id"])
    assert theirs is not None
    assert theirs.status == "CANCELLED"
    (row,) = [row for row in await member.served.audited("alice") if row["action"] == "cancelJob"]
    assert (row["via"], row["role"]) == ("front-1", "analyst")


async def test_a_cancellation_reaches_a_host_that_was_away(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit()
    await member.hand_over()
    await member.join(url="https://localhost:1")
    await asyncio.sleep(hosts_module.KNOWN)
    answer = await alice.post(f"/jobs/{job['job_id']}/cancel", b"")
    assert (answer.status, answer.json["status"], answer.json["cancel_requested"]) == (202, "PENDING", True)
    # The record tells the host's member what to end, each time that it says it is there.
    assert (await member.join()).stop == (job["job_id"],)


async def test_a_silent_host_is_named_and_its_jobs_stay_visible(
    front: FrontServed, member: MemberByHand, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await alice.submit()
    await member.hand_over()
    await member.join(url="https://localhost:1")
    await asyncio.sleep(hosts_module.KNOWN)
    monkeypatch.setattr(hosts_module, "SILENCE", 0.0)
    monkeypatch.setattr(hosts_module, "HEARD", 0.0)
    for path in ("logs", "artifacts", "metrics", "artifacts/a.txt"):
        answer = await alice.get(f"/jobs/{job['job_id']}/{path}")
        assert (answer.status, answer.problem) == (503, "host"), path
        assert answer.json["detail"].startswith("Host h1 is unreachable since 20"), answer.json
    shown = (await alice.get(f"/jobs/{job['job_id']}")).json
    assert shown["message"].startswith("host h1 unreachable since 20")


async def test_an_agent_under_a_wrong_name_is_not_believed(
    fleet: Fleet, front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    other = await fleet.host("h2")
    job = await alice.submit()
    await member.hand_over()
    await member.join(url=other.base)
    await asyncio.sleep(hosts_module.KNOWN)
    answer = await alice.get(f"/jobs/{job['job_id']}/artifacts")
    assert (answer.status, answer.problem) == (503, "host")


@pytest.mark.parametrize("answer", ["endless", "elsewhere", "no JSON"])
async def test_a_host_cannot_lead_a_front_astray_or_fill_it(
    front: FrontServed,
    member: MemberByHand,
    alice: Client,
    answer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts_module, "MAX_ANSWER", 100_000)
    led = asyncio.Event()

    async def hostile(request: web.Request) -> web.StreamResponse:
        if request.path == "/elsewhere":
            led.set()
        if answer == "elsewhere":
            raise web.HTTPFound("/elsewhere")
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await response.write(b" " * 10_000)
            while answer == "endless":
                await response.write(b" " * 10_000)
        return response

    job = await alice.submit()
    await member.hand_over()
    save(tmp_path, "hostile", front.authorities.fleet.issue_server([host_server_name("h1")]))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "hostile.crt", tmp_path / "hostile.key")
    app, port = web.Application(), free_port()
    app.router.add_route("*", "/{path:.*}", hostile)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        await member.join(url=f"https://localhost:{port}")
        await asyncio.sleep(hosts_module.KNOWN)
        async with asyncio.timeout(15):  # half of what an agent may take
            refused = await alice.get(f"/jobs/{job['job_id']}/metrics")
    finally:
        await runner.cleanup()
    assert (refused.status, refused.problem) == (503, "host")
    assert not led.is_set()


async def test_a_pin_holds_in_the_record_and_on_the_host(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit()
    await member.hand_over()
    path = f"/jobs/{job['job_id']}/pin"
    assert (await alice("PUT", path)).json["pinned"] is True
    theirs = await member.agent.job(job["job_id"])
    assert theirs is not None
    assert theirs.pinned
    assert (await alice("DELETE", path)).json["pinned"] is False
    assert [row["action"] for row in await front.audited("alice")] == ["submitJob", "pinJob", "unpinJob"]


async def test_the_host_overview_is_the_sum(fleet: Fleet) -> None:
    first, second = await fleet.host("h1"), await fleet.host("h2")
    async with fleet.front() as front:
        alice = await front.known("alice")
        for _ in range(3):
            await alice.submit()
        await first.hand_over()
        await second.hand_over()
        host = (await alice.get("/host")).json
        listed = (await alice.get("/hosts")).json
    assert host["capacity"]["jobs"] == first.capacity.jobs + second.capacity.jobs
    assert (host["running"], host["waiting"], host["in_use"]["jobs"]) == (2, 1, 2)
    (user,) = host["users"]
    assert (user["user"], user["running"], user["waiting"]) == ("alice", 2, 1)
    assert [row["name"] for row in host["hosts"]] == ["h1", "h2"]
    assert [row["in_use"]["jobs"] for row in host["hosts"]] == [1, 1]
    assert listed == {"hosts": host["hosts"]}
    assert all(row["reachable"] and not row["draining"] for row in host["hosts"])


async def test_a_page_has_no_more_than_a_mebibyte_and_the_next_one_the_rest(alice: Client) -> None:
    large = {f"p{number}": "x" * 4000 for number in range(8)}
    jobs = [(await alice.submit(hyperparameters=large))["job_id"] for _ in range(40)]
    first = await alice.get("/jobs?limit=200")
    assert len(first.body) < 1.2 * 2**20
    rest = (await alice.get(f"/jobs?limit=200&cursor={first.json['next_cursor']}")).json
    assert [job["job_id"] for job in first.json["jobs"] + rest["jobs"]] == jobs[::-1]
    assert "next_cursor" not in rest


# Two fronts


async def test_a_log_that_was_followed_at_one_front_goes_on_at_another(
    fleet: Fleet, member: MemberByHand
) -> None:
    member.served.log("one", "two")
    async with fleet.front("front-2") as other:
        async with fleet.front("front-1") as front:
            alice = await front.known("alice")
            job = await alice.submit()
            await member.hand_over()
            await member.served.run(job)
            await member.tell(job["job_id"])
            path = f"/jobs/{job['job_id']}/logs"
            async with asyncio.timeout(20), alice.stream(path) as response:
                seen = [each async for each in lines(response, 2)]
        # The first front is gone.
        elsewhere = await other.known("alice")
        member.served.log("three", "four", "END")
        await front_finish(member, job, revision=3)
        async with asyncio.timeout(20), elsewhere.stream(path, **{"Last-Event-ID": seen[-1][1]}) as response:
            rest = [each async for each in lines(response, 3)]
        whole = (await elsewhere.get(path, Accept="application/x-ndjson")).body.decode().splitlines()
    assert [number for number, _ in seen + rest] == [1, 2, 3, 4, 5]
    ids = [event_id for _, event_id in seen + rest]
    assert [each for each in ids if f'"id":"{each}"' not in "".join(whole)] == []


async def lines(response: Any, count: int) -> AsyncIterator[tuple[int, str]]:
    """Number and event id of the next lines."""
    async for name, data, event_id in events(response):
        if name == "line":
            yield data["number"], event_id
            count -= 1
            if not count:
                return


async def front_finish(member: MemberByHand, job: Any, **update: Any) -> None:
    await member.served.finish(job, **update)
    await member.tell(job["job_id"])


async def test_events_that_were_followed_at_one_front_go_on_at_another(
    fleet: Fleet, member: MemberByHand
) -> None:
    async with fleet.front("front-1") as one, fleet.front("front-2") as other:
        alice, elsewhere = await one.known("alice"), await other.known("alice")
        await alice.submit()
        async with asyncio.timeout(20), alice.stream("/events") as response:
            async for name, _, event_id in events(response):
                if name == "current":
                    last = event_id
                    break
        missed = await alice.submit()
        async with asyncio.timeout(20), elsewhere.stream("/events", **{"Last-Event-ID": last}) as response:
            stream = until(events(response), "current")
            found = [(name, data.get("job_id")) async for name, data, _ in stream if name != ":"]
    assert found == [("job", missed["job_id"]), ("current", None)]


async def until(
    stream: AsyncIterator[tuple[str, Any, str]], last: str
) -> AsyncIterator[tuple[str, Any, str]]:
    """The events up to the first one of that name."""
    async for name, data, event_id in stream:
        yield name, data, event_id
        if name == last:
            return


async def test_a_followed_log_begins_when_a_host_has_the_job(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit()
    async with asyncio.timeout(20), alice.stream(f"/jobs/{job['job_id']}/logs") as response:
        stream = events(response)
        assert (await anext(stream))[0] == "state"
        await member.hand_over()
        await member.served.run(job)
        await member.tell(job["job_id"])
        member.served.log("hello")
        texts = [data["text"] async for name, data, _ in until(stream, "line") if name == "line"]
        assert texts == ["hello"]
        member.served.log("END")
        await front_finish(member, job, revision=3)
        found = [(name, data) async for name, data, _ in stream]
    assert (found[-1][0], found[-1][1]["status"]) == ("end", "COMPLETED")


async def test_what_a_running_job_reports_is_passed_on(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit()
    await member.hand_over()
    await member.served.run(job)
    await member.tell(job["job_id"])
    path = f"/jobs/{job['job_id']}"
    async with (
        asyncio.timeout(30),
        alice.stream("/events") as every,
        alice.stream(f"{path}/events") as own,
    ):
        member.served.log(
            "begun", '::progress {"done": 1, "total": 4}', '::metric {"name": "loss", "value": 0.5}'
        )
        for response in (every, own):
            found = [
                data async for name, data, _ in until(events(response), "progress") if name == "progress"
            ]
            assert [(data["job_id"], data["done"]) for data in found] == [(job["job_id"], 1)]
        (metric,) = [data async for name, data, _ in until(events(own), "metric") if name == "metric"]
        assert (metric["name"], metric["value"]) == ("loss", 0.5)
    reported = (await alice.get(f"{path}/metrics")).json
    assert (reported["progress"]["done"], reported["series"][0]["name"]) == (1, "loss")
    assert (await alice.get(f"{path}/usage")).json["job_id"] == job["job_id"]


async def test_a_range_of_an_artifact_is_passed_on(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    content = bytes(range(256)) * 4096
    job = await alice.submit()
    await member.hand_over()
    member.served.add_artifact(job, "a b.bin", content)
    await front_finish(member, job)
    path = f"/jobs/{job['job_id']}/artifacts/a%20b.bin"
    whole = await alice.get(path)
    theirs: Answer = await (await member.served.known("alice")).get(path)
    assert whole.body == content
    kept = ("Etag", "Content-Length", "Content-Type", "Accept-Ranges", "Content-Disposition")
    assert [whole.headers[name] for name in kept] == [theirs.headers[name] for name in kept]
    part = await alice.get(path, Range="bytes=1000-1999")
    assert (part.status, part.body) == (206, content[1000:2000])
    assert (await alice.get(path, **{"If-None-Match": whole.headers["Etag"]})).status == 304
    assert (await alice.get(f"/jobs/{job['job_id']}/artifacts/..%2Fx")).problem == "artifact-not-found"


async def test_looks_at_other_users_jobs_are_audited_with_both_actors(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    job = await alice.submit()
    await member.hand_over()
    operator = await front.known("oscar", Role.OPERATOR)
    assert (await operator.get(f"/jobs/{job['job_id']}/artifacts")).status == 200
    (here,) = await front.audited("oscar")
    (there,) = await member.served.audited("oscar")
    assert (here["action"], here["result"], here.get("via")) == ("listArtifacts", "shown", None)
    assert (there["action"], there["result"], there["via"]) == ("listArtifacts", "shown", "front-1")


# Secrets

OCTETS = {"Content-Type": "application/octet-stream"}


async def test_a_secret_that_is_set_at_a_front_is_on_the_host_of_its_jobs(
    front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    answer = await alice("PUT", "/secrets/warehouse", data=b"hers", headers=OCTETS)
    assert (answer.status, answer.json["user"], answer.json.get("missing_on")) == (200, "alice", None)
    assert member.served.podman.values["ml-agent.warehouse.alice"] == b"hers"
    assert [each.get("user") for each in (await alice.get("/secrets")).json["secrets"]] == [None, "alice"]
    job = await alice.submit("declared.py")
    assert (await member.hand_over()).job_id == job["job_id"]
    again = await alice("PUT", "/secrets/warehouse", data=b"new", headers=OCTETS)
    assert again.json["rotated"] is True
    assert (await alice("DELETE", "/secrets/warehouse", json={})).status == 200
    deeds = [row["action"] for row in await front.audited("alice") if "Secret" in row["action"]]
    assert sorted(deeds) == ["removeSecret", "setSecret", "setSecret"]


async def test_a_job_waits_in_words_for_a_secret_that_no_host_has(
    fleet: Fleet, front: FrontServed, alice: Client
) -> None:
    # The only host that could open it has lost its key.
    new = {"user": "alice", "name": "warehouse", "value": "", "keys": {}, "by": "alice analyst ::1"}
    made = new_version(await fleet.record.next_moment("alice"))
    await fleet.record.set_secret(NewSecret(**new, version=made, limit=3))
    (own,) = [each for each in (await alice.get("/secrets")).json["secrets"] if "user" in each]
    assert own["missing_on"] == ["h1"]
    job = await alice.submit("declared.py")
    assert "the newest value of the secret warehouse" in job["queue"]["waits_for"]


async def test_a_job_is_accepted_where_any_host_has_its_secret(
    fleet: Fleet, front: FrontServed, member: MemberByHand, alice: Client
) -> None:
    other = await fleet.host("h2")
    for host in (member, other):
        host.served.scene.podman.secrets = frozenset()
    refused = await alice.post("/jobs", {"script_name": "declared.py"})
    assert refused.problem == "secret-missing"
    other.served.scene.podman.secrets = frozenset({"warehouse"})
    assert (await alice.post("/jobs", {"script_name": "declared.py"})).status == 202

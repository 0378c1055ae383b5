"""Audit rows of calls: deeds with their details, and refusals and looks within bounds."""

import json
from typing import Any

import pytest

from agent.audit.chain import Caller, Deed
from agent.audit.trail import BURST, MAX_ACTORS, REFILL, SAME_LOOK, Trail
from agent.errors import AgentError, Problem
from agent.model.certificate import PEOPLE, Role
from tests.support.api_client import Client
from tests.support.served import Served

MALLORY = Caller(actor="mallory", role="analyst", source="192.0.2.66")


async def audited(served: Served) -> list[dict[str, Any]]:
    return [row.content() for row in await served.scene.store.audit.rows(0, 1000)]


async def everything(served: Served) -> str:
    return "\n".join(row.entry for row in await served.scene.store.audit.rows(0, 1000))


async def test_a_submission_is_audited_without_parameter_values(served: Served, alice: Client) -> None:
    values = {"depth": "8", "note": "a value that nobody else needs to read"}
    job = await alice.submit(hyperparameters=values, name="a name", labels={"team": "a label"})
    again = await alice.submit(hyperparameters=values)
    await alice.submit(hyperparameters=values | {"depth": "9"})
    first, second, other = await audited(served)
    assert (first["action"], first["subject"], first["result"]) == ("submitJob", job["job_id"], "done")
    assert second["subject"] == again["job_id"]
    assert (first["details"]["script"], first["details"]["commit"]) == ("succeed.py", job["commit"])
    assert first["details"]["parameters"] == ["depth", "note"]
    digests = [row["details"]["parameters_sha256"] for row in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]
    text = await everything(served)
    assert all(word not in text for word in (values["note"], "a name", "a label"))


async def test_a_sensitive_value_is_not_part_of_the_digest(served: Served, alice: Client) -> None:
    jobs = [
        await alice.submit("sensitive.py", hyperparameters={"depth": "8", "patient": patient})
        for patient in ("canary-1971-03", "canary-1984-12")
    ]
    rows = await audited(served)
    for job, row in zip(jobs, rows, strict=True):
        assert row["subject"] == job["job_id"]
        assert (row["details"]["parameters"], row["details"]["sensitive"]) == (
            ["depth", "patient"],
            ["patient"],
        )
    assert rows[0]["details"]["parameters_sha256"] == rows[1]["details"]["parameters_sha256"]
    await alice.post(f"/jobs/{jobs[0]['job_id']}/rerun", {"hyperparameters": {"patient": "canary-2001-01"}})
    assert (await audited(served))[-1]["details"]["rerun_of"] == jobs[0]["job_id"]
    assert "canary" not in await everything(served)
    # The job's record has the value, so that the job can be run again.
    assert (await alice.get(f"/jobs/{jobs[0]['job_id']}")).json["hyperparameters"]["patient"]


async def test_a_refused_value_is_not_written(served: Served, alice: Client) -> None:
    body = {"script_name": "sensitive.py", "hyperparameters": {"depth": "canary", "canary": "canary"}}
    assert (await alice.post("/jobs", body)).status == 422
    assert (await alice.post("/jobs", body | {"priority": 5})).status == 403
    assert "canary" not in await everything(served)


async def test_a_repeated_request_with_the_same_key_is_audited_once(served: Served, alice: Client) -> None:
    body = json.dumps({"script_name": "succeed.py"}).encode()
    for _ in range(3):
        assert (await alice.post("/jobs", body, **{"Idempotency-Key": "k"})).status == 202
    assert [row["action"] for row in await audited(served)] == ["submitJob"]


async def test_a_call_that_changes_nothing_is_not_audited(served: Served, alice: Client) -> None:
    path = f"/jobs/{(await alice.submit())['job_id']}"
    for method, part in (("PUT", "pin"), ("DELETE", "pin"), ("POST", "cancel")):
        for _ in range(2):
            assert (await alice(method, f"{path}/{part}")).status in (200, 202)
    actions = [row["action"] for row in await audited(served)]
    assert actions == ["submitJob", "pinJob", "unpinJob", "cancelJob"]


async def test_a_cancellation_by_an_operator_names_operator_and_owner(
    served: Served, alice: Client, operator: Client
) -> None:
    job = await alice.submit()
    await operator.post(f"/jobs/{job['job_id']}/cancel")
    row = (await audited(served))[-1]
    assert (row["actor"], row["role"], row["source"]) == ("oscar", "operator", "127.0.0.1")
    assert (row["action"], row["details"]["owner"]) == ("cancelJob", "alice")


async def test_only_looks_at_other_users_jobs_are_audited_and_repeated_ones_once(
    served: Served, alice: Client, operator: Client
) -> None:
    job = await alice.submit()
    for name in ("result.txt", "other.txt"):
        (served.artifacts(job) / name).write_text("hers")
    path = f"/jobs/{job['job_id']}"
    for client in (alice, operator, operator):
        for part in ("logs", "artifacts", "artifacts/result.txt", "artifacts/other.txt"):
            assert (await client.get(f"{path}/{part}")).status == 200
    looks = [row for row in await audited(served) if row["result"] == "shown"]
    assert [(row["actor"], row["action"], row["details"].get("path")) for row in looks] == [
        ("oscar", "getLogs", None),
        ("oscar", "listArtifacts", None),
        ("oscar", "getArtifact", "result.txt"),
        ("oscar", "getArtifact", "other.txt"),
    ]
    assert {row["details"]["owner"] for row in looks} == {"alice"}


async def test_a_look_that_cannot_be_audited_is_not_answered_and_a_refusal_stays_a_refusal(
    served: Served, alice: Client, bob: Client, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await alice.submit()

    def full(*_: object) -> None:
        raise AgentError(Problem.STORAGE_FULL, "The disk is full.")

    monkeypatch.setattr("agent.store.audit.append_row", full)
    path = f"/jobs/{job['job_id']}/logs"
    assert (await operator.get(path)).status == 507
    assert (await alice.get(path)).status == 200
    assert (await bob.get(path)).status == 404
    assert (await operator.post(f"/jobs/{job['job_id']}/rerun", {})).status == 403


async def test_a_refused_certificate_is_audited_with_its_name_and_serial_number(
    served: Served, alice: Client
) -> None:
    unknown = served.authorities.own.issue_client("mallory")
    await served.client(unknown).get("/jobs")
    await served.scene.store.database.run(
        lambda db: db.execute("UPDATE certificates SET revoked_at = issued_at")
    )
    await alice.get("/jobs")
    first, second = await audited(served)
    assert (first["actor"], first["subject"]) == ("mallory", unknown.serial)
    assert (second["actor"], second["action"], second["result"]) == ("alice", "identify", "refused")
    assert "revoked" in second["details"]["why"]
    assert {row["role"] for row in (first, second)} == {"refused"}


async def test_only_the_audit_tells_another_users_job_from_a_missing_one(
    served: Served, alice: Client, bob: Client
) -> None:
    job = await alice.submit()
    await bob.get(f"/jobs/{job['job_id']}")
    await bob.get("/jobs/aaaaaaaaaaaa")
    await bob.get("/jobs/%1b[31m")
    hers, none, odd = (await audited(served))[1:]
    assert hers["details"] == {"problem": "job-not-found", "owner": "alice"}
    assert none["details"] == odd["details"] == {"problem": "job-not-found"}
    assert (none["subject"], odd["subject"]) == ("aaaaaaaaaaaa", "")


async def test_changes_of_secrets_are_audited(served: Served, alice: Client) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    await alice("PUT", "/secrets/api", data=b"x", headers=octets)
    await alice("DELETE", "/secrets/api")
    rows = [(row["action"], row["subject"], row["result"], row["actor"]) for row in await audited(served)]
    assert rows == [(action, "api", "done", "alice") for action in ("setSecret", "removeSecret")]


async def test_what_cannot_be_recorded_any_more_today_is_not_done(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    job = await alice.submit()
    ended = await alice.submit()
    await served.finish(ended)
    path = f"/jobs/{job['job_id']}"
    for name in ("one", "two"):
        await alice("PUT", f"/secrets/{name}", data=b"x", headers=octets)
    await alice("PUT", f"/jobs/{ended['job_id']}/pin")
    oscar = await served.known("oscar", Role.OPERATOR)
    monkeypatch.setattr("agent.store.audit.MAX_BYTES_A_DAY", 0)
    recorded = await audited(served)
    for method, refused, body in (
        ("POST", "/jobs", {"json": {"script_name": "succeed.py"}}),
        ("POST", f"{path}/rerun", {}),
        ("PUT", f"{path}/pin", {}),
        ("PUT", "/secrets/one", {"data": b"y", "headers": octets}),
    ):
        answer = await alice(method, refused, **body)
        assert (answer.status, answer.problem) == (429, "too-many-requests"), refused
        assert int(answer.headers["Retry-After"]) > 0
        assert "tomorrow" in answer.json["hint"]
    assert await audited(served) == recorded
    assert [each["job_id"] for each in (await alice.get("/jobs")).json["jobs"]] == [
        ended["job_id"],
        job["job_id"],
    ]
    # Looking at one's own, and what undoes something.
    assert (await alice.get(f"{path}/artifacts")).status == 200
    for method, allowed in (
        ("POST", f"{path}/cancel"),
        ("DELETE", f"/jobs/{ended['job_id']}/pin"),
        ("DELETE", "/secrets/two"),
    ):
        assert (await alice(method, allowed)).status < 300, allowed
    rows = [row["action"] for row in (await audited(served))[len(recorded) :]]
    assert rows == ["cancelJob", "unpinJob", "removeSecret"]
    # Another user has a share of their own, and so has who looks at others' jobs.
    assert (await oscar.get(f"/jobs/{ended['job_id']}/artifacts")).status == 200
    assert (await oscar.get(f"{path}/artifacts")).status == 429


# The bounds, with a clock that stands still


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


async def test_refusals_above_the_budget_are_counted_and_not_recorded() -> None:
    clock, written = Clock(), list[Deed]()

    async def write(deed: Deed) -> None:
        written.append(deed)

    trail = Trail(write, clock)
    for _ in range(500):
        await trail.refused(MALLORY, "getJob")
    assert len(written) == BURST
    await trail.refused(MALLORY.model_copy(update={"actor": "other"}), "getJob")
    assert len(written) == BURST + 1  # everybody has a budget of their own
    clock.time += REFILL
    await trail.refused(MALLORY, "getJob")
    await trail.refused(MALLORY, "getJob")
    assert len(written) == BURST + 2
    assert written[-1].details == {"not_recorded_before": 500 - BURST}
    clock.time += BURST * REFILL
    for _ in range(500):
        await trail.refused(MALLORY, "getJob")
    assert len(written) == 2 * BURST + 2


async def test_the_memory_of_actors_and_looks_is_bounded() -> None:
    clock, written = Clock(), list[Deed]()

    async def write(deed: Deed) -> None:
        written.append(deed)

    trail = Trail(write, clock)

    async def refused(actor: str) -> int:
        """Refuses a call of the actor; how many refusals of all are recorded then."""
        await trail.refused(MALLORY.model_copy(update={"actor": actor}), "getJob")
        return len(written)

    recorded = [await refused("first") for _ in range(BURST + 1)]
    assert recorded[-1] == recorded[-2]
    for number in range(MAX_ACTORS):
        await refused(f"m{number}")
    # The first actor is forgotten, and with it that its budget was spent.
    assert await refused("first") == BURST + MAX_ACTORS + 1
    await trail.shown(MALLORY, "getLogs", "k3v7q2m5x4ab")
    await trail.shown(MALLORY, "getLogs", "k3v7q2m5x4ab")
    clock.time += SAME_LOOK
    await trail.shown(MALLORY, "getLogs", "k3v7q2m5x4ab")
    assert [deed.action for deed in written].count("getLogs") == 2


async def test_looks_that_differ_only_in_cut_details_are_both_recorded() -> None:
    written = list[Deed]()

    async def write(deed: Deed) -> None:
        written.append(deed)

    trail = Trail(write)
    for name in ("one.csv", "two.csv", "one.csv"):
        await trail.shown(MALLORY, "getArtifact", "k3v7q2m5x4ab", path=f"{'d' * 400}/{name}")
    assert len(written) == 2


@pytest.mark.parametrize("role", PEOPLE)  # a peer submits only on behalf of a user
async def test_the_audit_has_the_role_at_the_time_of_the_call(served: Served, role: Role) -> None:
    caller = await served.known("caller", role)
    answer = await caller.post("/jobs", {"script_name": "succeed.py", "hyperparameters": {}})
    assert answer.status == (403 if role.peer else 202)
    assert [row["role"] for row in await audited(served)] == [role]

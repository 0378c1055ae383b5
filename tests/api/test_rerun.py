"""Running a job again: what stays, what may change, and who may do it."""

from typing import Any

import pytest

from tests.support.api_client import Client
from tests.support.served import Served

STAYS = (
    "script_name",
    "hyperparameters",
    "limits",
    "name",
    "labels",
    "commit",
    "script_sha256",
    "image",
    "image_digest",
    "secrets",
    "network",
    "max_attempts",
    "retry_on",
)


async def rerun(client: Client, job: Any, body: Any = None, **headers: str) -> Any:
    path = f"/jobs/{job['job_id']}/rerun"
    return await (
        client("POST", path, headers=headers) if body is None else client.post(path, body, **headers)
    )


async def test_a_rerun_is_a_new_job_that_runs_the_same(served: Served, alice: Client) -> None:
    job = await alice.submit(
        hyperparameters={"depth": "3"},
        limits={"tasks": 9},
        name="first",
        labels={"team": "risk"},
        max_attempts=3,
        retry_on=["timeout"],
    )
    answer = await rerun(alice, job)
    again = answer.json
    assert (answer.status, answer.headers["Location"]) == (202, f"/jobs/{again['job_id']}")
    assert again["job_id"] != job["job_id"]
    assert (again["rerun_of"], again["status"]) == (job["job_id"], "PENDING")
    assert {name: again[name] for name in STAYS} == {name: job[name] for name in STAYS}


async def test_changes_replace_the_values_of_the_earlier_job(served: Served, alice: Client) -> None:
    job = await alice.submit(
        hyperparameters={"a": "1", "b": "2"},
        limits={"tasks": 9},
        name="first",
        labels={"team": "a", "run": "1"},
    )
    changes = {
        "name": "second",
        "labels": {"run": "2", "more": ""},
        "hyperparameters": {"b": "3"},
        "limits": {"run_time_seconds": 5},
        "max_attempts": 2,
        "retry_on": ["signal"],
    }
    again = (await rerun(alice, job, changes)).json
    assert (again["max_attempts"], again["retry_on"]) == (2, ["signal"])
    assert (again["name"], again["labels"]) == ("second", {"team": "a", "run": "2", "more": ""})
    assert again["hyperparameters"] == {"a": "1", "b": "3"}
    assert again["limits"] == job["limits"] | {"run_time_seconds": 5}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hyperparameters": {"depth": "11"}}, "hyperparameters.depth"),
        ({"limits": {"tasks": 100_000}}, "limits.tasks"),
        ({"limits": {"tasks": "9"}}, "limits.tasks"),
        ({"name": "x" * 129}, "name"),
        ({"labels": {"Team": "a"}}, "labels.Team"),
        ({"labels": {f"l{number}": "" for number in range(33)}}, "labels"),
        ({"max_attempts": 11}, "max_attempts"),
        ({"max_attempts": "2"}, "max_attempts"),
        ({"retry_on": ["stopped"]}, "retry_on.0"),
        ({"retry_on": []}, "retry_on"),
        ({"script_name": "fail.py"}, "script_name"),
        ({"hyperparameters": {"a": 1}}, "hyperparameters.a"),
    ],
)
async def test_changes_are_checked_like_a_submission(
    served: Served, alice: Client, changes: Any, field: str
) -> None:
    job = await alice.submit("declared.py")
    answer = await rerun(alice, job, changes)
    assert (answer.status, answer.fields) == (422, [field])
    assert len((await served.jobs.registry.page()).jobs) == 1


async def test_labels_are_counted_together_with_the_earlier_ones(alice: Client) -> None:
    job = await alice.submit(labels={f"l{number}": "" for number in range(32)})
    assert (await rerun(alice, job, {"labels": {"l0": "new"}})).json["labels"] == job["labels"] | {
        "l0": "new"
    }
    answer = await rerun(alice, job, {"labels": {"one": "more"}})
    assert (answer.status, answer.fields) == (422, ["labels"])


async def test_two_spellings_of_one_variable_are_refused(served: Served, alice: Client) -> None:
    job = await alice.submit(hyperparameters={"depth": "1"})
    answer = await rerun(alice, job, {"hyperparameters": {"DEPTH": "2"}})
    assert (answer.status, answer.fields) == (422, ["hyperparameters.DEPTH"])
    assert answer.json["errors"][0]["message"] == f"sets the same variable as depth of job {job['job_id']}"
    answer = await rerun(alice, job, {"hyperparameters": {"a": "1", "A": "2"}})
    assert (answer.status, answer.json["errors"][0]["message"]) == (422, "sets the same variable as a")


async def test_only_an_administrator_may_rerun_another_users_job(
    served: Served, alice: Client, bob: Client, administrator: Client
) -> None:
    job = await alice.submit()
    assert (await rerun(bob, job)).status == 404
    again = (await rerun(administrator, job)).json
    assert (again["owner"], again["rerun_of"]) == ("root", job["job_id"])


async def test_a_rerun_does_not_keep_a_priority_above_zero(served: Served, administrator: Client) -> None:
    urgent, patient = await administrator.submit(priority=5), await administrator.submit(priority=-5)
    assert (await rerun(administrator, urgent)).json["priority"] == 0
    assert (await rerun(administrator, patient)).json["priority"] == -5


async def test_a_repeated_key_returns_the_same_rerun(served: Served, alice: Client) -> None:
    job, other = await alice.submit(), await alice.submit()
    key = {"Idempotency-Key": "k"}
    again = await rerun(alice, job, **key)
    assert (await rerun(alice, job, {}, **key)).json["job_id"] == again.json["job_id"]
    assert (await rerun(alice, other, **key)).problem == "idempotency-mismatch"
    assert (await rerun(alice, job, {"limits": {"tasks": 5}}, **key)).problem == "idempotency-mismatch"


async def test_a_missing_image_is_refused_by_its_digest(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await alice.submit()
    asked = []

    async def gone(name: str) -> None:
        asked.append(name)

    monkeypatch.setattr(served.scene.podman, "image", gone)
    answer = await rerun(alice, job)
    assert (answer.status, answer.problem) == (422, "image-missing")
    assert asked == [f"{job['image'].rpartition(':')[0]}@{job['image_digest']}"]
    assert len((await served.jobs.registry.page()).jobs) == 1

"""`GET /comparison` over HTTP: what may be asked, by whom, and in which form the answer comes."""

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agent.comparison import parquet_writer
from agent.model.base import now
from agent.model.certificate import Role
from agent.model.comparison import MAX_COMPARED
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_host
from tests.support.served import AnyServed, Served

PARQUET = "application/vnd.apache.parquet"
NOBODYS = "a" * 12
SWEEP: dict[str, Any] = {
    "script_name": "declared.py",
    "space": {"depth": {"low": 1, "high": 9}},
    "strategy": "random",
    "trials": 2,
    "objective": {"metric": "auc", "direction": "maximize"},
}


def query(*jobs: Any, **more: str) -> str:
    pairs = [f"job={job['job_id']}" for job in jobs] + [f"{name}={value}" for name, value in more.items()]
    return f"/comparison?{'&'.join(pairs)}"


@over_any_host
async def test_jobs_come_in_the_order_in_which_they_are_named(alice: Client) -> None:
    jobs = [await alice.submit(hyperparameters={"n": str(number)}) for number in range(3)]
    answer = await alice.get(query(*reversed(jobs)))
    assert [row["hyperparameters"]["n"] for row in answer.json["jobs"]] == ["2", "1", "0"]
    assert answer.json["jobs"][0]["status"] == "PENDING"
    assert answer.json["jobs"][0]["metrics"] == {}
    assert "best" not in answer.json
    assert "objective" not in answer.json


async def test_what_jobs_printed_is_compared(served: Served, alice: Client) -> None:
    job = await served.running_job(alice)
    served.log('::metric {"name": "auc", "value": 0.25}', '::metric {"name": "auc", "value": 0.75}', "END")
    await served.end(job)
    answer = await alice.get(query(job, maximize="auc"))
    (row,) = answer.json["jobs"]
    assert row["metrics"] == {"auc": {"count": 2, "last": 0.75, "min": 0.25, "max": 0.75, "best": 0.75}}
    assert answer.json["best"] == job["job_id"]
    assert answer.json["objective"] == {"metric": "auc", "direction": "maximize"}
    assert (row["status"], row["attempt"]) == ("COMPLETED", 1)


@over_any_host
async def test_a_table_is_csv_with_a_line_for_each_job(served: AnyServed, alice: Client) -> None:
    first, second = await alice.submit(name="=1+1"), await alice.submit(hyperparameters={"n": "5"})
    await served.finish(second, started_at=now() - timedelta(hours=1, seconds=5))
    answer = await alice.get(query(first, second), Accept="text/csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [row["job_id"] for row in rows] == [first["job_id"], second["job_id"]]
    assert [row["name"] for row in rows] == ["'=1+1", ""]
    assert [row["parameter.n"] for row in rows] == ["", "5"]


async def test_parquet_where_it_can_be_written(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await alice.submit()
    answer = await alice.get(query(job), Accept=PARQUET)
    assert (answer.status, answer.headers["Content-Type"]) == (200, PARQUET)
    assert answer.body[:4] == answer.body[-4:] == b"PAR1"
    monkeypatch.setattr(parquet_writer, "is_installed", lambda: False)
    answer = await alice.get(query(job), Accept=PARQUET)
    assert (answer.status, answer.problem) == (406, "not-acceptable")
    assert "requirements-parquet.txt" in answer.json["hint"]


@over_any_host
@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("*/*", "application/json"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/json;q=0.5, text/csv", "text/csv; charset=utf-8"),
        ("image/png", None),
    ],
)
async def test_the_accept_header_decides(alice: Client, accept: str, form: str | None) -> None:
    answer = await alice.get(query(await alice.submit()), Accept=accept)
    if form is None:
        assert (answer.status, answer.problem) == (406, "not-acceptable")
    else:
        assert answer.headers["Content-Type"].startswith(form)


@over_any_host
async def test_a_sweep_brings_its_objective(alice: Client) -> None:
    sweep = (await alice.post("/sweeps", SWEEP)).json
    answer = await alice.get(f"/comparison?sweep={sweep['sweep_id']}")
    assert answer.json["objective"] == SWEEP["objective"]
    answer = await alice.get(f"/comparison?sweep={sweep['sweep_id']}&minimize=loss")
    assert answer.json["objective"] == {"metric": "loss", "direction": "minimize"}
    assert answer.json["jobs"] == []


@over_any_host
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("", "job"),
        ("?job=@last", "job.0"),
        (f"?job={NOBODYS}&sweep={NOBODYS}", "job"),
        (f"?job={NOBODYS}&job={NOBODYS}", "job"),
        (f"?sweep={NOBODYS}&sweep={NOBODYS}", "sweep"),
        (f"?job={NOBODYS}&maximize=a&minimize=a", "minimize"),
        (f"?job={NOBODYS}&maximize=a%20b", "maximize"),
        (f"?job={NOBODYS}&surprise=1", "surprise"),
        ("?" + "&".join([f"job={NOBODYS}"] * (MAX_COMPARED + 1)), "job"),
    ],
)
async def test_a_wrong_question_is_refused_with_the_field(alice: Client, asked: str, field: str) -> None:
    answer = await alice.get(f"/comparison{asked}")
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", [field])


@over_any_host
async def test_another_users_job_is_as_a_missing_one_and_the_refusal_is_audited(
    served: AnyServed, alice: Client, bob: Client
) -> None:
    own, other = await alice.submit(), await bob.submit()
    refused = await alice.get(query(own, other))
    assert refused.body == (await alice.get(query(own, {"job_id": NOBODYS}))).body
    assert (refused.status, refused.problem, refused.fields) == (404, "job-not-found", ["job.1"])
    rows = [row for row in await served.audited("alice") if row["action"] == "compareJobs"]
    refusals = {(other["job_id"], "refused"), (NOBODYS, "refused")}
    assert {(row["subject"], row["result"]) for row in rows} == refusals
    assert len(rows) == 2
    operator = await served.known("oscar", Role.OPERATOR)
    assert len((await operator.get(query(own, other))).json["jobs"]) == 2


@over_any_host
async def test_another_users_sweep_is_as_a_missing_one(alice: Client, bob: Client) -> None:
    sweep = (await bob.post("/sweeps", SWEEP)).json
    refused = await alice.get(f"/comparison?sweep={sweep['sweep_id']}")
    assert (refused.status, refused.problem) == (404, "sweep-not-found")
    assert refused.body == (await alice.get(f"/comparison?sweep={NOBODYS}")).body


async def test_a_large_table_is_refused_and_json_is_not(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve()
    alice = await served.known("alice")
    jobs = [await alice.submit() for _ in range(2)]
    monkeypatch.setattr("agent.comparison.table.MAX_CELLS", 10)
    assert (await alice.get(query(*jobs))).status == 200
    answer = await alice.get(query(*jobs), Accept="text/csv")
    assert (answer.status, answer.problem) == (422, "invalid-request")


@over_any_host
async def test_a_difference_needs_both_jobs(served: AnyServed, alice: Client, bob: Client) -> None:
    own, second, other = (
        await alice.submit(hyperparameters={"n": "5"}),
        await alice.submit(),
        await bob.submit(),
    )
    found = await alice.get(f"/jobs/{own['job_id']}/diff/{second['job_id']}")
    assert found.json["hyperparameters"] == [{"name": "n", "a": "5"}]
    assert (found.json["a"], found.json["b"]) == (own["job_id"], second["job_id"])
    refused = await alice.get(f"/jobs/{own['job_id']}/diff/{other['job_id']}")
    assert (refused.status, refused.problem) == (404, "job-not-found")
    assert refused.body == (await alice.get(f"/jobs/{own['job_id']}/diff/{NOBODYS}")).body
    assert (await alice.get(f"/jobs/{other['job_id']}/diff/{own['job_id']}")).body == refused.body
    rows = [row for row in await served.audited("alice") if row["action"] == "diffJobs"]
    assert sorted(row["subject"] for row in rows) == sorted([other["job_id"]] * 2 + [NOBODYS])

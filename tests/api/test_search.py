"""`GET /jobs` by labels, metrics and orders, over HTTP."""

from typing import Any

import pytest

from agent.model.certificate import Role
from agent.model.comparison import NOT_KNOWN, MetricSummary
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_host
from tests.support.served import AnyServed, Served


def ids(answer: Any) -> list[str]:
    return [job["job_id"] for job in answer.json["jobs"]]


@over_any_host
async def test_labels_filter_and_all_must_be_there(served: AnyServed, alice: Client, bob: Client) -> None:
    first = await alice.submit(labels={"team": "a=b", "x": "1"})
    second = await alice.submit(labels={"team": "a=b"})
    await bob.submit(labels={"team": "a=b"})
    found = await alice.get("/jobs?label=team%3Da%3Db")
    assert ids(found) == [second["job_id"], first["job_id"]]
    assert found.json["jobs"][0]["queue"]["position"]
    assert "values" not in found.json
    assert ids(await alice.get("/jobs?label=team%3Da%3Db&label=x%3D1")) == [first["job_id"]]
    assert ids(await alice.get("/jobs?label=team%3Da%3Db&sort=oldest")) == [first["job_id"], second["job_id"]]
    operator = await served.known("oscar", Role.OPERATOR)
    assert len(ids(await operator.get("/jobs?label=team%3Da%3Db"))) == 3
    refused = await alice.get("/jobs?label=team%3Da%3Db&owner=bob")
    assert (refused.status, refused.fields) == (403, ["owner"])


async def test_jobs_in_the_order_of_a_metric_in_pages(served: Served, alice: Client) -> None:
    made = []
    for value in (0.5, 0.75, 0.25):
        job = await alice.submit()
        await served.finish(job)
        summary = {"auc": MetricSummary(count=1, last=value)}
        await served.scene.store.summaries.record(job["job_id"], summary, NOT_KNOWN)
        made.append(job["job_id"])
    page = await alice.get("/jobs?metric=auc&sort=highest&limit=2")
    assert ids(page) == [made[1], made[0]]
    assert page.json["values"] == {made[1]: 0.75, made[0]: 0.5}
    cursor = page.json["next_cursor"]
    assert ids(await alice.get(f"/jobs?metric=auc&sort=highest&limit=2&cursor={cursor}")) == [made[2]]
    for other in ("sort=lowest&metric=auc", "sort=highest&metric=loss", "status=COMPLETED"):
        refused = await alice.get(f"/jobs?{other}&cursor={cursor}")
        assert (refused.status, refused.fields) == (422, ["cursor"]), "a cursor is of one order"


@over_any_host
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("label=x", "label.0"),
        ("label=X%3D1", "label.0"),
        ("label=x%3D%00", "label.0"),
        ("label=x%3D1&label=x%3D2", "label"),
        ("&".join(f"label=x{number}%3D1" for number in range(9)), "label"),
        ("sort=best", "sort"),
        ("sort=highest", "metric"),
        ("metric=a%20b", "metric"),
    ],
)
async def test_a_wrong_search_is_refused_with_the_field(alice: Client, query: str, field: str) -> None:
    answer = await alice.get(f"/jobs?{query}")
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", [field])

"""Which clients are answered, and whose jobs they see."""

import asyncio
import ssl
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from agent.identity.authority import Issued
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed, Served

EVERY_CALL_ABOUT_A_JOB = [
    ("GET", "/jobs/{}"),
    ("POST", "/jobs/{}/cancel"),
    ("GET", "/jobs/{}/logs"),
    ("GET", "/jobs/{}/artifacts"),
    ("GET", "/jobs/{}/artifacts/result.txt"),
    ("HEAD", "/jobs/{}/artifacts/result.txt"),
]


@over_any_backend
@pytest.mark.parametrize(("method", "path"), EVERY_CALL_ABOUT_A_JOB)
async def test_another_users_job_is_indistinguishable_from_a_missing_one(
    served: AnyServed, alice: Client, bob: Client, method: str, path: str
) -> None:
    job = await alice.submit()
    served.add_artifact(job, "result.txt", b"hers")
    hers = await bob(method, path.format(job["job_id"]))
    nobodys = await bob(method, path.format("aaaaaaaaaaaa"))
    assert hers.status == nobodys.status == 404
    assert hers.body == nobodys.body
    assert (await alice.get(f"/jobs/{job['job_id']}")).json["status"] == "PENDING"


@over_any_backend
@pytest.mark.parametrize(("method", "path"), EVERY_CALL_ABOUT_A_JOB)
async def test_an_administrator_has_access_to_all_jobs(
    served: AnyServed, alice: Client, administrator: Client, method: str, path: str
) -> None:
    job = await alice.submit()
    served.add_artifact(job, "result.txt", b"hers")
    assert (await administrator(method, path.format(job["job_id"]))).status in (200, 202)


@over_any_backend
async def test_a_list_has_ones_own_jobs_and_for_an_administrator_all(
    alice: Client, bob: Client, administrator: Client
) -> None:
    hers, his = (await alice.submit())["job_id"], (await bob.submit())["job_id"]

    async def listed(client: Client, query: str = "") -> list[str]:
        return [job["job_id"] for job in (await client.get(f"/jobs{query}")).json["jobs"]]

    assert await listed(alice) == await listed(alice, "?owner=alice") == [hers]
    assert await listed(bob) == [his]
    assert await listed(administrator) == [his, hers]
    assert await listed(administrator, "?owner=alice") == [hers]


@over_any_backend
async def test_an_unrecorded_certificate_is_refused(served: AnyServed) -> None:
    client = served.client(served.authorities.own.issue_client("alice"))
    for method, path in (("GET", "/jobs"), ("GET", "/openapi.json"), ("GET", "/nowhere"), ("POST", "/jobs")):
        answer = await client(method, path)
        assert (answer.status, answer.problem) == (403, "certificate-refused")


async def test_a_revoked_certificate_is_refused_at_the_next_request(served: Served, alice: Client) -> None:
    assert (await alice.get("/jobs")).status == 200
    await served.scene.store.database.run(
        lambda db: db.execute("UPDATE certificates SET revoked_at = issued_at")
    )
    answer = await alice.get("/jobs")
    assert (answer.status, answer.problem) == (403, "certificate-refused")
    assert "revoked" in answer.json["detail"]


async def test_a_new_role_counts_from_the_next_request(served: Served, alice: Client, bob: Client) -> None:
    job = await bob.submit()
    assert (await alice.get(f"/jobs/{job['job_id']}")).status == 404
    await served.scene.store.database.run(
        lambda db: db.execute("UPDATE certificates SET role = 'administrator' WHERE user = 'alice'")
    )
    assert (await alice.get(f"/jobs/{job['job_id']}")).status == 200


async def test_a_certificate_recorded_for_another_user_is_refused(served: Served, alice: Client) -> None:
    await served.scene.store.database.run(lambda db: db.execute("UPDATE certificates SET user = 'bob'"))
    assert (await alice.get("/jobs")).problem == "certificate-refused"


def _no_certificate(served: Served) -> Issued | None:
    return None


def _foreign(served: Served) -> Issued:
    return served.authorities.foreign.issue_client("alice")


def _expired(served: Served) -> Issued:
    return served.authorities.own.issue_client("alice", timedelta(minutes=-1))


@over_any_backend
@pytest.mark.parametrize("holder", [_no_certificate, _foreign, _expired])
async def test_a_client_without_a_valid_certificate_gets_no_answer(served: AnyServed, holder: Any) -> None:
    client = served.client(holder(served))
    for path in ("/", "/jobs", "/openapi.json"):
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await client.get(path)


async def test_tls_1_2_is_refused(served: Served) -> None:
    context = ssl.create_default_context(cafile=served.authorities.directory / "ca.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    port = int(served.base.rpartition(":")[2])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", port, ssl=context)


async def test_plain_http_gets_no_answer(served: Served) -> None:
    reader, writer = await asyncio.open_connection("localhost", int(served.base.rpartition(":")[2]))
    writer.write(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    assert b"HTTP" not in answer
    writer.close()

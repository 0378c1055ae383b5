"""The call that a monitoring system makes."""

import pytest

from agent.model.certificate import Role
from tests.support.api_client import Client
from tests.support.served import Served


@pytest.fixture
async def oscar(served: Served) -> Client:
    return await served.known("oscar", role=Role.OPERATOR)


async def test_an_operator_gets_the_numbers_and_the_connection_ends(alice: Client, oscar: Client) -> None:
    await alice.submit()
    answer = await oscar.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain;")
    assert answer.headers["Connection"] == "close"
    assert 'ml_agent_jobs{state="PENDING"} 1.0' in answer.body.decode().splitlines()


async def test_the_format_follows_from_the_accept_header(oscar: Client) -> None:
    answer = await oscar.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text;")
    assert answer.body.endswith(b"# EOF\n")


async def test_an_analyst_does_not_get_them(alice: Client) -> None:
    assert (await alice.get("/metrics")).status == 403

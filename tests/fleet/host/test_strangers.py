"""Programs with certificates that are good for something else, and programs of another fleet."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from agent.identity.authority import Authority
from agent.model.certificate import Role
from agent.model.fleet import FRONT_SERVER_NAME, host_server_name
from tests.faults.client import Told
from tests.support.fleet_pki import peer
from tests.support.pki import save

from . import layout
from .handle import Fleet
from .users import Users

pytestmark = pytest.mark.timeout(120)

ALICE = {"On-Behalf-Of": "alice analyst 192.0.2.7"}
CLAIM = {
    "epoch": "1",
    "capacity": {"jobs": 3, "millicpus": 2000, "memory_bytes": 2**30},
    "others": {"jobs": 0, "millicpus": 0, "memory_bytes": 0},
    "ends_in": 0,
    "needs": ["none"],
}


def front(fleet: Fleet, context: ssl.SSLContext, path: str, **options: Any) -> tuple[int, Any]:
    """What the first front answers to a program of the fleet."""
    port = layout.FRONT_PORTS["front-1"]
    return fleet.ask("front-1", port, path, context, server_name=FRONT_SERVER_NAME, **options)


def agent(fleet: Fleet, host: str, context: ssl.SSLContext, path: str, **options: Any) -> tuple[int, Any]:
    """What a host's agent answers to a program of the fleet."""
    return fleet.ask(
        host, layout.AGENT_PORT, path, context, server_name=host_server_name(host), seconds=20, **options
    )


async def test_a_member_cannot_read_users_jobs_at_a_front(fleet: Fleet, users: Users) -> None:
    told = await users.whole_way(Told("alice", "short.py"))
    member = fleet.peer("h2", "member")
    for path in ("", "/logs", "/artifacts", "/events"):
        for headers in ({}, ALICE):
            status, _ = front(fleet, member, f"/jobs/{told.job_id}{path}", **headers)
            assert status == 403, path


async def test_a_member_cannot_speak_for_another_host(fleet: Fleet, users: Users) -> None:
    told = Told("alice", "steady.py")
    await users.submit(told)
    told = await users.whole_way(told)
    host = (await users.job(told))["host"]
    other = next(each for each in layout.HOSTS if each != host)
    member = fleet.peer(other, "member")
    status, body = front(fleet, member, "/fleet/member/claim", method="POST", body={**CLAIM, "host": host})
    assert (status, body["errors"][0]["field"]) == (422, "host")
    held = {"job_id": told.job_id, "fence": "1"}
    status, body = front(fleet, member, "/fleet/member/acknowledge", method="POST", body=held)
    assert (status, body["step"]) == (200, "stale")
    status, body = front(fleet, member, "/fleet/member/claims")
    assert status == 200
    assert told.job_id not in [each["job_id"] for each in body["claims"]]


def test_a_member_of_another_host_is_nobody_to_an_agent(fleet: Fleet) -> None:
    body = {"job_id": "a" * 12, "key": "1", "not_after": 1e9, "request": {"script_name": "short.py"}}
    member = fleet.peer("h2", "member")
    assert agent(fleet, "h2", member, "/fleet/room")[0] == 200
    assert agent(fleet, "h1", member, "/fleet/room")[0] == 403
    status, _ = agent(fleet, "h1", member, "/fleet/jobs", method="POST", body=body, **ALICE)
    assert status == 403


@pytest.fixture
def another_fleets_front(fleet: Fleet, tmp_path: Path) -> ssl.SSLContext:
    """The client of a front of another authority, which trusts this fleet's hosts."""
    save(tmp_path, "front", peer(Authority.make("another fleet"), Role.FRONT, "front-1"))
    context = ssl.create_default_context(
        cafile=fleet.root("h1") / "home/ml/.local/state/ml-agent/pki/fleet/ca.crt"
    )
    context.load_cert_chain(tmp_path / "front.crt", tmp_path / "front.key")
    return context


def test_a_front_of_another_fleet_is_answered_by_no_agent(
    fleet: Fleet, another_fleets_front: ssl.SSLContext
) -> None:
    for host in layout.HOSTS:
        assert agent(fleet, host, fleet.peer("servers", "front"), "/fleet/room")[0] == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            agent(fleet, host, another_fleets_front, "/jobs", **ALICE)

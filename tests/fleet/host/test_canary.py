"""A user's secret that a fleet brings to a host is on that host where it belongs, and nowhere else."""

import asyncio
import hashlib
import json
import os
import re
import secrets
import time
from pathlib import Path

import pytest

from tests.faults.client import Told
from tests.host.systemd_host.cgroups import ControlGroups
from tests.security.search import BYTES, shapes

from . import layout
from .handle import Fleet
from .users import Users

pytestmark = pytest.mark.timeout(400)

STORAGE = "/home/ml/.local/share/containers/storage"
ALLOWED = re.compile(
    rf"file: {STORAGE}/(secrets/filedriver/secretsdata\.json"
    r"|overlay-containers/[0-9a-f]{64}/userdata/secrets/ml-agent\.[a-z0-9.-]+)"
)
SNAPSHOT = "tests/fleet/host/inside/snapshot.sh"
COPY = "/root/record"  # where it leaves what Redis writes of the record
SERVERS = ("redis-server", "beam.smp")


def hits(fleet: Fleet, node: str, value: str, since: float) -> tuple[list[str], dict[str, int]]:
    """Where a node has the value but must not, and how much was looked at, by root."""
    backwards = value.encode().hex()[::-1]
    command = ["/opt/ml-tests/bin/python", "-m", "tests.security.search", str(since), "1000", backwards]
    found = json.loads(fleet.output(node, *command, root=True))
    return [hit for hit in found["hits"] if not ALLOWED.fullmatch(hit)], found["looked_at"]


def processes(fleet: Fleet, node: str, *names: str) -> list[int]:
    """The machine's ids of a node's processes of these names."""
    pids = ControlGroups(fleet.host_name(node)).processes()
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() in names]


def in_memory(pid: int, needles: list[bytes]) -> tuple[bool, int]:
    """Whether any of them is in the writable memory of a process, and how many bytes that is."""
    size = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, access, *_ = line.split()
            if not access.startswith("rw"):
                continue
            start, end = (int(each, 16) for each in span.split("-"))
            memory.seek(start)
            try:
                content = memory.read(end - start)
            except OSError:  # given back meanwhile
                continue
            size += len(content)
            if any(needle in content for needle in needles):
                return True, size
    return False, size


async def test_a_secret_is_neither_in_record_nor_broker_nor_any_log(fleet: Fleet, users: Users) -> None:
    value, since = secrets.token_hex(16), time.time() - 1
    api = users.apis["alice"]
    await api.post("/secrets/canary", data=value.encode(), method="PUT")
    told = Told("alice", "secret.py")
    await users.submit(told)
    working = asyncio.create_task(users.whole_way(told))
    await users.until_it_prints(told)
    fleet.output("servers", SNAPSHOT, COPY, root=True)
    looked = await looked_everywhere(fleet, value, since)
    host = (await users.job(told))["host"]
    go = f"/home/ml/.local/state/ml-agent/jobs/{told.job_id}/attempts/1/artifacts/go"
    fleet.output(host, "touch", go)
    await working
    assert [text for _, text in told.lines] == [hashlib.sha256(value.encode()).hexdigest()]
    await looked_everywhere(fleet, value, since)
    for pid in processes(fleet, "servers", *SERVERS):
        there, size = in_memory(pid, shapes(value.encode()))
        assert not there
        assert size > 2**20
    assert looked["servers"]["journal" + BYTES] > 10_000
    await api.post("/secrets/canary", method="DELETE")
    fleet.output("servers", "rm", "-r", COPY, root=True)


async def looked_everywhere(fleet: Fleet, value: str, since: float) -> dict[str, dict[str, int]]:
    """How much was looked at on each node. Raises `AssertionError` where one has the value."""
    looked = {}
    for node in layout.BOOTING:
        places, looked[node.name] = await asyncio.to_thread(hits, fleet, node.name, value, since)
        assert places == [], node.name
    return looked


def test_the_look_into_memory_finds_what_is_there() -> None:
    planted = secrets.token_hex(16).encode()
    assert in_memory(os.getpid(), [planted])[0]

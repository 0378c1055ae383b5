"""Jobs and hosts of a fleet's record, for its tests."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from agent.fleet.entries import Claim, HostReport, NewJob, NoClaim, Offer, Revision
from agent.fleet.record import Record
from agent.fleet.record_server import RecordServer
from agent.model.base import new_job_id
from agent.scheduling.policy import Room

from .redis_server import RedisServer

HALF_LIFE = 3600.0
GIB = 2**30
HOST = Room(jobs=8, millicpus=8000, memory_bytes=8 * GIB)
NEED = "none"


def connected(
    server: RedisServer,
    *,
    replicas: int = 0,
    max_running: int | None = None,
    half_life: float = HALF_LIFE,
) -> contextlib.AbstractAsyncContextManager[Record]:
    """A record in that server."""
    asked = RecordServer(url=server.url, replicas=replicas)
    return Record.connected(asked, half_life=half_life, max_running=max_running)


@contextlib.asynccontextmanager
async def empty_record(server: RedisServer, **options: Any) -> AsyncIterator[Record]:
    """An empty record in that server."""
    server.cli("flushall")
    server.cli("function", "flush")
    async with connected(server, **options) as record:
        await record.load()
        yield record


def new_job(owner: str = "alice", **fields: Any) -> NewJob:
    """A job of one CPU and one GiB that runs for an hour at most."""
    usual = {
        "id": new_job_id(),
        "owner": owner,
        "max_waiting": 1000,
        "need": NEED,
        "millicpus": 1000,
        "memory_bytes": GIB,
        "run_time": 3600.0,
        "longest": 4000.0,
        "document": "{}",
        "request": "{}",
    }
    return NewJob(**{**usual, **fields})


async def submitted(record: Record, owner: str = "alice", **fields: Any) -> str:
    """The id of a job that the record accepts now."""
    job_id, new = await record.submit(new_job(owner, **fields))
    assert new
    return job_id


class Member:
    """A host's side of the record."""

    def __init__(self, record: Record, name: str, capacity: Room = HOST, **reported: Any) -> None:
        self.record = record
        self.name = name
        self.capacity = capacity
        self.reported = {"networks": (NEED,), **reported}
        self.epoch = ""

    async def join(self) -> "Member":
        joined = await self.record.join(self.name, HostReport(capacity=self.capacity, **self.reported))
        assert joined.known
        self.epoch = joined.epoch
        return self

    async def claim(self, **offered: Any) -> Claim | NoClaim:
        """Claims with all that the host has, or with what is given."""
        usual = {"host": self.name, "epoch": self.epoch, "capacity": self.capacity, "needs": (NEED,)}
        return await self.record.claim_next(Offer(**{**usual, **offered}))

    async def claimed(self, **offered: Any) -> Claim:
        claim = await self.claim(**offered)
        assert isinstance(claim, Claim), claim
        return claim

    async def end(self, claim: Claim, status: str = "COMPLETED", reason: str = "") -> None:
        """Runs a claimed job to its end."""
        await self.record.acknowledge(claim.job_id, self.name, claim.fence)
        told = Revision(9, status, reason, ended=True, document="{}")
        step = await self.record.project(claim.job_id, self.name, claim.fence, told)
        assert step == "ok"


async def member(record: Record, name: str = "h1", capacity: Room = HOST, **reported: Any) -> Member:
    """A host that has joined."""
    return await Member(record, name, capacity, **reported).join()

"""The fleet's record in Redis: every step of a job or of a host is one function of `record.lua`.

What is returned was on the disk of Redis before (`appendfsync always`). What somebody is promised was on a
replica's disk besides, where the fleet has one.
"""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ..errors import AgentError, Problem
from ..host.tasks import to_its_end
from ..scheduling.policy import Room
from .entries import Claim, Ending, HostRow, NewJob, NoClaim, Offer, Step

SOURCE = Path(__file__).with_name("record.lua")
LIBRARY = "fleet1"  # the name and the version in the first line of the file
TIMEOUT = 5.0  # seconds for Redis to answer, or for a connection to become free
REPLICA_TIMEOUT = 2.0  # seconds for a replica to confirm
CONNECTIONS = 64


@dataclass(frozen=True, kw_only=True)
class RecordServer:
    """Where Redis is, such as `rediss://front@record.example.com:6379`, and how it is asked.

    `replicas` is how many of them must have written what is promised.
    """

    url: str
    password: str | None = field(default=None, repr=False)
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    replicas: int = 0


class Record:
    """Asks Redis. Every method raises `AgentError` (host) where Redis does not answer or cannot promise."""

    def __init__(self, client: redis.Redis, *, replicas: int, half_life: float) -> None:
        """`half_life` is in seconds: after it, what a user has had counts half."""
        self._client = client
        self._replicas = replicas
        self._half_life = half_life

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, server: RecordServer, *, half_life: float) -> AsyncIterator["Record"]:
        """A record that connects when it is asked, and loads the functions when they are not there."""
        pool = redis.BlockingConnectionPool.from_url(
            server.url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            decode_responses=True,
            # Nothing is repeated by itself: if only the answer was lost, a second claim is another one.
            retry=Retry(NoBackoff(), 0),
            **_credentials(server),
        )
        client = redis.Redis(connection_pool=pool)
        try:
            yield cls(client, replicas=server.replicas, half_life=half_life)
        finally:
            await client.aclose()
            await pool.aclose()

    async def load(self) -> None:
        """Loads the functions of this version, unless Redis has them."""
        code = SOURCE.read_text("utf-8")
        with _translated():
            known = await cast(Any, self._client.function_list(library=LIBRARY, withcode=True))
            # A list of names and values, or with RESP3 a mapping.
            if not any(code in (each.values() if isinstance(each, dict) else each) for each in known):
                await cast(Any, self._client.function_load(code, replace=True))

    # Jobs

    async def submit(self, job: NewJob) -> tuple[str, bool]:
        """Accepts a job: its id, and whether it is new. The same owner, key and fingerprint give a known one.

        Raises `AgentError`: idempotency-mismatch, too-many-jobs, job-id-taken.
        """
        answer, *rest = await self._promise("submit", _json(job))
        match answer:
            case "mismatch":
                raise AgentError(
                    Problem.IDEMPOTENCY_MISMATCH,
                    "This Idempotency-Key was used for a different request.",
                    "Send a new key with a new request; repeat a key only with the same body.",
                )
            case "too-many":
                raise AgentError(
                    Problem.TOO_MANY_JOBS,
                    f"You already have {rest[0]} jobs waiting.",
                    "Try again when some of them have started, or cancel some.",
                )
            case "id-taken":
                raise AgentError(Problem.JOB_ID_TAKEN, "Another job has the first characters of this id.")
        return rest[0], answer == "new"

    async def cancel(self, job_id: str) -> tuple[Ending, str]:
        """Asks for the end of a job; with `ON_HOST`, the host that has it. Asking again changes nothing."""
        answer, *host = await self._promise("cancel", job_id)
        return Ending(answer), host[0] if host else ""

    async def job(self, job_id: str) -> dict[str, str] | None:
        """The fields of a job, with `document` and `request`; None where there is no such job."""
        return (await self.jobs([job_id])).get(job_id)

    async def jobs(self, job_ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The same of several jobs, by id, each as it was at one moment."""
        if not job_ids:
            return {}
        with _translated():
            async with self._client.pipeline(transaction=True) as batch:
                for job_id in job_ids:
                    batch.hgetall(f"fleet:job:{job_id}")
                    batch.mget(f"fleet:document:{job_id}", f"fleet:request:{job_id}")
                rows = list(_pairs(await batch.execute()))
        return {
            job_id: row | {"document": document, "request": request}
            for job_id, (row, (document, request)) in zip(job_ids, rows, strict=True)
            if row
        }

    async def pending(self) -> dict[str, int]:
        """How many jobs wait, by need."""
        with _translated():
            counts = await cast(Any, self._client.hgetall("fleet:pending"))
        return {need: int(count) for need, count in counts.items()}

    async def elect(self, front: str, seconds: int) -> bool:
        """Whether a front may do, for so many seconds from now, what only one at a time should do."""
        return (await self._call("elect", front, str(seconds)))[0] == "ok"

    # The change feed: of each job the newest change, numbered

    async def newest_change(self) -> int:
        """The number of the newest change; 0 if there was none."""
        with _translated():
            return int(await self._client.get("fleet:changed") or 0)

    async def changes(self, after: int, *, owner: str | None = None, limit: int) -> list[tuple[int, str]]:
        """The first `limit` changes with higher numbers, of one owner's jobs or of all: number and job id."""
        key = "fleet:changes" if owner is None else f"fleet:changes:{owner}"
        with _translated():
            found = await cast(Any, self._client).zrange(
                key, f"({after}", "+inf", byscore=True, offset=0, num=limit, withscores=True
            )
        return [(int(number), job_id) for job_id, number in found]

    @contextlib.asynccontextmanager
    async def bell(self) -> AsyncIterator[AsyncIterator[int]]:
        """The number of each change, as it is made. A hint: what is rung while nobody listens is lost."""
        with _translated():
            async with self._client.pubsub(ignore_subscribe_messages=True) as listening:
                await listening.subscribe("fleet:changed")
                yield _rung(listening)

    # Hosts

    async def join(self, host: str, capacity: Room) -> tuple[bool, str]:
        """A host's word that it is there: whether it is known, and its epoch.

        A host that was forgotten meanwhile must end what it has, and then call `back`.
        """
        answer, epoch = await self._call("join", host, _json(capacity))
        return answer == "ok", epoch

    async def back(self, host: str, epoch: str) -> bool:
        """A forgotten host has ended what it had; False where it was forgotten once more."""
        return (await self._call("back", host, epoch))[0] == "ok"

    async def claim_next(self, offer: Offer) -> Claim | NoClaim:
        """Claims the job whose turn it is among those that the host can run now."""
        asked = json.dumps(asdict(offer) | {"half_life": self._half_life})
        answer, *claim = await self._call("claim_next", asked)
        if answer != "ok":
            return NoClaim(answer)
        job_id, fence, attempt, owner, request = claim
        return Claim(job_id, fence, int(attempt), owner, request)

    async def confirm(self, job_id: str, host: str, epoch: str, fence: str) -> Step:
        """Asked right before each submission to the host's agent: whether the claim still holds."""
        return Step((await self._promise("confirm", job_id, host, epoch, fence))[0])

    async def acknowledge(self, job_id: str, host: str, fence: str) -> Step:
        """The host's agent has the job. CANCELLED: and must end it."""
        answer, *cancelled = await self._call("acknowledge", job_id, host, fence)
        return Step.CANCELLED if cancelled and int(cancelled[0]) else Step(answer)

    async def release(self, job_id: str, host: str, fence: str, *, elsewhere: bool) -> Step:
        """The host's agent will never have the job. `elsewhere`: the host does not claim it again."""
        return Step((await self._promise("release", job_id, host, fence, "1" if elsewhere else "0"))[0])

    async def project(
        self,
        job_id: str,
        host: str,
        fence: str,
        *,
        revision: int,
        status: str,
        reason: str,
        ended: bool,
        document: str,
    ) -> Step:
        """A revision of a job as its host has committed it; `document` is the job in JSON."""
        change = {
            "id": job_id,
            "host": host,
            "fence": fence,
            "revision": revision,
            "status": status,
            "reason": reason,
            "ended": ended,
            "document": document,
            "half_life": self._half_life,
        }
        return Step((await self._call("project", json.dumps(change)))[0])

    async def jobs_on(self, host: str) -> dict[str, dict[str, str]]:
        """The fields of every job that a host has, by id."""
        with _translated():
            ids = sorted(await cast(Any, self._client.smembers(f"fleet:on:{host}")))
        return await self.jobs(ids)

    async def claims_of(self, host: str) -> list[Claim]:
        """The claims of a host that have not ended, for a member that begins."""
        jobs = (await self.jobs_on(host)).items()
        return [
            Claim(job_id, job["fence"], int(job["attempt"]), job["owner"], job["request"])
            for job_id, job in jobs
        ]

    async def hosts(self) -> list[HostRow]:
        """Every host, by name."""
        with _translated():
            names = sorted(await cast(Any, self._client.smembers("fleet:hosts")))
            async with self._client.pipeline(transaction=False) as batch:
                for name in names:
                    batch.hgetall(f"fleet:host:{name}")
                    batch.scard(f"fleet:on:{name}")
                found = await batch.execute()
        return [_host(name, *row) for name, row in zip(names, _pairs(found), strict=True)]

    async def drain(self, host: str, *, draining: bool) -> bool:
        """No new claims for a host, or claims again; False where there is no such host."""
        return (await self._promise("drain", host, "1" if draining else "0"))[0] == "ok"

    async def forget(self, host: str, *, silence: float) -> tuple[str, list[str]] | float | None:
        """Gives up a host that was silent for so many seconds: its new epoch, and the jobs that it had.

        These end FAILED (interrupted), or wait for another host if they asked for that. A host that was heard
        of since is not given up: the answer is the seconds of its silence. None: there is no such host.
        """
        answer, *rest = await self._promise("forget", host, str(silence), str(self._half_life))
        if answer == "ok":
            return rest[0], rest[1:]
        return float(rest[0]) if answer == "alive" else None

    # Calls

    async def _call(self, name: str, *args: str) -> list[str]:
        """One function. Its answer follows the disk of Redis."""
        with _translated():
            return list(await to_its_end(cast(Any, self._client.fcall(f"{LIBRARY}_{name}", 0, *args))))

    async def _promise(self, name: str, *args: str) -> list[str]:
        """The same for what somebody is promised: the answer follows the disks of the replicas, too."""
        if not self._replicas:
            return await self._call(name, *args)
        with _translated():
            answer, replicas = await to_its_end(self._call_and_wait(name, *args))
        if replicas < self._replicas:
            raise AgentError(
                Problem.HOST,
                f"{replicas} of {self._replicas} replicas of the fleet's record have confirmed.",
                "Send the same request again, with the same Idempotency-Key.",
            )
        return list(answer)

    async def _call_and_wait(self, name: str, *args: str) -> tuple[list[str], int]:
        # On one connection, and in no transaction: WAIT waits for the writes of its own connection, and in
        # MULTI for nothing. A replica that has `appendfsync always` itself confirms what is on its disk.
        async with self._client.pipeline(transaction=False) as batch:
            batch.fcall(f"{LIBRARY}_{name}", 0, *args)
            batch.wait(self._replicas, int(REPLICA_TIMEOUT * 1000))
            answer, replicas = await batch.execute()
            return answer, int(replicas)


def _credentials(server: RecordServer) -> dict[str, Any]:
    options: dict[str, Any] = {} if server.password is None else {"password": server.password}
    if server.url.startswith("rediss:"):
        options |= {
            "ssl_ca_certs": server.authority and str(server.authority),
            "ssl_certfile": server.certificate and str(server.certificate),
            "ssl_keyfile": server.key and str(server.key),
            "ssl_min_version": ssl.TLSVersion.TLSv1_3,
        }
    return options


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise AgentError(
            Problem.HOST,
            f"The fleet's record does not answer: {error or type(error).__name__}.",
            "Send the same request again in a moment, with the same Idempotency-Key.",
        ) from error


async def _rung(listening: Any) -> AsyncIterator[int]:
    async for message in listening.listen():
        yield int(message["data"])


def _json(value: Any) -> str:
    return json.dumps(asdict(value))


def _pairs(values: list[Any]) -> Iterable[tuple[dict[str, str], Any]]:
    return zip(values[::2], values[1::2], strict=True)


def _host(name: str, row: dict[str, str], jobs: int) -> HostRow:
    return HostRow(
        name=name,
        epoch=row["epoch"],
        seen=float(row.get("seen", 0)),
        gone=float(row["gone"]) if "gone" in row else None,
        draining="draining" in row,
        capacity=Room(**json.loads(row.get("capacity", '{"jobs": 0, "millicpus": 0, "memory_bytes": 0}'))),
        jobs=jobs,
    )

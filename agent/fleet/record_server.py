"""The connection to the fleet's record in Redis, and how its functions are called."""

import contextlib
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from ..errors import AgentError, Problem
from ..host.tasks import to_its_end

# One library of functions, in the order in which its parts use each other.
PARTS = (
    "basics",
    "submissions",
    "secrets",
    "claims",
    "steps",
    "hosts",
    "lists",
    "places",
    "retention",
    "register",
)
LIBRARY = "fleet1"  # the name and the version in the first line of the first part
TIMEOUT = 5.0  # seconds for Redis to answer, or for a connection to become free
REPLICA_TIMEOUT = 2.0  # seconds for a replica to confirm
CONNECTIONS = 64


def library() -> str:
    """The code of the functions."""
    directory = Path(__file__).with_name("functions")
    return "\n".join((directory / f"{part}.lua").read_text("utf-8") for part in PARTS)


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


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What the fleet gives to each user.

    After `half_life` seconds, what a user has had counts half. At most `max_running` of a user's jobs run.
    """

    half_life: float
    max_running: int | None = None


class Connection:
    """Asks Redis. Every method raises `AgentError` (host) where Redis does not answer or cannot promise."""

    def __init__(self, client: redis.Redis, *, replicas: int, shares: Shares) -> None:
        self._client = client
        self._replicas = replicas
        self._shares = shares

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(
        cls, server: RecordServer, *, half_life: float, max_running: int | None = None
    ) -> AsyncIterator[Self]:
        """A record that connects when it is asked. `half_life` and `max_running` are those of `Shares`."""
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
            yield cls(
                client, replicas=server.replicas, shares=Shares(half_life=half_life, max_running=max_running)
            )
        finally:
            await client.aclose()
            await pool.aclose()

    async def load(self) -> None:
        """Loads the functions of this version, unless Redis has them, and names the record."""
        loaded = await self._loaded()
        with translated():
            if not loaded:
                await cast(Any, self._client.function_load(library(), replace=True))
            await self._client.set("fleet:epoch", secrets.token_hex(8), nx=True)

    async def clock(self) -> float:
        """Seconds since 1970 by the clock of Redis, by which hosts were seen."""
        with translated():
            seconds, microseconds = await cast(Any, self._client.time())
        return float(seconds) + float(microseconds) / 1e6

    async def facts(self) -> dict[str, str]:
        """What Redis says of itself (INFO), how it is configured, and whether it has the `library`."""
        with translated():
            said = await cast(Any, self._client.info())
            configured = await cast(Any, self._client.config_get("*append*", "maxmemory-policy"))
        library = "current" if await self._loaded() else "absent, or of another version"
        return {name: str(value) for name, value in (said | configured).items()} | {"library": library}

    async def _loaded(self) -> bool:
        """Whether Redis has the functions of this version."""
        code = library()
        with translated():
            known = await cast(Any, self._client.function_list(library=LIBRARY, withcode=True))
        # A list of names and values, or with RESP3 a mapping.
        return any(code in (each.values() if isinstance(each, dict) else each) for each in known)

    async def _call(self, name: str, *args: str) -> list[Any]:
        """One function. Its answer follows the disk of Redis."""
        with translated():
            return list(await to_its_end(cast(Any, self._client.fcall(f"{LIBRARY}_{name}", 0, *args))))

    async def _promise(self, name: str, *args: str) -> list[str]:
        """The same for what somebody is promised: the answer follows the disks of the replicas, too."""
        if not self._replicas:
            return await self._call(name, *args)
        with translated():
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

    async def _read(self, *commands: Sequence[str | int]) -> list[Any]:
        """The answers to several commands that only read, all of one moment. Mappings are flat lists."""
        return await self._call("read", json.dumps(commands))


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
def translated() -> Iterator[None]:
    """Raises `AgentError` (host) for what goes wrong with Redis."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise AgentError(
            Problem.HOST,
            f"The fleet's record does not answer: {error or type(error).__name__}.",
            "Send the same request again in a moment, with the same Idempotency-Key.",
        ) from error

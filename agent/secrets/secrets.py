"""Secrets of users, and secrets that all users share. Podman stores them.

A value passes through here only as bytes on their way to Podman. It is never logged, quoted or stored.
"""

import asyncio
import codecs
import contextlib
import fcntl
import os
import re
import tempfile
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

from ..audit.chain import Caller, Deed
from ..errors import AgentError, FieldError, Problem
from ..host.podman import FREE_BYTES_FOR_SECRETS, Podman, Secret
from ..host.tasks import to_its_end
from ..host.toml import TooMuchError, parse
from ..model.base import SecretName, UserName, now
from ..model.job import Job, JobState
from ..model.secret import SNOWFLAKE_PREFIX, SecretChange, SecretEntry, too_many_secrets

LOCK_TIMEOUT = 30.0  # seconds to wait for another process that changes secrets
LOCK_PAUSE = 0.05  # seconds between two attempts

_POSITION = re.compile(r"\(at (line \d+, column \d+|end of document)\)")


class Secrets:
    """The secrets of one host, for the agent and for an operator's command beside it."""

    def __init__(self, podman: Podman, *, runtime_directory: Path, state_directory: Path) -> None:
        self._podman = podman
        self._state_directory = state_directory
        self._lock_file = runtime_directory / "ml-agent/secrets.lock"
        self._lock = asyncio.Lock()
        self._checking = asyncio.Lock()

    async def all(self) -> list[SecretEntry]:
        """All secrets, by name and user."""
        return [_entry(each) for each in await self._podman.secrets()]

    async def stored(self) -> list[Secret]:
        """The same, with their versions."""
        return await self._podman.secrets()

    async def of(self, user: UserName) -> list[SecretEntry]:
        """The secrets that jobs of `user` may get: the user's own and the shared ones."""
        return [each for each in await self.all() if each.user in (None, user)]

    async def set(
        self,
        name: SecretName,
        user: UserName | None,
        value: bytes,
        *,
        running: Iterable[Job],
        limit: int | None = None,
        version: str = "",
    ) -> SecretChange:
        """Stores a value and replaces an earlier one, which jobs among the `running` ones may have.

        `version` is the fleet's, if the value comes from there.

        Raises `AgentError`: invalid-request if the value cannot be right, too-many-secrets if `user` has
        `limit` others, storage-full, host.
        """
        # The largest value may take a second and 100 MB to check: in a thread, and one at a time.
        async with self._checking:
            value = await asyncio.to_thread(checked_value, name, value)
        async with self._alone():
            before = await self._podman.secrets()
            rotated = any((each.name, each.user) == (name, user) for each in before)
            own = sum(each.user == user for each in before)
            if limit is not None and not rotated and own >= limit:
                raise too_many_secrets(limit)
            await self._podman.set_secret(name, user, value, version=version)
            stored = _find(await self._podman.secrets(), name, user)
            return SecretChange(
                **_entry(stored).model_dump(),
                rotated=rotated,
                earlier_value_in=[job.job_id for job in holders(running, name, user, before)],
            )

    async def remove(self, name: SecretName, user: UserName | None) -> SecretEntry:
        """Removes a secret and returns it. Raises `AgentError`: secret-not-found, storage-full, host."""
        async with self._alone():
            secret = _find(await self._podman.secrets(), name, user)
            await self._podman.remove_secret(name, user)
            return _entry(secret)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Serialises changes across processes: each change checks that all other secrets are still there.

        Raises `AgentError` (host) if another process holds the lock too long.
        """
        async with self._lock:
            self._lock_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                await _lock(descriptor)
                await self._prove_room()
                yield
            finally:
                os.close(descriptor)

    async def _prove_room(self) -> None:
        """Allocates the room that Podman needs, and frees it again: statvfs(3) does not know quotas.

        If Podman's storage is on another file system than the agent's, only statvfs(3) is asked.
        """
        storage, ours = await self._podman.storage(), self._state_directory
        with contextlib.suppress(FileNotFoundError):
            if storage.stat().st_dev == ours.stat().st_dev:
                await asyncio.to_thread(_take_room, ours)


def holders(jobs: Iterable[Job], name: str, user: str | None, secrets: Iterable[Secret]) -> list[Job]:
    """The jobs that run with the value that a change replaces. `secrets` are those before the change.

    Jobs of a user with an own secret of that name do not have the shared one.
    """
    with_own = {each.user for each in secrets if each.name == name and each.user}
    return [
        job
        for job in jobs
        if job.status in (JobState.CREATED, JobState.RUNNING)
        and name in job.secrets
        and (job.owner == user if user else job.owner not in with_own)
    ]


def _take_room(directory: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            os.posix_fallocate(probe.fileno(), 0, FREE_BYTES_FOR_SECRETS)
    except OSError as error:
        raise AgentError(
            Problem.STORAGE_FULL,
            f"{FREE_BYTES_FOR_SECRETS // 2**20} MiB cannot be written at {directory}: {error.strerror}.",
            "Make room before you change secrets: Podman could lose all of them.",
        ) from error


async def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise AgentError(
                    Problem.HOST,
                    "Another process has been changing secrets for too long.",
                    "Try again later.",
                ) from error
            await asyncio.sleep(LOCK_PAUSE)
        else:
            return


def _entry(secret: Secret) -> SecretEntry:
    age = now() - secret.updated_at
    return SecretEntry(
        name=secret.name,
        user=secret.user,
        created_at=secret.created_at,
        updated_at=secret.updated_at,
        age_seconds=max(0, int(age.total_seconds())),
    )


def _find(secrets: Iterable[Secret], name: str, user: str | None) -> Secret:
    for secret in secrets:
        if (secret.name, secret.user) == (name, user):
            return secret
    raise AgentError(
        Problem.SECRET_NOT_FOUND,
        f"There is no secret {name} of {user or 'everybody'}.",
        "GET /secrets, or `ml-job secret list`, shows yours; `ml-agent secret list`, all.",
    )


class UserSecrets:
    """Secrets of users. `started` are the jobs of a user that may hold an earlier value."""

    def __init__(
        self,
        secrets: Secrets,
        *,
        started: Callable[[str], Iterable[Job]],
        write_audit: Callable[[Deed], Awaitable[None]],
        limit: int,
    ) -> None:
        self._secrets = secrets
        self._started = started
        self._write_audit = write_audit
        self._limit = limit

    async def of(self, user: UserName) -> list[SecretEntry]:
        """The secrets that the user's jobs may get: the user's own and those for everybody."""
        return await self._secrets.of(user)

    async def set(self, name: SecretName, value: bytes, *, by: Caller) -> SecretChange:
        """Sets a secret of the caller's own. Raises what `Secrets.set` raises."""

        async def change() -> SecretChange:
            running = self._started(by.actor)
            changed = await self._secrets.set(name, by.actor, value, running=running, limit=self._limit)
            await self._write_audit(by.did("setSecret", name))
            return changed

        return await to_its_end(change())

    async def remove(self, name: SecretName, *, by: Caller) -> SecretEntry:
        """Removes a secret of the caller's own. Raises what `Secrets.remove` raises."""

        async def change() -> SecretEntry:
            removed = await self._secrets.remove(name, by.actor)
            await self._write_audit(by.did("removeSecret", name))
            return removed

        return await to_its_end(change())


def checked_value(name: str, value: bytes) -> bytes:
    """The value to store. A secret whose name begins with `snowflake` must be a connections.toml.

    A byte order mark before it, which some editors write, is left out: the connector refuses it.

    Format: docs.snowflake.com, "Connecting using the connections.toml file": one table per connection.
    Raises `AgentError` (invalid-request) that says what is wrong without quoting the value.
    """
    if not name.startswith(SNOWFLAKE_PREFIX):
        return value
    value = value.removeprefix(codecs.BOM_UTF8)
    try:
        connections = parse(value.decode("utf-8"))
    except UnicodeDecodeError:
        raise _refused("is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        place = _POSITION.search(str(error))
        raise _refused(f"is not TOML{f' (at {place[1]})' if place else ''}") from None
    except TooMuchError as error:
        raise _refused(str(error)) from None
    except ValueError:
        raise _refused("has a number with too many digits") from None
    if "connections" in connections:
        raise _refused("has its connections below [connections]; write [NAME], not [connections.NAME]")
    if not any(isinstance(table, dict) and "account" in table for table in connections.values()):
        raise _refused('has no connection: a table such as [default] with account = "…"')
    return value


def _refused(why: str) -> AgentError:
    return AgentError(
        Problem.INVALID_REQUEST,
        "A secret of this name must be a connections.toml.",
        "docs/secrets.md shows an example. A secret of another name may have any value.",
        (FieldError("value", why),),
    )

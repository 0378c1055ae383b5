"""Secrets of users, and secrets that all users share. Podman stores them.

A value passes through here only as bytes on their way to Podman. It is never logged, quoted or stored.
"""

import asyncio
import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from ..errors import AgentError, Problem
from ..host.podman import FREE_BYTES_FOR_SECRETS, Podman, Secret
from ..model.base import SecretName, UserName, now
from ..model.job import Job, JobState
from ..model.secret import SecretChange, SecretEntry
from .values import checked_value

LOCK_TIMEOUT = 30.0  # seconds to wait for another process that changes secrets
LOCK_PAUSE = 0.05  # seconds between two attempts


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
    ) -> SecretChange:
        """Stores a value and replaces an earlier one, which jobs among the `running` ones may have.

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
                raise _too_many(limit)
            await self._podman.set_secret(name, user, value)
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
        storage, ours = (await self._podman.host()).storage, self._state_directory
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


def _too_many(limit: int) -> AgentError:
    if not limit:
        return AgentError(
            Problem.TOO_MANY_SECRETS,
            "Only the operator sets secrets on this host.",
            "Ask for `ml-agent secret set NAME --user YOU`.",
        )
    return AgentError(
        Problem.TOO_MANY_SECRETS, f"You have {limit} secrets of your own.", "Remove one that no job needs."
    )

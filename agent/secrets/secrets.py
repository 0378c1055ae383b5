"""Secrets of users and of everybody: checked, bounded, told without their values. Podman keeps them.

A value passes through here as bytes on their way to Podman: it is never logged, quoted or stored.
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
from .values import check_value

LOCK_TIMEOUT = 30.0  # seconds that another process may take to set a secret
LOCK_PAUSE = 0.05  # seconds between two attempts


class Credentials:
    """The secrets of one host, whoever asks: the agent, or an operator's command beside it."""

    def __init__(self, podman: Podman, *, runtime_directory: Path, state_directory: Path) -> None:
        self._podman = podman
        self._state_directory = state_directory
        self._lock_file = runtime_directory / "ml-agent/secrets.lock"
        self._lock = asyncio.Lock()
        self._checking = asyncio.Lock()

    async def all(self) -> list[SecretEntry]:
        """Every secret, by name and user."""
        return [_entry(each) for each in await self._podman.secrets()]

    async def of(self, user: UserName) -> list[SecretEntry]:
        """What jobs of `user` could get: the user's own secrets and those for everybody."""
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
        """Stores a value, in place of an earlier one. `running` are jobs that may hold that.

        Raises `AgentError`: invalid-request for a value that cannot be right, too-many-secrets where `user`
        has `limit` others, storage-full, host.
        """
        # A value of the largest size may take a second and 100 MB: not on the event loop, and one at a time.
        async with self._checking:
            await asyncio.to_thread(check_value, name, value)
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
        """Removes a secret and returns what it was. Raises `AgentError`: secret-not-found, storage-full."""
        async with self._alone():
            secret = _find(await self._podman.secrets(), name, user)
            await self._podman.remove_secret(name, user)
            return _entry(secret)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One change at a time, also beside an operator's command: each looks whether all others are there.

        Raises `AgentError` (host) where another process does not come to its end.
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
        """Takes the room that Podman must find, and gives it back: of a quota, statvfs(3) says nothing.

        Where this account's own files are elsewhere than Podman's, what Podman's file system says must do.
        """
        storage, ours = (await self._podman.host()).storage, self._state_directory
        with contextlib.suppress(FileNotFoundError):
            if storage.stat().st_dev == ours.stat().st_dev:
                await asyncio.to_thread(_take_room, ours)


def holders(jobs: Iterable[Job], name: str, user: str | None, secrets: Iterable[Secret]) -> list[Job]:
    """The jobs among these that run with what was there before the secret is set.

    `secrets` are those before it. A user's own goes before everybody's, which such a user's jobs do not hold.
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
            "Make room before changing secrets: Podman could lose all of them.",
        ) from error


async def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise AgentError(
                    Problem.HOST, "Another process has been changing secrets for too long.", "Try again."
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
            "Secrets of this host are the operator's to set.",
            "Ask for `ml-agent secret set NAME --user YOU`.",
        )
    return AgentError(
        Problem.TOO_MANY_SECRETS, f"You have {limit} secrets of your own.", "Remove one that no job needs."
    )

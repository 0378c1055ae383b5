"""What users do with their own secrets: bounded in number, and audited."""

from collections.abc import Awaitable, Callable, Iterable

from ..audit.chain import Caller, Deed
from ..host.tasks import to_its_end
from ..model.base import SecretName, UserName
from ..model.job import Job
from ..model.secret import SecretChange, SecretEntry
from .secrets import Secrets


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

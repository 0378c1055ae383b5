"""What fronts ask of the record besides jobs and hosts."""

import secrets
from collections.abc import Sequence

from ..errors import key_reused
from .lists import pairs
from .record_server import Connection

KEY_BYTES = 64  # of the key that seals ids


class FrontRecord(Connection):
    """Keys of submissions, what users have had, and the key that all fronts of a fleet share."""

    async def repeated(self, owner: str, key: str, fingerprint: str) -> str | None:
        """The id of the job that the owner has submitted with this key.

        Raises `AgentError` (idempotency-mismatch) where the request had another fingerprint.
        """
        answer, *job_id = await self._promise("repeated", owner, key, fingerprint)
        if answer == "mismatch":
            raise key_reused()
        return job_id[0] if job_id else None

    async def uses(self) -> dict[str, tuple[int, float]]:
        """By owner: how many jobs wait, and the seconds of the whole fleet that the owner has had lately."""
        (seconds, microseconds), *known = await self._read(
            ("TIME",), ("HGETALL", "fleet:waits"), ("HGETALL", "fleet:uses")
        )
        now = float(seconds) + float(microseconds) / 1e6
        waiting, had = (dict(pairs(each)) for each in known)
        return {
            owner: (int(waiting.get(owner, 0)), self._decayed(had.get(owner, "0 0"), now))
            for owner in {*waiting, *had}
        }

    def _decayed(self, entry: str, now: float) -> float:
        seconds, at = map(float, entry.split())
        return float(seconds * 2 ** (-max(0.0, now - at) / self._shares.half_life))

    async def now(self) -> float:
        """The time in seconds since 1970, by the clock of Redis."""
        ((seconds, microseconds),) = await self._read(("TIME",))
        return float(seconds) + float(microseconds) / 1e6

    async def owners_of_removed(self, job_ids: Sequence[str]) -> dict[str, str]:
        """By id, the owners of jobs whose record was removed not long ago."""
        if not job_ids:
            return {}
        (owners,) = await self._read(("HMGET", "fleet:tombstones", *job_ids))
        return {job_id: owner for job_id, owner in zip(job_ids, owners, strict=True) if owner}

    async def sealing_key(self) -> bytes:
        """The key of the ids that clients get from any front of the fleet. The first who asks makes it."""
        return bytes.fromhex((await self._call("sealing_key", secrets.token_hex(KEY_BYTES)))[0])

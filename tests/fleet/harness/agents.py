"""Agents that keep on disk what they begin, as a host's agent does, and run nothing.

In this process, because no real agent could be asked so often, nor show at once that a job has begun twice.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from agent.fleet.entries import Claim
from tests.support.fleet_members import CountingAgent


@dataclass(frozen=True)
class Start:
    """An attempt of a job that has begun, and when, in seconds since 1970."""

    host: str
    job_id: str
    attempt: int
    at: float


class DurableAgent(CountingAgent):
    """Writes each start to a file before it counts."""

    def __init__(self, host: str, directory: Path) -> None:
        super().__init__(host)
        self._file = directory / f"{host}.starts"
        self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def begin(self, claim: Claim) -> None:
        super().begin(claim)
        os.write(self._descriptor, f"{claim.job_id} {claim.attempt} {time.time()}\n".encode())
        os.fdatasync(self._descriptor)

    def starts(self) -> list[Start]:
        """What the file says."""
        rows = (line.split() for line in self._file.read_text().splitlines())
        return [Start(self.host, job_id, int(attempt), float(at)) for job_id, attempt, at in rows]

    async def close(self) -> None:
        await super().close()
        os.close(self._descriptor)

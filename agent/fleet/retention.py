"""The retention of the fleet's record by the rules of one host: age, number and bytes, fair to each owner.

Files of jobs are on their hosts, which have retention of their own. One front at a time does this.
"""

import asyncio
import logging
from dataclasses import replace

from ..config import RetentionSettings
from ..errors import AgentError
from ..host.machine import read_clocks
from ..model.job import RetentionRule
from ..model.retention import AgeClock
from ..retention.rules import DAY, Bound, Rules
from .record import Record

log = logging.getLogger("ml-fleet")

INTERVAL = 60.0  # seconds between two rounds
TURN = 300  # seconds that a front is the only one, after its last round
STEP = 100  # jobs in one call
HOUR = 3600.0  # seconds


class RecordRetention:
    """Removes the records of ended jobs that are due."""

    def __init__(self, front: str, record: Record, settings: RetentionSettings) -> None:
        self._front = front
        self._record = record
        self._settings = settings

    async def run(self) -> None:
        """Prunes until it is cancelled. Pruning is never urgent: the next round resumes it."""
        while True:
            try:
                if count := await self.prune():
                    log.info("retention removed the records of %d jobs", count)
            except AgentError as error:
                log.info("retention: %s", error)
            await asyncio.sleep(INTERVAL)

    async def prune(self) -> int:
        """Removes what is due, if it is this front's turn; returns how many jobs that were."""
        if not await self._record.elect(self._front, TURN, "retention"):
            return 0
        now = await self._advance_clock()
        removed = 0
        while due := await self._due(now):
            done = await self._record.remove_ended(due)
            removed += len(done)
            if len(done) < len(due):  # one was pinned meanwhile
                break
        return removed

    async def _advance_clock(self) -> float:
        """The time by a clock of ages, which does not run ahead where a front's clock is set forward."""
        moment = await read_clocks()
        before = await self._record.age_clock() or AgeClock.start(moment, None)
        if before.boot_id != moment.boot_id:
            # Another front's host, or another boot: how long it is up says nothing about the time since then.
            before = replace(before, boot_id=moment.boot_id, boot=moment.boot)
        clock, leap = before.at(moment)
        while await self._record.age(clock, confirmed=before.confirmed_seconds, leap=leap):
            leap = 0.0
        return clock.seconds

    async def _due(self, now: float) -> list[str]:
        settings = self._settings
        rules = Rules(
            now - settings.record_days * DAY,
            now - settings.at_least_hours * HOUR,
            (
                Bound("jobs", settings.max_jobs, RetentionRule.COUNT),
                Bound("record_bytes", settings.max_record_bytes, RetentionRule.BYTES),
            ),
        )
        jobs, holdings = await self._record.oldest_of_each(STEP)
        return [due.job.job_id for due in rules.due(jobs, holdings, limit=STEP)]

"""Ends jobs whose commit an operator withdraws, which another process records."""

import asyncio
import logging

from ..errors import AgentError
from ..model.base import now, one_line
from ..model.job import Job, JobState, Reason
from ..model.ref import Withdrawal
from ..store.withdrawals import WithdrawalStore
from .reconciler import Reconciler
from .registry import ActiveJob, Registry, not_before

log = logging.getLogger("ml-agent")

INTERVAL = 2.0  # seconds between two looks


class WithdrawalGuard:
    """Every few seconds: whether a job waits, or runs, whose commit may not run any more."""

    def __init__(self, withdrawals: WithdrawalStore, registry: Registry, reconciler: Reconciler) -> None:
        self._withdrawals = withdrawals
        self._registry = registry
        self._reconciler = reconciler

    async def run(self) -> None:
        """Looks, at once and then every `INTERVAL` seconds, until it is cancelled."""
        while True:
            try:
                await self.look()
            except (AgentError, OSError) as error:
                log.warning("withdrawals: %s", error)
            await asyncio.sleep(INTERVAL)

    async def look(self) -> None:
        """Looks once. Raises `AgentError` or `OSError` where something cannot be read or written."""
        if self._registry.idle:
            return
        withdrawn = {each.commit: each for each in await self._withdrawals.all()}
        for active in list(self._registry.all_active()) if withdrawn else []:
            if withdrawal := withdrawn.get(active.job.commit):
                await self._end(active, withdrawal)

    async def _end(self, active: ActiveJob, withdrawal: Withdrawal) -> None:
        if active.job.status is not JobState.PENDING:
            if withdrawal.stop_running:
                self._reconciler.order_end(active.job, Reason.STOPPED, withdrawal.sentence())
            return
        await self._registry.change(active, lambda job: _ended(job, withdrawal))
        active.hint.set()
        self._registry.wake.set()


def _ended(job: Job, withdrawal: Withdrawal) -> Job:
    if job.status is not JobState.PENDING:  # its turn came first: the reconciler asks again before it starts
        return job
    return job.model_copy(
        update={
            "status": JobState.FAILED,
            "reason": Reason.START_FAILED,
            "message": one_line(withdrawal.sentence()),
            "finished_at": not_before(job, now()),
            "not_before": None,
        }
    )

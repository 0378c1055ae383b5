"""The audit rows that the API itself writes: refusals, within bounds, and looks at other users' jobs.

A change has its row from whatever makes the change.
"""

import json
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable

from ..errors import AgentError
from ..log import log
from .chain import Caller, Deed, Detail

Write = Callable[[Deed], Awaitable[None]]
CheckShare = Callable[[str], Awaitable[None]]

BURST = 20  # refusals of one actor that are recorded in a row
REFILL = 60.0  # seconds after which one more is recorded
MAX_ACTORS = 1000  # whose refusals are counted
SAME_LOOK = 600.0  # seconds in which a repeated look is not recorded again
MAX_LOOKS = 10_000  # that are remembered


async def no_limit(actor: str) -> None:
    """Allows every actor any number of rows."""


class Trail:
    """`write` commits one row to the store; `clock` counts seconds.

    `check_share` raises `AgentError` (too-many-requests) where an actor has written too much today.
    """

    def __init__(
        self,
        write: Write,
        clock: Callable[[], float] = time.monotonic,
        check_share: CheckShare = no_limit,
    ) -> None:
        self._write = write
        self._check_share = check_share
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when an actor's budget will be full again
        self._unwritten: Counter[str] = Counter()
        self._looks: OrderedDict[int, float] = OrderedDict()

    async def check_share(self, caller: Caller) -> None:
        """Raises `AgentError` (too-many-requests) where no more deeds of this caller are recorded today."""
        await self._check_share(caller.actor)

    async def refused(self, caller: Caller, action: str, subject: str = "", **details: Detail) -> None:
        """Records a refusal, as far as the actor's budget goes; further refusals are only counted.

        A store that cannot be written to does not change the answer.
        """
        actor = caller.actor
        if not self._spend(actor):
            self._unwritten[actor] += 1
            return
        if unwritten := self._unwritten.pop(actor, 0):
            details |= {"not_recorded_before": unwritten}
        try:
            await self._write(caller.was_refused(action, subject, **details))
        except AgentError as error:
            log.warning("audit: the refusal of %s to %s cannot be recorded: %s", action, actor, error)

    def _spend(self, actor: str) -> bool:
        now = self._clock()
        full_at = max(self._full_at.pop(actor, now), now)
        within = full_at + REFILL <= now + BURST * REFILL
        self._full_at[actor] = full_at + REFILL if within else full_at
        if len(self._full_at) > MAX_ACTORS:
            forgotten, _ = self._full_at.popitem(last=False)
            self._unwritten.pop(forgotten, None)
        return within

    async def shown(self, caller: Caller, action: str, subject: str, **details: Detail) -> None:
        """Records a look at another user's job, before it is shown. The same look soon after has no new row.

        Raises `AgentError` (storage-full, host, too-many-requests): what cannot be recorded is not shown.
        """
        deed, now = caller.was_shown(action, subject, **details), self._clock()
        # Of the whole details: the row may have cut them.
        look = hash((deed.model_dump_json(exclude={"source"}), json.dumps(details, sort_keys=True)))
        if (before := self._looks.pop(look, None)) is not None and now < before + SAME_LOOK:
            self._looks[look] = before
            return
        await self.check_share(caller)
        await self._write(deed)
        self._looks[look] = now
        if len(self._looks) > MAX_LOOKS:
            self._looks.popitem(last=False)

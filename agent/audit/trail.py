"""The audit rows that the API itself writes: refusals, within bounds, and looks at other users' jobs.

A change has its row from whatever makes the change.
"""

import json
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable

from ..errors import AgentError
from .chain import Caller, Deed, Detail

log = logging.getLogger("ml-agent")

Write = Callable[[Deed], Awaitable[None]]

BURST = 20  # refusals of one actor that are written one after the other
REFILL = 60.0  # seconds after which one more is
MAX_ACTORS = 1000  # of whom it is known how many they had
SAME_LOOK = 600.0  # seconds in which looking at the same thing again is the same look
MAX_LOOKS = 10_000


class Trail:
    """`write` puts one row into the store, synced; `clock` is in seconds."""

    def __init__(self, write: Write, clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when an actor's budget is whole again
        self._unwritten: Counter[str] = Counter()
        self._looks: OrderedDict[int, float] = OrderedDict()

    async def refused(self, caller: Caller, action: str, subject: str = "", **details: Detail) -> None:
        """An attempt that came to nothing; written as far as the actor's budget goes, else counted.

        A store that cannot be written to does not turn the refusal into something else.
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
            log.warning("audit: a refusal of %s to %s is not recorded: %s", action, actor, error)

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
        """A look at what is another's, written before it is shown: what cannot be written is not shown.

        Raises `AgentError` (storage-full, host). The same look again soon is no new row.
        """
        deed, now = caller.was_shown(action, subject, **details), self._clock()
        # By the whole details, of which the row has the beginning.
        look = hash((deed.model_dump_json(exclude={"source"}), json.dumps(details, sort_keys=True)))
        if (before := self._looks.pop(look, None)) is not None and now < before + SAME_LOOK:
            self._looks[look] = before
            return
        await self._write(deed)
        self._looks[look] = now
        if len(self._looks) > MAX_LOOKS:
            self._looks.popitem(last=False)

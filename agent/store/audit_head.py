"""The head of the audit in the log of the process: a store that was changed does not match it."""

import asyncio

from ..errors import AgentError
from ..log import log
from .store import Store

HEAD_INTERVAL = 600.0  # seconds between two log lines with the head


async def log_audit_head(store: Store) -> None:
    """Logs the head of the audit now and then, and at the end."""
    logged = 0
    try:
        while True:
            logged = await _log_head(store, logged)
            await asyncio.sleep(HEAD_INTERVAL)
    finally:
        await _log_head(store, logged)


async def _log_head(store: Store, logged: int) -> int:
    """Logs the links of the oldest and the newest row, unless they were logged; returns the newest number.

    The oldest row identifies the record, even if the store was renamed or its end was cut off.
    """
    try:
        (anchor, head), history = await store.audit.links(), await store.changes.history()
        oldest = await store.audit.rows(anchor.seq, 1)
    except AgentError as error:
        log.warning("the head of the audit cannot be read: %s", error)
        return logged
    if head.seq != logged:
        for link in dict.fromkeys([*(row.link for row in oldest), head]):
            log.info("audit head %s of record %s", link, history.epoch)
    return head.seq

"""libsystemd by ctypes: the library, and what a service tells systemd about itself (sd_notify(3)).

libsystemd.so.0 is on every host that runs systemd.
"""

import asyncio
import ctypes
import functools
import os

from ..errors import host_failed
from ..log import log


@functools.cache
def library() -> ctypes.CDLL:
    """The library. A caller must set the types of a function before it calls it.

    Raises `AgentError` (host) if the library is missing.
    """
    try:
        return ctypes.CDLL("libsystemd.so.0")
    except OSError as error:
        raise host_failed(
            f"libsystemd cannot be loaded: {error}.", "Install libsystemd0 (systemd-libs)."
        ) from error


def notify(state: str) -> None:
    """Tells systemd a state such as "READY=1". Does nothing if systemd does not wait for one."""
    if "NOTIFY_SOCKET" not in os.environ:
        return
    function = library().sd_notify
    function.argtypes, function.restype = (ctypes.c_int, ctypes.c_char_p), ctypes.c_int
    if (result := function(0, state.encode())) < 0:
        log.warning("systemd cannot be told %s: %s", state, os.strerror(-result))


def watchdog_seconds() -> float:
    """How long systemd waits for the next "WATCHDOG=1" (sd_watchdog_enabled(3)); 0 if it waits for none."""
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6


async def feed_watchdog() -> None:
    """Tells systemd that the event loop runs, twice as often as systemd demands."""
    while seconds := watchdog_seconds():
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 2)

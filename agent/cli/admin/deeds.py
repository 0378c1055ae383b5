"""The account's database as commands use it, and the audit rows that they write."""

import asyncio
import os
import pwd
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ...audit.chain import Caller, Detail
from ...config import Settings
from ...store.store import Store

T = TypeVar("T")

MAX_SUDO_USER = 64  # characters


def account() -> Caller:
    """Who runs this command: the account of the user id, and in `source` who called sudo, by its word."""
    sudo = "".join(c for c in os.environ.get("SUDO_USER", "")[:MAX_SUDO_USER] if c.isprintable())
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Caller(actor=name, role="account", source=f"sudo of {sudo}" if sudo else "this host")


def in_store(settings: Settings, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """What `work` does with the account's database."""

    async def opened() -> T:
        async with Store.open(settings.database) as store:
            return await work(store)

    return asyncio.run(opened())


def record(settings: Settings, action: str, subject: str = "", /, **details: Detail) -> None:
    """Writes what a command has done. For a deed with no transaction of its own in the store."""
    deed = account().did(action, subject, **details)
    in_store(settings, lambda store: store.audit.append(deed))

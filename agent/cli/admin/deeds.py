"""The audit rows that these commands write: who ran a command, and what it did."""

import asyncio
import os
import pwd

from ...audit.chain import Caller, Deed, Detail
from ...config import Settings
from ...store.store import Store

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


def record(settings: Settings, action: str, subject: str = "", /, **details: Detail) -> None:
    """Writes what a command has done. For a deed with no transaction of its own in the store."""

    async def write(deed: Deed) -> None:
        async with Store.open(settings.database) as store:
            await store.audit.append(deed)

    asyncio.run(write(account().did(action, subject, **details)))

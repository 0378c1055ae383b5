"""Puts a backup in the place of the state: first all of it beside, checked, then by one rename."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from ..audit.chain import Caller
from ..config import Settings, default_state_directory, user_file
from ..errors import host_failed, invalid_request, misconfigured
from ..host.files import alone, sync, write_file
from ..identity import revocations
from ..identity.authority import authorities, authority_id
from ..model.base import format_time, now
from ..model.certificate import Certificate
from ..model.job import Job, JobState, Reason
from ..store.copies import RestoredStore, Resumed, begun_since, close_database, demand_schema, identity_of
from ..store.store import Store
from .archive import CONFIG, STATE, Header, Progress, Reader, damaged
from .making import DATABASE, FOR_THE_TAR, demand_room

# Which of the certificates that are valid in the backup are to be revoked; raises to give up.
Ask = Callable[[Sequence[Certificate]], Iterable[str]]


@dataclass(frozen=True)
class Restored:
    """What a restore has done. `replaced` are paths to which it moved what was there."""

    header: Header
    state: Path
    resumed: Resumed
    revoked: list[Certificate]
    replaced: list[Path]
    kept: bool  # whether this host knew what was revoked


@dataclass(frozen=True)
class Wishes:
    """How a restore is to go; `revoke` serial numbers are revoked in any case, and `ask` for the others."""

    replace: bool
    ask: Ask
    revoke: Sequence[str] = ()
    issued_before: datetime | None = None


def place_of(header: Header, settings: Settings | None) -> Path:
    """The state directory: as this account's configuration says, or else as that in the backup."""
    if settings is not None:
        return settings.state_directory
    if header.state_directory is not None:
        path = Path(header.state_directory)
        if not path.is_absolute() or ".." in path.parts:
            raise damaged("its state directory is no absolute path")
        return path
    return default_state_directory()


async def restore(
    file: BinaryIO, settings: Settings | None, by: Caller, wishes: Wishes, progress: Progress
) -> Restored:
    """Restores a backup. Until every byte of it has been checked, nothing but a temporary directory is made.

    Raises `AgentError`: invalid-request for a damaged one, configuration where a state exists or the schema
    is a later one, host where a process uses the state, storage-full; and what `wishes.ask` raises.
    """
    reader = Reader(file, progress)
    demand_schema(reader.header.db_schema)
    state = place_of(reader.header, settings)
    demand_free(state, replace=wishes.replace)
    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(state.parent):
        for killed in state.parent.glob(f".{state.name}.restoring-*"):  # a restore that was
            shutil.rmtree(killed, ignore_errors=True)
        demand_room(state.parent, reader.header.bytes + 2 * FOR_THE_TAR[0] + reader.header.files * 4096)
        staging = Path(tempfile.mkdtemp(prefix=f".{state.name}.restoring-", dir=state.parent))
        try:
            reader.extract(staging)
            _demand_same_record(staging / STATE / DATABASE, reader.header)
            begun = begun_since(state / DATABASE) if (state / DATABASE).exists() else {}
            restored = await _settle(staging, reader.header, state, begun, by, wishes)
            restored.replaced.extend(_switch(staging, state))
            return restored
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def demand_free(state: Path, *, replace: bool) -> None:
    """Raises `AgentError` where there is a state that is not to be replaced, or one that cannot be moved."""
    if os.path.ismount(state):
        raise misconfigured(
            f"{state} is a mount point, and cannot be replaced as a whole.",
            "Mount its parent instead, or configure a directory below it as state_directory.",
        )
    if not os.path.lexists(state) or not (state.is_symlink() or any(state.iterdir())):
        return
    if not replace:
        raise misconfigured(
            f"{state} exists: this account has a state already.",
            "Use --replace to move it away and restore the backup in its place.",
        )
    if state.is_symlink():
        raise misconfigured(f"{state} is a link.", "Configure the directory itself as state_directory.")
    if (state / DATABASE).exists():
        close_database(state / DATABASE)


def _demand_same_record(database: Path, header: Header) -> None:
    if not database.is_file():
        raise damaged("it has no database")
    identity = identity_of(database)
    if (identity.db_schema, identity.record, identity.head) != (header.db_schema, header.record, header.head):
        raise damaged("its database is another one than it says")


async def _settle(
    staging: Path, header: Header, state: Path, begun: dict[str, int], by: Caller, wishes: Wishes
) -> Restored:
    """Makes the restored database true for this host and moment; what is revoked here stays revoked."""
    pki = staging / STATE / "pki"
    trusted = [authority_id(each) for each in authorities(pki)] if (pki / "ca.crt").exists() else []
    ledger = revocations.path_of(state)
    kept = revocations.read(ledger)
    knows = kept is not None and not kept.authorities.isdisjoint(trusted)
    async with Store.open(staging / STATE / DATABASE) as store:
        chosen = {*wishes.revoke, *(kept.serials if kept else ())}
        known = await store.certificates.all()
        if wishes.issued_before is not None:
            chosen |= {each.serial for each in known if each.issued_at < wishes.issued_before}
        elif not knows:
            moment = now()
            valid = [each for each in known if each.good_at(moment) and each.serial not in chosen]
            chosen |= set(wishes.ask(valid) if valid else ())
        if unknown := sorted(set(wishes.revoke) - {each.serial for each in known}):
            raise invalid_request(f"The backup has no certificate with serial {unknown[0]}.")
        revoked = await store.certificates.revoke(chosen, now(), deed=by.did("revokeCertificate"))
        for withdrawal in kept.withdrawn.values() if kept else ():
            if await store.withdrawals.get(withdrawal.commit) is None:
                deed = by.did("withdrawCommit", withdrawal.commit, reason=withdrawal.reason)
                await store.withdrawals.withdraw(withdrawal, deed=deed)
        resumed = await _resume(store, header, begun, by)
        certificates, withdrawals = await store.certificates.all(), await store.withdrawals.all()
    close_database(staging / STATE / DATABASE)
    # Before the switch: a crash between leaves this host knowing more than it must.
    revocations.keep(ledger, trusted, certificates, withdrawals)
    return Restored(header, state, resumed, revoked, [], knows)


async def _resume(store: Store, header: Header, begun: dict[str, int], by: Caller) -> Resumed:
    details = {"made_at": format_time(header.made_at), "record": header.record, "head": header.head}
    resumed = await RestoredStore(store.database).resume(begun, by, details)
    for job in await store.jobs.active():
        if job.job_id in resumed.begun_since:
            await store.jobs.update(_ended_since(job))
    return resumed


def _ended_since(job: Job) -> Job:
    """A job that waited at the backup and began afterwards: it must not run again unasked."""
    update = {
        "status": JobState.FAILED,
        "reason": Reason.INTERRUPTED,
        "message": "It began after the backup from which the host was restored; it was not run again.",
        "finished_at": max(now(), job.created_at),
        "revision": job.revision + 1,
    }
    return job.model_copy(update=update)


def _switch(staging: Path, state: Path) -> list[Path]:
    """Puts state and configuration in their places; returns where it moved what was there."""
    moved = []
    suffix = f".replaced-{now():%Y%m%dT%H%M%S.%f}"
    demand_free(state, replace=True)  # the agent may have been started meanwhile
    if state.exists() and any(state.iterdir()):
        moved.append(_move(state, state.with_name(state.name + suffix)))
    elif state.exists():
        state.rmdir()
    (staging / STATE).rename(state)
    sync(state.parent)
    source, target = staging / CONFIG, user_file().parent
    for path in sorted(each for each in source.rglob("*") if each.is_file()):
        name = (
            user_file()
            if path.relative_to(source) == Path("config.toml")
            else target / path.relative_to(source)
        )
        data = path.read_bytes()
        if name.exists():
            if name.read_bytes() == data:
                continue
            moved.append(_move(name, name.with_name(name.name + suffix)))
        write_file(name, data, mode=0o644)
    return moved


def _move(path: Path, other: Path) -> Path:
    if os.path.lexists(other):
        raise host_failed(f"{other} exists.", "Move it away first.")
    path.rename(other)
    with suppress(OSError):
        sync(path.parent)
    return other

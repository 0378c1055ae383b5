"""Faults of what the agent stands on: user bus, user manager, journald, disk; and an operator's hand."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from agent.cli.failure import Failure, Refused
from agent.model.paths import JobPaths
from tests.support.small_site import import_image
from tests.support.waiting import run, until

from .audit import Verdict, audit
from .client import Clients, Told, all_of
from .privilege import FaultError, Root
from .report import Made
from .site import SERVICE, SOCKET, USERS, Site

WIDTH = 4  # jobs at a time
PAUSE = 0.4  # seconds between two faults of the same kind
STORAGE_CONF = "CONTAINERS_STORAGE_CONF"  # of containers-storage.conf(5)


async def _under_load(
    site: Site, fault: Callable[[], Awaitable[object]], times: int, *, lossy: bool = False
) -> Verdict:
    """Makes the fault so many times while jobs are submitted, followed and polled to their end."""
    tolds: list[Told] = []
    done = asyncio.Event()

    async def submit(clients: Clients, number: int) -> None:
        while not done.is_set():
            told = Told(USERS[number % len(USERS)], ("short.py", "steady.py", "fail.py")[len(tolds) % 3])
            tolds.append(told)
            await clients.whole_way(told)

    async with Clients.connected(site) as clients:
        async with asyncio.TaskGroup() as group:
            for number in range(WIDTH):
                group.create_task(submit(clients, number))
            for _ in range(times):
                await asyncio.sleep(PAUSE)
                await fault()
            await asyncio.sleep(PAUSE)
            done.set()
        await all_of(map(clients.read_log, tolds), at_a_time=WIDTH)
    return await audit(site.state, tolds, lossy=lossy)


async def _same_agent(site: Site, verdict: Verdict, restarts: str) -> None:
    """Bus loss and daemon-reexec are survived without a restart."""
    now = await site.shown(SERVICE, "NRestarts")
    if now != restarts:
        verdict.violated(5, f"the agent was restarted: {restarts} times before, {now} now")


async def bus_restarted(site: Site, times: int) -> AsyncIterator[Made]:
    """`systemctl --user restart dbus.service`: the manager, the agent and Podman lose the bus."""
    before = await site.shown(SERVICE, "NRestarts")

    async def restart() -> None:
        # More often than its limit on starts allows.
        await run("systemctl", "--user", "reset-failed", "dbus.service")
        await run("systemctl", "--user", "restart", "dbus.service")

    verdict = await _under_load(site, restart, times)
    await _same_agent(site, verdict, before)
    yield Made("user bus restarted", times, verdict)


async def manager_reexecuted(site: Site, times: int) -> AsyncIterator[Made]:
    """`systemctl --user daemon-reexec` under load."""
    before = await site.shown(SERVICE, "NRestarts")
    verdict = await _under_load(site, lambda: run("systemctl", "--user", "daemon-reexec"), times)
    await _same_agent(site, verdict, before)
    yield Made("daemon-reexec under load", times, verdict)


async def stopped_by_hand(site: Site, times: int) -> AsyncIterator[Made]:
    """`systemctl --user stop ml-job@…` by an operator, while the agent is there."""
    tolds = [Told(USERS[0], "long.py", stopped=True) for _ in range(times)]

    async def stop(clients: Clients, told: Told) -> None:
        await clients.submit(told)

        async def running() -> bool:
            return site.nonce(told.job_id).exists()

        await until(running, seconds=60)
        await run("systemctl", "--user", "stop", f"ml-job@{told.job_id}.service")
        await clients.follow(told)
        await clients.wait(told)
        await clients.read_log(told)

    async with Clients.connected(site) as clients:
        await all_of((stop(clients, told) for told in tolds), at_a_time=WIDTH)
    yield Made("systemctl stop ml-job@…", times, await audit(site.state, tolds))


async def journald_killed(site: Site, root: Root, times: int) -> AsyncIterator[Made]:
    """SIGKILL of journald while jobs print."""

    async def kill() -> None:
        await root.run("systemctl", "reset-failed", "systemd-journald.service")
        await root.run("systemctl", "kill", "--signal=KILL", "systemd-journald.service")

    verdict = await _under_load(site, kill, times, lossy=True)
    await root.run("systemctl", "reset-failed", "systemd-journald.service")
    yield Made("SIGKILL of journald", times, verdict)


async def journal_rotated(site: Site, root: Root, times: int) -> AsyncIterator[Made]:
    """Rotation, and a vacuum of every archived file, while jobs print."""

    async def rotate() -> None:
        await root.run("journalctl", "--rotate", "--vacuum-files=1")

    yield Made("journal rotated and vacuumed", times, await _under_load(site, rotate, times, lossy=True))


async def log_forgotten(site: Site, root: Root, times: int) -> AsyncIterator[Made]:
    """The journal loses all that it has of jobs that have ended, before their logs are kept."""
    verdict = Verdict()
    async with Clients.connected(site) as clients:
        for _ in range(times):
            tolds = [Told(user, "short.py") for user in USERS]
            await all_of(map(clients.submit, tolds), at_a_time=WIDTH)
            await all_of(map(clients.wait, tolds), at_a_time=WIDTH)
            await root.run("journalctl", "--rotate")
            await root.run("journalctl", "--vacuum-size=1")
            await until(partial(_logs_kept, site, tolds), seconds=60)
            await all_of(map(clients.follow, tolds), at_a_time=WIDTH)
            if all(told.lines for told in tolds):
                raise FaultError("every log was kept before the journal had lost it")
            verdict.add(await audit(site.state, tolds, lossy=True))
    yield Made("journal lost before a log is kept", times, verdict)


async def _logs_kept(site: Site, tolds: list[Told]) -> bool:
    paths = [JobPaths(site.state / "jobs", site.state, told.job_id) for told in tolds]
    return all(each.log.exists() for each in paths)


async def disk_full(site: Site, root: Root, times: int) -> AsyncIterator[Made]:
    """The state's file system is full, which Podman's storage is on, too, while jobs run.

    No new job, right ends, recovery without help: what Podman could not remove then is gone afterwards.
    """
    verdict = Verdict()
    async with _small_state(site, root):
        for _ in range(times):
            verdict.add(await _fill_once(site))
    yield Made("state file system full", times, verdict)


@contextlib.asynccontextmanager
async def _small_state(site: Site, root: Root) -> AsyncIterator[None]:
    """The state directory is a file system of 32 MB for as long as the body runs, with Podman's storage."""
    await run("systemctl", "--user", "stop", SOCKET, SERVICE)
    kept = site.base / "kept"
    site.state.rename(kept)
    site.state.mkdir(mode=0o700)
    await root.run(
        "mount", "-t", "tmpfs", "-o", "size=32m,mode=0700,uid=1000,gid=1000", "tmpfs", str(site.state)
    )
    try:
        await run("cp", "--archive", f"{kept}/.", str(site.state))
        async with _podman_below(site):
            await run("systemctl", "--user", "start", SOCKET)
            yield
            await run("systemctl", "--user", "stop", SOCKET, SERVICE)
    finally:
        await run("systemctl", "--user", "stop", SOCKET, SERVICE)
        # Podman's namespace, which stays, has a part of it mounted.
        await root.run("umount", "--lazy", str(site.state))


@contextlib.asynccontextmanager
async def _podman_below(site: Site) -> AsyncIterator[None]:
    """Podman's storage is below the state directory, for all of the account's units and for this process."""
    storage, config = site.state / "podman", site.base / "storage.conf"
    # The key of an account that is not root; the other one is for root alone.
    config.write_text(f'[storage]\ndriver = "overlay"\nrootless_storage_path = "{storage}"\n')
    os.environ[STORAGE_CONF] = str(config)
    await run("systemctl", "--user", "set-environment", f"{STORAGE_CONF}={config}")
    try:
        await run("systemctl", "--user", "stop", "podman.service")
        await asyncio.to_thread(import_image)
        yield
    finally:
        await run("podman", "rm", "--all", "--force", "--time=0")
        del os.environ[STORAGE_CONF]
        await run("systemctl", "--user", "unset-environment", STORAGE_CONF)
        await run("systemctl", "--user", "stop", "podman.service")


async def _fill_once(site: Site) -> Verdict:
    running = [Told(USERS[0], "steady.py") for _ in range(3)]
    filler = site.state / "filler"
    async with Clients.connected(site) as clients:
        await all_of(map(clients.submit, running), at_a_time=3)

        async def begun() -> bool:
            return all(site.nonce(told.job_id).exists() for told in running)

        await until(begun, seconds=60)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        refusals = await _refusals(clients)
        # The jobs end while there is no room for their exit records.
        await asyncio.sleep(4)
        filler.unlink()
        later = Told(USERS[1], "short.py")
        await all_of(map(clients.whole_way, [later]), at_a_time=1)
        await all_of(map(clients.wait, running), at_a_time=3)
        await until(_no_container, seconds=90)
    verdict = await audit(site.state, [*running, later])
    if refusals != {507}:
        verdict.violated(1, f"with a full disk, POST was answered with {refusals or 'nothing'}")
    return verdict


async def runtime_directory_full(site: Site, root: Root, times: int) -> AsyncIterator[Made]:
    """The runtime directory has no byte, or no inode, left when jobs end.

    conmon and Podman record there how a container ended. A job then has its own end, or is interrupted.
    """
    for what in ("size", "nr_inodes"):
        verdict = Verdict()
        for _ in range(times):
            verdict.add(await _end_without_room(site, root, what))
        yield Made(f"runtime directory full ({what})", times, verdict)


async def _end_without_room(site: Site, root: Root, what: str) -> Verdict:
    running = [Told(USERS[0], script) for script in ("steady.py", "late.py", "late.py")]
    async with Clients.connected(site) as clients:
        await all_of(map(clients.submit, running), at_a_time=3)

        async def begun() -> bool:
            return all(site.nonce(told.job_id).exists() for told in running)

        await until(begun, seconds=60)
        async with _no_room(root, what):
            await all_of(map(clients.wait, running), at_a_time=3)
        later = Told(USERS[1], "short.py")
        await all_of(map(clients.whole_way, [later]), at_a_time=1)
        await until(_no_container, seconds=90)
    verdict = await audit(site.state, running, interrupted=True)
    verdict.add(await audit(site.state, [later]))
    return verdict


@contextlib.asynccontextmanager
async def _no_room(root: Root, what: str) -> AsyncIterator[None]:
    """The file system of the runtime directory is as large as what is in it, as tmpfs(5) counts."""
    place = os.environ["XDG_RUNTIME_DIR"]
    options = (await run("findmnt", "--noheadings", "--output=OPTIONS", place)).split(",")
    before = next(each for each in options if each.startswith(f"{what}="))

    async def shrunk() -> bool:
        state = os.statvfs(place)
        used = (state.f_blocks - state.f_bfree) * state.f_frsize, state.f_files - state.f_ffree
        with contextlib.suppress(FaultError):  # something was made meanwhile
            await root.run("mount", "-o", f"remount,{what}={used[what == 'nr_inodes']}", place)
            return True
        return False

    await until(shrunk)
    try:
        yield
    finally:
        await root.run("mount", "-o", f"remount,{before}", place)


async def _no_container() -> bool:
    return not await run("podman", "ps", "--all", "--quiet", "--filter=name=^ml-job-[a-z2-7]{12}$")


async def _refusals(clients: Clients) -> set[int]:
    """The statuses of submissions while there is no room."""
    found = set()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            await clients.submit_once(Told(USERS[0], "short.py"))
        except Refused as error:
            found.add(error.status)
        except Failure as error:
            raise FaultError(f"the agent does not answer while the disk is full: {error}") from error
        else:
            found.add(202)
    return found

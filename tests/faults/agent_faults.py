"""Faults of the agent itself: killed at each step, killed at random, restarted, gone because it was idle."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator

import aiohttp

from tests.support.waiting import run

from .audit import Verdict, audit
from .client import Clients, Told, all_of
from .killing import RETRY_STEPS, STEPS
from .privilege import FaultError
from .report import Made
from .site import SERVICE, USERS, Site

SHORT = ("short.py", "fail.py")
LOAD_CLIENTS = 4
EARLY = 0.25  # of the random kills need not wait until the agent is up
KILL_PAUSE = (0.2, 2.5)  # seconds between two random kills; a start takes about one


async def killed_at_each_step(site: Site, times: int) -> AsyncIterator[Made]:
    """kill -9 at every named step between receiving a request and publishing artifacts."""
    async with Clients.connected(site) as clients:
        for step in STEPS:
            verdict = Verdict()
            for number in range(times):
                told = Told(USERS[0], SHORT[number % len(SHORT)])
                verdict.add(await _kill_once(site, clients, step, told))
            yield Made(f"kill -9: {step}", times, verdict)
        for step in RETRY_STEPS:
            verdict = Verdict()
            for _ in range(times):
                told = Told(USERS[0], "fail.py", attempts=2)
                verdict.add(await _kill_once(site, clients, step, told))
                if len(told.ended["attempts"]) != told.attempts:
                    verdict.violated(1, f"{told.job_id}: was not tried again")
            yield Made(f"kill -9: {step}", times, verdict)


async def _kill_once(site: Site, clients: Clients, step: str, told: Told) -> Verdict:
    await site.forgive()
    site.set_trap(step)
    await clients.whole_way(told)
    if site.trap_is_set:
        raise FaultError(f"the agent never came to the step {step!r}")
    # The step may be behind the answer that ended the wait: a repeated request must still find the job.
    await clients.submit(told)
    await clients.read_log(told)
    return await audit(site.state, [told])


async def killed_at_random(site: Site, *, kills: int, jobs: int) -> AsyncIterator[Made]:
    """Random kills while clients submit and follow, until there were enough of both."""
    tolds: list[Told] = []
    made = 0

    async def submit(clients: Clients) -> None:
        while made < kills or len(tolds) < jobs:
            script = ("short.py", "fail.py", "steady.py")[len(tolds) % 3]
            told = Told(USERS[len(tolds) % len(USERS)], script, attempts=2 if script == "fail.py" else 1)
            tolds.append(told)
            await clients.whole_way(told)

    async with Clients.connected(site) as clients:
        async with asyncio.TaskGroup() as group:
            load = [group.create_task(submit(clients)) for _ in range(LOAD_CLIENTS)]
            while not all(task.done() for task in load):
                await asyncio.sleep(random.uniform(*KILL_PAUSE))
                # One in four may meet an agent that is still starting. On a busy machine that takes longer
                # than the pause, and one that is never let up would help nobody to the end of a job.
                if random.random() > EARLY:
                    await site.wait_until_up(lambda: all(task.done() for task in load))
                await site.forgive()
                made += await site.kill(signal.SIGKILL)
        await all_of(map(clients.read_log, tolds), at_a_time=LOAD_CLIENTS)
        verdict = await audit(site.state, tolds)
        if clients.refused:
            verdict.violated(1, f"{clients.refused} connections were refused")
    yield Made("kill -9 at random", made, verdict)


async def restarted_under_load(site: Site, times: int) -> AsyncIterator[Made]:
    """The agent is restarted while clients connect anew for each request: no connection may fail."""
    tolds = [Told(USERS[0], "steady.py") for _ in range(2)]
    done = asyncio.Event()
    failures: list[str] = []

    async def load(session: aiohttp.ClientSession, user: str) -> None:
        url = site.profile(user).server + "/jobs?limit=1"
        while not done.is_set():
            try:
                async with session.get(url) as response:
                    if response.status != 200:
                        failures.append(f"status {response.status}")
            except aiohttp.ClientError as error:
                failures.append(f"{type(error).__name__}: {error}")

    async with Clients.connected(site) as clients, asyncio.TaskGroup() as group:
        connector = aiohttp.TCPConnector(ssl=site.profile(USERS[0]).tls_context(), force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            loads = [group.create_task(load(session, USERS[0])) for _ in range(LOAD_CLIENTS)]
            jobs = group.create_task(all_of(map(clients.whole_way, tolds), at_a_time=2))
            for _ in range(times):
                await run("systemctl", "--user", "restart", SERVICE)
            await jobs
            done.set()
            await asyncio.gather(*loads)
    verdict = await audit(site.state, tolds)
    for failure in failures:
        verdict.violated(1, f"a connection failed: {failure}")
    yield Made("restart under load", times, verdict)


async def left_when_idle(site: Site, times: int) -> AsyncIterator[Made]:
    """The agent leaves when nobody needs it; the next request is answered."""
    verdict = Verdict()
    for _ in range(times):
        async with Clients.connected(site) as clients:
            told = await clients.whole_way(Told(USERS[0], "short.py"))
        await site.wait_until_gone()
        if await site.main_pid():
            verdict.violated(5, "the agent is idle and still there")
        async with Clients.connected(site) as clients:
            await clients.read_log(told)
            if clients.refused:
                verdict.violated(1, "the first connection after the agent had left was refused")
        verdict.add(await audit(site.state, [told]))
    yield Made("idle exit, next request", times, verdict)

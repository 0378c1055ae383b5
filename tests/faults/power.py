"""The power is cut while clients submit: what is done before it, and what must be true after the next boot.

The cut itself is made from outside (`tests/faults/machine`). Nothing inside remembers what clients were told:
each answer goes to standard output at once, and comes back on standard input after the boot.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict

from tests.support.waiting import until

from .audit import TERMINAL, Verdict, audit, read_record
from .client import Clients, Told, all_of
from .privilege import Root
from .report import Made
from .site import USERS, Site

NAME = "power cut while submitting"
PAUSE = 0.5  # seconds between two submissions of a client
SCRIPTS = ("short.py", "steady.py", "fail.py")
CONSEQUENCES_SECONDS = 400  # for every job to end after the boot, without anybody asking


async def before(site: Site, root: Root) -> None:
    """Submits until the power is cut, and prints each job that was accepted."""
    # What was set up is not to be lost; what jobs leave is nobody's to sync but theirs and the agent's.
    await root.run("sync")

    async def submit(clients: Clients, user: str) -> None:
        number = 0
        while True:
            # Every other one asks for a second attempt.
            told = Told(user, SCRIPTS[number % len(SCRIPTS)], attempts=1 + number % 2)
            await clients.submit(told)
            print(json.dumps(asdict(told)), flush=True)
            number += 1
            await asyncio.sleep(PAUSE)

    async with Clients.connected(site) as clients, asyncio.TaskGroup() as group:
        for user in USERS:
            group.create_task(submit(clients, user))


async def after(site: Site) -> AsyncIterator[Made]:
    """Nobody has asked anything since the boot: the agent finds what is left to do by itself."""
    tolds = [Told(**json.loads(line)) for line in sys.stdin if line.endswith("\n")]
    verdict = Verdict()

    async def ended() -> bool:
        jobs, _ = read_record(site.state)
        return all(jobs[told.job_id]["status"] in TERMINAL for told in tolds if told.job_id in jobs)

    try:
        await until(ended, seconds=CONSEQUENCES_SECONDS)
    except TimeoutError:
        verdict.violated(1, "after the boot, jobs wait for somebody to ask for them")
    known, _ = read_record(site.state)
    found = [told for told in tolds if told.job_id in known]
    async with Clients.connected(site) as clients:
        # Who repeats a request that was answered gets the job that it made.
        await all_of(map(clients.submit, found), at_a_time=4)
        await all_of(map(clients.wait, found), at_a_time=4)
        await all_of(map(clients.follow, found), at_a_time=4)
        await all_of(map(clients.read_log, found), at_a_time=4)
    # journald had not yet written all that it was told.
    verdict.add(await audit(site.state, tolds, interrupted=True, lossy=True))
    states = [known[told.job_id]["status"] for told in found]
    print(f"    {len(tolds)} accepted; {', '.join(f'{states.count(each)} {each}' for each in TERMINAL)}")
    yield Made(NAME, 1, verdict)

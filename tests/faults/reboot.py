"""The host is rebooted with jobs waiting and running, and misses the time of a schedule.

What is done before it, and what must be true after it.

The reboot itself is made from outside (`tests/faults/faults`); what the clients were told is kept in a file.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import timedelta

from agent.cli.job.http import Api
from agent.model.base import now
from tests.support.waiting import run, until

from .audit import TERMINAL, Verdict, audit, read_record
from .client import Clients, Told, all_of
from .privilege import FaultError
from .report import Made
from .site import MAX_RUNNING, USERS, Site

NAME = "host rebooted"
AHEAD = timedelta(seconds=5)  # until the time of the schedule: less than a reboot takes
CONSEQUENCES_SECONDS = 90  # for every job to end after the boot, without anybody asking


async def before(site: Site) -> None:
    """Leaves jobs running, some about to end, and more waiting than can begin before the reboot."""
    # Half of those that are to run ask for a second attempt.
    tolds = [Told(USERS[n % 2], "steady.py", attempts=1 + (n % 4 < 2)) for n in range(4 * MAX_RUNNING)]
    async with Clients.connected(site) as clients:
        await all_of(map(clients.submit, tolds), at_a_time=4)

        async def running() -> bool:
            jobs = [await clients.job(told) for told in tolds]
            return any(job["status"] == "RUNNING" and job["max_attempts"] > 1 for job in jobs)

        await until(running, seconds=60)
        for told in tolds:
            told.waiting = (await clients.job(told))["status"] == "PENDING"
    (site.base / "told.json").write_text(json.dumps([asdict(told) for told in tolds]))
    body = {
        "name": "missed",
        "calendar": f"{now() + AHEAD:%Y-%m-%d %H:%M:%S}",
        "job": {"script_name": "short.py"},
    }
    async with Api(site.profile(USERS[0])) as api:
        (site.base / "schedule.json").write_text(json.dumps(await api.post("/schedules", body, key="missed")))


async def after(site: Site) -> AsyncIterator[Made]:
    """Nobody has asked anything since the boot: the agent finds what is left to do by itself."""
    tolds = [Told(**told) for told in json.loads((site.base / "told.json").read_text())]
    verdict = Verdict()

    async def ended() -> bool:
        jobs, _ = read_record(site.state)
        return all(jobs[told.job_id]["status"] in TERMINAL for told in tolds)

    try:
        await until(ended, seconds=CONSEQUENCES_SECONDS)
    except TimeoutError:
        verdict.violated(1, "after the boot, jobs wait for somebody to ask for them")
    async with Clients.connected(site) as clients:
        await all_of(map(clients.follow, tolds), at_a_time=4)
        await all_of(map(clients.wait, tolds), at_a_time=4)
        await all_of(map(clients.read_log, tolds), at_a_time=4)
    for told in tolds:
        told.waiting = told.waiting and not await _begun_before_boot(told)
        if told.waiting and told.ended["status"] != "COMPLETED":
            verdict.violated(1, f"{told.job_id} waited, and is {told.ended['status']} after the boot")
        if told.attempts > 1 and told.ended["status"] != "COMPLETED":
            verdict.violated(1, f"{told.job_id} asked for another attempt, and is {told.ended['status']}")
    await _judge_schedule(site, verdict)
    if not any(told.waiting for told in tolds):
        raise FaultError("the reboot met no job that waited")
    if not any(len(told.ended["attempts"]) > 1 for told in tolds):
        raise FaultError("the reboot met no job that was to be tried again")
    verdict.add(await audit(site.state, tolds, interrupted=True))
    yield Made(NAME, 1, verdict)


async def _judge_schedule(site: Site, verdict: Verdict) -> None:
    """Its time, which the host missed, has one job; nobody has asked for it."""
    schedule = json.loads((site.base / "schedule.json").read_text())
    jobs, _ = read_record(site.state)
    made = [job for job in jobs.values() if job.get("schedule") == schedule["schedule_id"]]
    if [job["slot"] for job in made] != schedule["next"]:
        verdict.violated(2, f"the schedule with the time {schedule['next']} has the jobs {made}")
    verdict.jobs += len(made)
    # Its timer would outlive the site.
    async with Api(site.profile(USERS[0])) as api:
        await api.post(f"/schedules/{schedule['schedule_id']}", method="DELETE")


async def _begun_before_boot(told: Told) -> bool:
    """Whether a job that waited has begun after all, since others had ended before the reboot."""
    unit = f"--unit=ml-job@{told.job_id}.service"
    return bool(await run("journalctl", "--user", "--quiet", "--boot=-1", "--lines=1", unit))

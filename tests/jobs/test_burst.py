"""Three users' jobs at once, on real systemd and Podman: never over the capacity, all end, shares are equal.

`BURST_JOBS=500 pytest tests/jobs/test_burst.py -s` is the full form; the suite runs a short one.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import Settings
from agent.model.job import Job, JobRequest, JobState
from agent.model.paths import ENDED, STARTED
from agent.service import JobParts
from tests.support.job_host import real_parts
from tests.support.job_scene import end_of
from tests.support.small_site import import_image, make_repository, make_settings
from tests.support.waiting import run

JOBS = int(os.environ.get("BURST_JOBS", "60"))
USERS = ("alice", "bob", "carol")
SLOTS = 4
SAMPLE_SECONDS = 0.05
BUSY = ("activating", "active", "deactivating")


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    await asyncio.to_thread(import_image)
    make_repository(tmp_path / "repository")
    made = make_settings(tmp_path, runtime=Path(os.environ["XDG_RUNTIME_DIR"]), max_running=SLOTS)
    yield made
    for directory in (made.state_directory / "jobs").iterdir():
        made.paths_of(directory.name).unit_file.unlink(missing_ok=True)


@pytest.mark.host
@pytest.mark.timeout(60 + 3 * JOBS)
async def test_a_burst_of_three_users_shares_the_host(settings: Settings) -> None:
    async with real_parts(settings) as jobs:
        submissions = (submit(jobs, USERS[number % len(USERS)]) for number in range(JOBS))
        samples: list[int] = []
        sampler = asyncio.create_task(sample(samples))
        try:
            submitted = await asyncio.gather(*submissions)
            ended = await asyncio.gather(*(end_of(jobs, job, seconds=60 + 3 * JOBS) for job in submitted))
        finally:
            sampler.cancel()

    assert {job.status for job in ended} == {JobState.COMPLETED}
    together, shares = at_once(settings, ended), starts_while_all_wait(settings, ended)
    print(f"\n{JOBS} jobs, {SLOTS} slots: at most {max(samples)} units in {len(samples)} samples,")
    print(f"at most {together} containers by the units' marks; started while all wait: {dict(shares)}")
    assert max(samples) <= SLOTS
    assert together <= SLOTS
    mean = sum(shares.values()) / len(USERS)
    for user in USERS:
        assert abs(shares[user] - mean) <= max(0.1 * mean, 1.5), shares


async def submit(jobs: JobParts, user: str) -> Job:
    return await jobs.submission.submit(user, JobRequest(script_name="succeed.py"))


async def sample(samples: list[int]) -> None:
    """Counts, as systemd sees it, the jobs' units that have a process or are about to."""
    states = ",".join(BUSY)
    while True:
        listed = await run(
            "systemctl", "--user", "list-units", f"--state={states}", "--plain", "--no-legend", "ml-job@*"
        )
        samples.append(len(listed.splitlines()))
        await asyncio.sleep(SAMPLE_SECONDS)


def mark(settings: Settings, job: Job, name: str) -> float:
    """When the job's unit made the mark."""
    return settings.paths_of(job.job_id).attempt(1).mark(name).stat().st_mtime


def at_once(settings: Settings, ended: list[Job]) -> int:
    """The most jobs whose units say that they had started and not ended."""
    events = [(mark(settings, job, STARTED), 1) for job in ended]
    events += [(mark(settings, job, ENDED), -1) for job in ended]
    running, most = 0, 0
    for _, change in sorted(events):
        running += change
        most = max(most, running)
    return most


def starts_while_all_wait(settings: Settings, ended: list[Job]) -> Counter[str]:
    """How many jobs of each user started until the first user had none left."""
    left, started = Counter(job.owner for job in ended), Counter[str]()
    for _, owner in sorted((mark(settings, job, STARTED), job.owner) for job in ended):
        left[owner] -= 1
        started[owner] += 1
        if not left[owner]:
            break
    return started

"""A sweep delays others no longer than plain jobs do."""

from agent.model.job import Job, JobRequest
from agent.service import JobParts
from tests.support.job_scene import submit as submit_job
from tests.support.small_site import with_jobs
from tests.support.sweep_scene import SweepScene, submit
from tests.support.waiting import until

TEN = 10


async def starts_before_bob(scene: SweepScene, jobs: JobParts, first: Job) -> int:
    """How many jobs of alice's start after the first one has ended and before bob's, which comes last."""
    bob = await jobs.submission.submit("bob", JobRequest(script_name="succeed.py"))
    scene.scene.ends(jobs, first)
    scene.ends = lambda _: "success exited 0"
    await until(lambda: bob.unit in scene.scene.units.started)
    return scene.scene.units.started.index(bob.unit) - 1


async def test_another_users_job_waits_no_longer_than_with_ten_plain_jobs(scene: SweepScene) -> None:
    """One place: by fair share, bob's single job is next, whoever has how many waiting."""
    scene.scene.settings = with_jobs(scene.scene.settings, max_running=1)
    scene.ends = lambda _: None
    async with scene.driving() as jobs:
        first = await submit_job(jobs)
        await until(lambda: first.unit in scene.scene.units.started)
        for _ in range(TEN - 1):
            await submit_job(jobs)
        plain = await starts_before_bob(scene, jobs, first)
        await until(lambda: jobs.registry.idle)

    scene.scene.units.started.clear()
    scene.ends = lambda _: None
    async with scene.driving() as jobs:
        sweep = await submit(jobs, trials=1000, at_once=TEN)

        async def full() -> bool:
            return len(jobs.registry.all_active()) == TEN and len(scene.scene.units.started) == 1

        await until(full)
        (running,) = (job for job in await unfinished(jobs) if job.unit in scene.scene.units.started)
        assert (await starts_before_bob(scene, jobs, running)) <= plain
        known = await jobs.sweeps.get(sweep.sweep_id)
        assert known.unfinished <= TEN


async def unfinished(jobs: JobParts) -> list[Job]:
    """The jobs that have not ended."""
    return [active.job for active in jobs.registry.all_active()]

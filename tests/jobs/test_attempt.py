"""The files of an attempt."""

from agent.model.paths import CLAIMED, ENDED, STARTED
from tests.support.job_scene import INVOCATION, Scene, driving, end_of


async def test_the_claim_of_an_attempt_that_is_over_stays_on_disk_and_not_in_memory(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.begun(jobs)
        for mark in (CLAIMED, STARTED):
            scene.mark(job, mark)
        scene.mark(job, ENDED, f"success exited 0 {INVOCATION}")
        jobs.reconciler.look_at(job.unit)
        await end_of(jobs, job)
    claimed = scene.attempt(job).mark(CLAIMED)
    assert claimed.is_file()
    assert not claimed.is_symlink()
    assert list((scene.settings.runtime_directory / "ml-agent/claims").iterdir()) == []

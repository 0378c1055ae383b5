"""What of a request reaches a job, and what reaches its unit."""

import json
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from agent.model.job import Job
from agent.model.paths import AttemptPaths
from agent.runtime.unit import JobUnit
from agent.service import JobParts

LAUNCHER = Path(__file__).parents[2] / "images/ml-runner/launch.py"
_spec = spec_from_file_location("launch", LAUNCHER)
assert _spec is not None
assert _spec.loader is not None
launch = module_from_spec(_spec)
_spec.loader.exec_module(launch)


@dataclass(frozen=True)
class Received:
    """What the image's launcher gives to the script, and what the agent gives to the Quadlet generator."""

    script: str
    variables: dict[bytes, bytes]
    plan: JobUnit

    @property
    def plan_without_tokens(self) -> JobUnit:
        """The plan, but for what the agent made for this job alone: equal plans make equal units."""
        return replace(self.plan, job_id="", attempt=AttemptPaths(Path(), Path(), ""))


async def received(jobs: JobParts, answer: dict[str, Any]) -> Received:
    """Lays an accepted job out as if it was its turn, and reads it with the launcher's own code."""
    job = Job.model_validate(answer)
    plan = await jobs.preparation.prepare(job)
    text = plan.attempt.description.read_text("utf-8")
    script, variables = launch.read(json.loads(text))
    return Received(script, variables, plan)


def without_tokens(unit: str, plan: JobUnit) -> list[str]:
    """The lines of a compiled unit with the job's own tokens taken out; the command's words in their order.

    Quadlet writes some options in another order each time.
    """
    for token in (plan.attempt.claim, str(plan.attempt.directory)):
        assert plan.job_id in token
        assert token in unit
        unit = unit.replace(token, "TOKEN")
    # The rest of the unit says %i where it means the job.
    assert plan.job_id not in unit
    lines = unit.splitlines()
    return [" ".join(sorted(line.split(" "))) if line.startswith("ExecStart=") else line for line in lines]

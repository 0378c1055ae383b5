"""`ml-agent serve` with a trap at each step of a job's way: production has no seam for it.

Run as the service's program in the place of ml-agent. When the file `FAULT_FILE` names a step, the agent
removes the file and dies of SIGKILL as soon as it comes there.
"""

import functools
import inspect
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agent.jobs.attempt
import agent.jobs.results
from agent.cli.admin.main import app
from agent.host.systemd import Units
from agent.jobs.submission import Submission
from agent.model.job import Job, JobState
from agent.runtime.quadlet import Compiler
from agent.store.jobs import JobStore

FILE = "FAULT_FILE"


@dataclass(frozen=True)
class Step:
    """Before or after a call of `owner.function`, where it is about a job in one of `states`."""

    owner: Any
    function: str
    after: bool = False
    states: tuple[JobState, ...] = ()


ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)

STEPS = {
    "request received": Step(Submission, "submit"),
    "request checked": Step(JobStore, "add"),
    "job committed": Step(JobStore, "add", after=True),
    "answer ready": Step(Submission, "submit", after=True),
    "turn has come": Step(JobStore, "update", states=(JobState.CREATED,)),
    "start committed": Step(JobStore, "update", after=True, states=(JobState.CREATED,)),
    "input written": Step(Compiler, "compile"),
    "unit compiled": Step(Compiler, "compile", after=True),
    "unit written": Step(Units, "start"),
    "start asked": Step(Units, "start", after=True),
    "running committed": Step(JobStore, "update", after=True, states=(JobState.RUNNING,)),
    "record found": Step(agent.jobs.attempt, "read_record", after=True),
    "publishing": Step(agent.jobs.results, "manifest"),
    "published": Step(agent.jobs.results, "manifest", after=True),
    "end committed": Step(JobStore, "update", after=True, states=ENDED),
}


# Those of a job that is tried again, between its two attempts.
RETRY_STEPS = {
    "attempt ended": Step(JobStore, "update", states=(JobState.PENDING,)),
    "retry committed": Step(JobStore, "update", after=True, states=(JobState.PENDING,)),
    "unit written anew": Step(Units, "forget"),
    "old unit forgotten": Step(Units, "forget", after=True),
}


def trap(name: str, step: Step) -> None:
    """Puts the trap around the function."""
    function: Callable[..., Any] = getattr(step.owner, step.function)

    def concerns(arguments: tuple[Any, ...], result: Any) -> bool:
        if not step.states:
            return not step.after or result is not None or function.__name__ in ("start", "forget")
        return any(isinstance(each, Job) and each.status in step.states for each in arguments)

    def come(arguments: tuple[Any, ...], result: Any) -> None:
        if concerns(arguments, result):
            _die_at(name)

    @functools.wraps(function)
    async def asynchronous(*arguments: Any, **named: Any) -> Any:
        if not step.after:
            come(arguments, None)
        result = await function(*arguments, **named)
        if step.after:
            come(arguments, result)
        return result

    @functools.wraps(function)
    def synchronous(*arguments: Any, **named: Any) -> Any:
        if not step.after:
            come(arguments, None)
        result = function(*arguments, **named)
        if step.after:
            come(arguments, result)
        return result

    setattr(step.owner, step.function, asynchronous if inspect.iscoroutinefunction(function) else synchronous)


def _die_at(name: str) -> None:
    file = Path(os.environ[FILE])
    try:
        wanted = file.read_text("utf-8")
    except FileNotFoundError:
        return
    if wanted == name:
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    for name, step in (STEPS | RETRY_STEPS).items():
        trap(name, step)
    app()

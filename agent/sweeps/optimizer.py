"""Asks Optuna, which runs in a process of its own (`study.py`) for as long as a sweep needs it."""

import asyncio
import contextlib
import importlib.util
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..host.tasks import finish
from ..model.job import JobState, Reason
from ..model.sweep import Dimension, Strategy, Sweep, TrialResult
from ..store.sweeps import Asked, Step
from .space import count_points, grid_value

PROGRAM = Path(__file__).with_name("study.py")
ANSWER_SECONDS = 300.0  # to take up a thousand trials and suggest another, on a busy host
MAX_ANSWER = 2**20  # bytes

Points = Sequence[tuple[int, float]]


class StrategyError(Exception):
    """There is no suggestion; the message says why."""


def is_installed() -> bool:
    """Whether Optuna is, in the agent's own environment."""
    return importlib.util.find_spec("optuna") is not None


def is_needed(sweep: Sweep) -> bool:
    """Whether a sweep needs Optuna: a plain grid does not."""
    return sweep.strategy is not Strategy.GRID or sweep.pruner is not None


class Optimizer:
    """Answers for all sweeps, one question at a time, from what `steps_of` has after so many steps."""

    def __init__(self, steps_of: Callable[[str, int], Awaitable[list[Step]]]) -> None:
        self._steps_of = steps_of
        self._process: Process | None = None
        self._taken: dict[str, int] = {}  # how many steps of each sweep the process has
        self._lock = asyncio.Lock()

    async def ask(self, sweep: Sweep) -> dict[str, str]:
        """The hyperparameters of the next trial. Raises `StrategyError`.

        The caller records them before it asks again, or has the sweep forgotten.
        """
        async with self._lock:
            found: dict[str, str] = (await self._answer(sweep, {"ask": True}))["hyperparameters"]
            self._taken[sweep.sweep_id] += 1
            return found

    async def to_prune(self, sweep: Sweep, live: Mapping[int, Points]) -> list[int]:
        """Those of the running trials that are not worth going on, by their points so far."""
        async with self._lock:
            pruned: list[int] = (await self._answer(sweep, {"live": dict(live)}))["prune"]
            return pruned

    async def forget(self, sweep_id: str) -> None:
        """Gives back what the sweep takes; the process ends with the last one."""
        async with self._lock:
            if self._taken.pop(sweep_id, None) is None:
                return
            if not self._taken:
                await self._end()
                return
            with contextlib.suppress(StrategyError):
                await self._exchange({"sweep": sweep_id, "forget": True})

    async def close(self) -> None:
        """Ends the process."""
        async with self._lock:
            await self._end()

    async def _answer(self, sweep: Sweep, question: dict[str, Any]) -> dict[str, Any]:
        if self._process is None or self._process.returncode is not None:
            await self._end()
        taken = self._taken.get(sweep.sweep_id)
        steps = [_step(step) for step in await self._steps_of(sweep.sweep_id, taken or 0)]
        request = {"sweep": sweep.sweep_id, "steps": steps, **question}
        if taken is None:
            request["settings"] = _settings(sweep)
        answer = await self._exchange(request)
        self._taken[sweep.sweep_id] = (taken or 0) + len(steps)
        return answer

    async def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        """Sends a request. The process ends with one that fails: it may have done half of it."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                line = await self._ask(json.dumps(request).encode() + b"\n")
            if not line:
                raise StrategyError("The program that asks Optuna has ended; the agent's journal says why.")
            answer: dict[str, Any] = json.loads(line)
            if "error" in answer:
                raise StrategyError(f"Optuna refuses: {answer['error']}.")
        except (TimeoutError, OSError) as error:
            await self._end()
            raise StrategyError(f"Optuna has not answered within {ANSWER_SECONDS:g} s: {error}.") from error
        except BaseException:
            await self._end()
            raise
        return answer

    async def _ask(self, request: bytes) -> bytes:
        if self._process is None:
            # Isolated: it takes no modules from its own directory, nor from one that a variable names.
            program = (sys.executable, "-I", str(PROGRAM))
            self._process = await asyncio.create_subprocess_exec(
                *program, stdin=PIPE, stdout=PIPE, limit=MAX_ANSWER
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request)
        with contextlib.suppress(ConnectionError):  # it has ended, which the empty answer shows
            await process.stdin.drain()
        return await process.stdout.readline()

    async def _end(self) -> None:
        process, self._process = self._process, None
        self._taken.clear()
        if process is not None:
            await finish(_killed(process))


async def _killed(process: Process) -> None:
    """Kills the process, and waits until it and its pipes are gone."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


def _settings(sweep: Sweep) -> dict[str, Any]:
    return {
        "strategy": sweep.strategy,
        "seed": sweep.seed,
        "direction": sweep.objective.direction,
        "pruner": sweep.pruner,
        "space": {name: _dimension(sweep, each) for name, each in sweep.space.items()},
    }


def _dimension(sweep: Sweep, dimension: Dimension) -> dict[str, Any]:
    if sweep.strategy is Strategy.GRID:
        return {"values": [grid_value(dimension, index) for index in range(count_points(dimension))]}
    return dimension.model_dump(exclude_none=True)


def _step(step: Step) -> list[Any]:
    if isinstance(step, Asked):
        return ["ask", step.hyperparameters]
    result = step.result
    return ["tell", step.trial, _state(result), result.value, result.points]


def _state(result: TrialResult) -> str:
    """How a trial ended, in Optuna's words."""
    if result.status is JobState.COMPLETED and result.value is not None:
        return "COMPLETE"
    return "PRUNED" if result.reason is Reason.PRUNED else "FAIL"

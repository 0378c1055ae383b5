"""A program of its own: keeps the studies of Optuna, and answers questions about them.

    python study.py    reads a request, one line of JSON, and answers with one, until its input ends

Optuna takes half a second of CPU to import, some 50 MB, and then milliseconds to seconds for a suggestion: in
the agent, it would delay every answer and never be given back. Imports nothing of the agent.

A request has the `sweep`; its `settings` the first time; the `steps` since the last request, in order:
`["ask", {name: text}]` and `["tell", trial, state, value, points]`; and then one of these: `"ask": true` for
the next trial's hyperparameters; `"live": {trial: points}` for those of these trials that are to be pruned;
`"forget": true`. An answer has `hyperparameters`, `prune`, or nothing; or `error`, a sentence.

A study takes up all steps again in their order, so that its random numbers are those of the first time.
Where the record has other hyperparameters than the study suggests (it was written by another version of
Optuna), the study is made anew with those of the record.
"""

import contextlib
import copy
import json
import os
import resource
import sys
from types import ModuleType
from typing import Any

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # before numpy is imported
# A third of Optuna's start is for what is not used here: a storage in Redis, and a bar of progress.
sys.modules["redis"] = None  # type: ignore[assignment]
sys.modules["tqdm"] = sys.modules["tqdm.auto"] = ModuleType("tqdm.auto")
sys.modules["tqdm.auto"].tqdm = None  # type: ignore[attr-defined]

import optuna  # noqa: E402
from optuna.distributions import (  # noqa: E402
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState  # noqa: E402

NICENESS = 10
MEMORY = 2**29  # bytes of address space
STUDY = "sweep"  # Hyperband shares trials out by the study's name, which must be the same each time
REDUCTION = 3  # of Hyperband: a trial is judged at steps 1, 3, 9, …

Points = list[tuple[int, float]]


class Study:
    """One sweep's study. `steps` are all that it has taken up."""

    def __init__(self, settings: dict[str, Any], *, as_recorded: bool = False) -> None:
        self._settings = settings
        self._as_recorded = as_recorded or settings["strategy"] == "grid"
        self._space = {name: distribution(each) for name, each in settings["space"].items()}
        seed = settings["seed"]
        tpe = settings["strategy"] == "tpe"
        self._study = optuna.create_study(
            study_name=STUDY,
            direction=settings["direction"],
            sampler=optuna.samplers.TPESampler(seed=seed)
            if tpe
            else optuna.samplers.RandomSampler(seed=seed),
            pruner=pruner(settings["pruner"]),
        )
        self._trials: list[optuna.Trial] = []
        self.steps: list[list[Any]] = []

    def take(self, step: list[Any]) -> "Study":
        """Takes up a step; returns the study that has, which may be another one."""
        kind, *values = step
        if kind == "tell":
            self._tell(*values)
        elif self.ask(recorded=values[0]) != values[0]:
            anew = Study(self._settings, as_recorded=True)
            for each in [*self.steps[:-1], step]:
                anew.take(each)
            return anew
        else:
            return self
        self.steps.append(step)
        return self

    def ask(self, recorded: dict[str, str] | None = None) -> dict[str, str]:
        """The hyperparameters of the next trial."""
        if self._as_recorded and recorded is not None:
            self._study.enqueue_trial(
                {name: parsed(self._space[name], recorded[name]) for name in self._space}
            )
        trial = self._study.ask(self._space)
        self._trials.append(trial)
        found = {name: text(trial.params[name]) for name in self._space}
        self.steps.append(["ask", found])
        return found

    def _tell(self, number: int, state: str, value: float | None, points: Points) -> None:
        trial = self._trials[number]
        for step, reported in points:
            trial.report(reported, step)
        self._climb(trial, points)
        complete = state == "COMPLETE"
        self._study.tell(trial, value if complete else None, state=TrialState[state])
        # Hyperband makes its brackets, from which TPE learns, when it is first asked after a completed trial.
        self._judge(trial.number, [])

    def _climb(self, trial: optuna.Trial, points: Points) -> None:
        """Has Hyperband note the trial's values at the steps where it judges, to measure others."""
        if not isinstance(self._study.pruner, optuna.pruners.HyperbandPruner):
            return
        due = 1
        for position, (step, _) in enumerate(points):
            if step >= due:
                self._judge(trial.number, points[: position + 1])
                while step >= due:
                    due *= REDUCTION

    def _judge(self, number: int, points: Points) -> bool:
        """Whether a trial that has reported these points is to be pruned. They are not recorded."""
        trial = copy.copy(self._study.get_trials(deepcopy=False)[number])
        trial.intermediate_values = dict(points)
        return bool(self._study.pruner.prune(self._study, trial))

    def to_prune(self, live: dict[str, Points]) -> list[int]:
        """Those of these running trials that are to be pruned."""
        return [int(number) for number, points in live.items() if points and self._judge(int(number), points)]


def distribution(dimension: dict[str, Any]) -> BaseDistribution:
    """A dimension in Optuna's words."""
    if "values" in dimension:
        return CategoricalDistribution(dimension["values"])
    low, high, step, log = (dimension.get(name) for name in ("low", "high", "step", "log"))
    if dimension["type"] == "integer":
        return IntDistribution(int(low), int(high), log=bool(log), step=int(step or 1))  # type: ignore[arg-type]
    return FloatDistribution(low, high, log=bool(log), step=step)  # type: ignore[arg-type]


def pruner(name: str | None) -> optuna.pruners.BasePruner:
    """A pruner with Optuna's defaults."""
    if name == "median":
        return optuna.pruners.MedianPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(reduction_factor=REDUCTION)
    return optuna.pruners.NopPruner()


def text(value: Any) -> str:
    """A suggested value as a script reads it."""
    return value if isinstance(value, str) else repr(value)


def parsed(kind: BaseDistribution, value: str) -> Any:
    """The value that `text` has written."""
    if isinstance(kind, CategoricalDistribution):
        return value
    return int(value) if isinstance(kind, IntDistribution) else float(value)


def answer(studies: dict[str, Study], request: dict[str, Any]) -> dict[str, Any]:
    """Answers one request."""
    name = request["sweep"]
    if request.get("forget"):
        studies.pop(name, None)
        return {}
    if "settings" in request:
        studies[name] = Study(request["settings"])
    for step in request["steps"]:
        studies[name] = studies[name].take(step)
    if request.get("ask"):
        return {"hyperparameters": studies[name].ask()}
    return {"prune": studies[name].to_prune(request.get("live", {}))}


def main() -> None:
    """Answers until the input ends: with the agent."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError, ValueError):  # a unit may forbid it, and has a MemoryMax= then
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    studies: dict[str, Study] = {}
    for line in sys.stdin:
        try:
            answered = answer(studies, json.loads(line))
        except Exception as error:
            answered = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answered), flush=True)


if __name__ == "__main__":
    main()

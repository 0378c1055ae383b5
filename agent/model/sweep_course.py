"""What follows for a sweep from the end of a trial, or from a client's word. Pure functions."""

from typing import Any

from .base import now
from .job import JobState, Reason
from .sweep import Best, Direction, Sweep, SweepReason, SweepState, TrialResult

ENDS = {SweepReason.CANCELLED: SweepState.CANCELLED}  # the others: FAILED


def settled(sweep: Sweep) -> Sweep:
    """The sweep in its final state, if no trial is left and none is to come."""
    if sweep.unfinished or sweep.status.terminal:
        return sweep
    if sweep.status is SweepState.ENDING:
        assert sweep.reason is not None
        return _ended(sweep, ENDS.get(sweep.reason, SweepState.FAILED))
    # Where no trial has reported the objective, the controller finds out why.
    over = sweep.made >= sweep.trials and (sweep.completed or sweep.pruned)
    return _ended(sweep, SweepState.COMPLETED) if over else sweep


def _ended(sweep: Sweep, status: SweepState) -> Sweep:
    return sweep.model_copy(update={"status": status, "finished_at": max(now(), sweep.created_at)})


def counted(sweep: Sweep, result: TrialResult, said: Best | None) -> Sweep:
    """The sweep after a trial has ended; a failed trial's value counts for nothing."""
    if result.status is JobState.COMPLETED and said is not None:
        kind = "completed"
    elif result.status is JobState.CANCELLED:
        kind = "pruned" if result.reason is Reason.PRUNED else "cancelled"
    else:
        kind = "failed"
    update: dict[str, Any] = {"unfinished": sweep.unfinished - 1, kind: getattr(sweep, kind) + 1}
    if kind == "completed" and said is not None and _is_better(sweep, said.value):
        update["best"] = said
    return sweep.model_copy(update=update)


def _is_better(sweep: Sweep, value: float) -> bool:
    if sweep.best is None:
        return True
    if sweep.objective.direction is Direction.MAXIMIZE:
        return value > sweep.best.value
    return value < sweep.best.value

"""What clients ask of sweeps: accepts them, changes their course, and reads them."""

import math
import os
import secrets
from collections.abc import Callable

from ..audit.chain import Caller, Detail
from ..config import Settings
from ..errors import AgentError, FieldError, Problem, invalid_request
from ..host.tasks import to_its_end
from ..jobs.requests import MayRead, as_asked, fingerprint_of, labels_with, readable_by
from ..jobs.submission import Occasion, Submission, audited
from ..model.base import new_job_id
from ..model.job import Job, JobRequest, Rerun, RunRequest
from ..model.script import Script
from ..model.sweep import (
    MAX_ACTIVE,
    MAX_TRIALS,
    Objective,
    Strategy,
    Sweep,
    SweepPage,
    SweepReason,
    SweepRequest,
    SweepRerun,
    SweepState,
    TrialPage,
)
from ..store.sweeps import SweepStore
from . import optimizer
from .controller import Controller
from .space import count_points, first_point, resolve
from .trials import fixed, sweep_like, trial_job

GOING_ON = (SweepState.RUNNING, SweepState.PAUSED)


class Sweeps:
    """The sweeps of one host. Each deed is in the audit, in its own transaction."""

    def __init__(
        self, settings: Settings, store: SweepStore, submission: Submission, controller: Controller
    ) -> None:
        self._settings = settings
        self._store = store
        self._submission = submission
        self._controller = controller

    async def submit(
        self,
        owner: str,
        request: SweepRequest,
        *,
        idempotency_key: str | None,
        by: Caller,
        occasion: Occasion | None = None,
        may_read: MayRead | None = None,
    ) -> Sweep:
        """Checks the request, commits the sweep and returns it. If this raises, nothing is left behind.

        Raises `AgentError`: what a job of the same script raises, and invalid-request for a space that the
        script does not take, or for a strategy that this host has not.
        """
        fingerprint = fingerprint_of(as_asked(request))
        if idempotency_key and (known := await self._store.by_key(owner, idempotency_key, fingerprint)):
            return known
        sweep, job, script = await self._planned(owner, request, may_read)
        if occasion:
            sweep = sweep.model_copy(update=occasion._asdict())
        return await self._add(sweep, job, script, "submitSweep", idempotency_key, fingerprint, by)

    async def check(self, owner: str, request: SweepRequest) -> None:
        """Raises what `submit` would raise now; nothing is committed."""
        sweep, _, _ = await self._planned(owner, request)
        _check_strategy(sweep)

    async def _planned(
        self, owner: str, request: SweepRequest, may_read: MayRead | None = None
    ) -> tuple[Sweep, Job, Script]:
        """The sweep that the request asks for, a job like its trials, and their script."""
        found = await self._submission.find(request)
        space, trials = resolve(request, found.script)
        as_job = {name: getattr(request, name) for name in RunRequest.model_fields}
        first = JobRequest.model_construct(
            **as_job | {"hyperparameters": request.hyperparameters | first_point(space)}
        )
        inputs = await self._submission.inputs.check(first, may_read or readable_by(owner))
        job = await self._submission.plan(owner, first, found, new_job_id())
        job = job.model_copy(update={"inputs": inputs})
        sweep = sweep_like(
            job,
            hyperparameters=fixed(job, space),
            space=space,
            trials=trials,
            strategy=request.strategy,
            at_once=request.at_once,
            objective=Objective(**request.objective.model_dump()),
            pruner=request.pruner,
            seed=secrets.randbelow(2**32) if request.seed is None else request.seed,
        )
        return sweep, job, found.script

    async def rerun(
        self, owner: str, earlier: Sweep, changes: SweepRerun, *, idempotency_key: str | None, by: Caller
    ) -> Sweep:
        """A new sweep of `owner` with all that `earlier` has, also its commit and seed, but for `changes`."""
        wanted = {"rerun_of": earlier.sweep_id, **changes.model_dump(mode="json")}
        fingerprint = fingerprint_of(wanted)
        if idempotency_key and (known := await self._store.by_key(owner, idempotency_key, fingerprint)):
            return known
        like = trial_job(earlier, first_point(earlier.space)).model_copy(update={"job_id": earlier.sweep_id})
        job, script = await self._submission.plan_again(owner, like, Rerun())
        same = ("space", "trials", "strategy", "at_once", "objective", "pruner", "seed")
        fields = {name: getattr(earlier, name) for name in same}
        fields["hyperparameters"] = fixed(job, earlier.space)
        named = changes.model_dump(exclude_none=True)
        named["labels"] = labels_with(earlier.labels, changes.labels)
        sweep = sweep_like(job, rerun_of=earlier.sweep_id, **fields).model_copy(update=named)
        _check_trials(sweep)
        return await self._add(sweep, job, script, "rerunSweep", idempotency_key, fingerprint, by)

    async def _add(
        self,
        sweep: Sweep,
        job: Job,
        script: Script,
        action: str,
        key: str | None,
        fingerprint: str,
        by: Caller,
    ) -> Sweep:
        _check_strategy(sweep)
        how: dict[str, Detail] = {
            "space": sorted(sweep.space),
            "strategy": sweep.strategy,
            "trials": sweep.trials,
        }
        if sweep.rerun_of:
            how["rerun_of"] = sweep.rerun_of
        deed = by.did(action, sweep.sweep_id, **audited(job, script), **how)
        committed = await to_its_end(
            self._store.add(sweep, key=key, fingerprint=fingerprint, limit=MAX_ACTIVE, deed=deed)
        )
        self._controller.look_at(committed.sweep_id)
        return committed

    async def get(self, sweep_id: str) -> Sweep:
        """The sweep as last committed. Raises `AgentError` (sweep-not-found)."""
        return await self._store.get(sweep_id)

    async def page(
        self, *, owner: str | None, status: SweepState | None, before: int | None, limit: int
    ) -> SweepPage:
        """At most `limit` sweeps, newest first; `before` is an earlier page's `next_cursor`."""
        return await self._store.page(owner=owner, status=status, before=before, limit=limit)

    async def trials(self, sweep_id: str, *, after: int, limit: int) -> TrialPage:
        """At most `limit` trials with higher numbers than `after`, in order."""
        return await self._store.trials(sweep_id, after=after, limit=limit)

    async def newest(self, *, owner: str | None, limit: int) -> list[Sweep]:
        """The sweeps that were made last, the newest one last."""
        return (await self._store.page(owner=owner, limit=limit)).sweeps[::-1]

    async def changed(self, after: int, *, owner: str | None, limit: int) -> tuple[int, list[Sweep]]:
        """The first sweeps that have changed after that number, and the number of the last of them."""
        return await self._store.changed(after, owner=owner, limit=limit)

    async def newest_change(self) -> int:
        """The number of the newest change of any sweep."""
        return await self._store.newest_change()

    async def cancel(self, sweep_id: str, *, by: Caller) -> Sweep:
        """Ends a sweep and cancels its trials. Cancelling again, or after the end, changes nothing."""

        def cancel(sweep: Sweep) -> Sweep:
            if sweep.status not in GOING_ON:
                return sweep
            update = {"status": SweepState.ENDING, "reason": SweepReason.CANCELLED, "message": None}
            return sweep.model_copy(update=update)

        return await self._change("cancelSweep", sweep_id, cancel, by)

    async def pause(self, sweep_id: str, *, by: Caller) -> Sweep:
        """Makes no more trials for now; those that wait or run go on. Raises sweep-ended."""
        return await self._change("pauseSweep", sweep_id, _turned(SweepState.PAUSED), by)

    async def resume(self, sweep_id: str, *, by: Caller) -> Sweep:
        """Makes trials again. Raises sweep-ended."""
        return await self._change("resumeSweep", sweep_id, _turned(SweepState.RUNNING), by)

    async def extend(self, sweep_id: str, trials: int, *, by: Caller) -> Sweep:
        """Lets the sweep have `trials` trials in all, which are no fewer than before; also after its end.

        Raises `AgentError`: sweep-ended where it has FAILED or was CANCELLED, invalid-request, too-many-jobs.
        """

        def extend(sweep: Sweep) -> Sweep:
            if sweep.status not in (*GOING_ON, SweepState.COMPLETED):
                raise _has_ended(sweep)
            if trials == sweep.trials:
                return sweep
            extended = sweep.model_copy(update={"trials": trials})
            _check_trials(extended, least=sweep.trials)
            if sweep.status is SweepState.COMPLETED:
                extended = extended.model_copy(update={"status": SweepState.RUNNING, "finished_at": None})
            return extended

        return await self._change("extendSweep", sweep_id, extend, by)

    async def pin(self, sweep_id: str, *, pinned: bool, by: Caller) -> Sweep:
        """Keeps a sweep with all its trials from retention, or no longer does."""
        sweep, retention = await self._store.get(sweep_id), self._settings.retention
        deed = by.did("pinSweep" if pinned else "unpinSweep", sweep_id, owner=sweep.owner)
        return await to_its_end(
            self._store.pin(
                sweep_id,
                pinned=pinned,
                limit=retention.max_pinned_per_user,
                max_bytes=retention.pin_limit(os.statvfs(self._settings.state_directory)),
                deed=deed,
            )
        )

    async def _change(
        self, action: str, sweep_id: str, change: Callable[[Sweep], Sweep], by: Caller
    ) -> Sweep:
        owner = (await self._store.get(sweep_id)).owner
        deed = by.did(action, sweep_id, owner=owner)
        changed = await to_its_end(self._store.change(sweep_id, change, deed=deed, limit=MAX_ACTIVE))
        self._controller.look_at(sweep_id)
        return changed


def _turned(status: SweepState) -> Callable[[Sweep], Sweep]:
    def turn(sweep: Sweep) -> Sweep:
        if sweep.status not in GOING_ON:
            raise _has_ended(sweep)
        return sweep.model_copy(update={"status": status})

    return turn


def _has_ended(sweep: Sweep) -> AgentError:
    return AgentError(
        Problem.SWEEP_ENDED,
        f"Sweep {sweep.sweep_id} is {sweep.status}.",
        "Run it again: POST /sweeps/{id}/rerun, or `ml-job sweep rerun`.",
    )


def _check_strategy(sweep: Sweep) -> None:
    """Raises `AgentError` (invalid-request) where this host lacks what the sweep needs."""
    if optimizer.is_needed(sweep) and not optimizer.is_installed():
        field = "pruner" if sweep.strategy is Strategy.GRID else "strategy"
        raise invalid_request(
            "This host has no Optuna, which every sweep but a grid without a pruner needs.",
            "Submit such a grid, or ask the operator to install requirements-sweeps.txt.",
            (FieldError(field, "needs Optuna, which is not installed"),),
        )


def _check_trials(sweep: Sweep, *, least: int = 1) -> None:
    """Raises `AgentError` (invalid-request) for fewer trials than before, or more than there may be."""
    most = MAX_TRIALS
    if sweep.strategy is Strategy.GRID:
        most = math.prod(count_points(dimension) for dimension in sweep.space.values())
    if not least <= sweep.trials <= most:
        field = FieldError("trials", f"must be {least} to {most} for this sweep")
        raise invalid_request("The request is not valid.", fields=(field,))

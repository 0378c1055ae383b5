"""The guard in front of every call: it finds what the path names, and asks the table of who may do what."""

import functools
import re

from aiohttp import web
from aiohttp.typedefs import Handler

from ..audit.chain import Detail
from ..audit.trail import Trail
from ..backend import Backend
from ..errors import AgentError, Problem
from ..model.alias import name_taken, no_such_model
from ..model.base import ID_ALPHABET, ID_LENGTH
from ..model.job import Job, no_such_job
from ..model.schedule import Schedule, no_such_schedule
from ..model.sweep import Sweep, no_such_sweep
from .access import (
    ALWAYS_RECORDED,
    JOB,
    MODEL,
    OPERATION,
    SCHEDULE,
    SWEEP,
    TABLE,
    UNREADABLE,
    Audited,
    Cell,
    Named,
    Permissions,
    forbidden,
    may_speak,
)
from .server.identity import CALLER, PRINCIPAL
from .server.requests import check_no_form, is_foreign

JOB_ID = re.compile(f"[{ID_ALPHABET}]{{{ID_LENGTH}}}")
MODEL_NAME = re.compile("[a-z0-9][a-z0-9._-]{0,62}")
# What a path may name, and the error for what is not there.
ABSENT = {
    "job_id": no_such_job,
    "sweep_id": no_such_sweep,
    "schedule_id": no_such_schedule,
    "model": no_such_model,
}


class Guard:
    """Finds what a path names, and checks the table before the handler runs."""

    def __init__(self, backend: Backend, trail: Trail) -> None:
        self._backend = backend
        self._trail = trail
        self._guarded: set[Handler] = set()

    def guard(self, operation_id: str, handler: Handler) -> Handler:
        """The handler behind the table. It has what its path names in the request, such as `request[JOB]`.

        Raises `AgentError` (internal) if the table does not have the call.
        """
        permissions = TABLE.get(operation_id)
        if permissions is None:
            raise AgentError(
                Problem.INTERNAL,
                f"The table of permissions does not have the call {operation_id}.",
                "Add it to TABLE in agent/api/access.py.",
            )

        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.StreamResponse:
            request[OPERATION] = operation_id
            await self._admit(request, permissions)
            if permissions.audited is Audited.DEED and operation_id not in ALWAYS_RECORDED:
                await self._trail.check_share(request[CALLER])
            try:
                return await handler(request)
            except AgentError as error:
                if error.problem in (Problem.FORBIDDEN, Problem.INVITATION_REFUSED):  # by what was sent
                    await self._refused(request, error.problem)
                if error.problem is Problem.COMMIT_REFUSED and request.method == "POST":
                    await self._refused(request, error.problem, why=error.message)
                if UNREADABLE in request:
                    await self._refused(request, error.problem)
                raise

        self._guarded.add(guarded)
        return guarded

    def check_all_guarded(self, app: web.Application) -> None:
        """Raises `AgentError` (internal) for a route that was added without the guard."""
        for route in app.router.routes():
            if route.handler not in self._guarded:
                raise AgentError(
                    Problem.INTERNAL,
                    f"{route.method} {route.resource} has no guard: it answers everybody.",
                    "Add the route with Guard.guard.",
                )

    async def _admit(self, request: web.Request, permissions: Permissions) -> None:
        if is_foreign(request):
            await self._refused(request, Problem.FOREIGN_ORIGIN)
            raise AgentError(
                Problem.FOREIGN_ORIGIN,
                "The request comes from a page of another site.",
                "Use ml-job, the app, or a program that sends neither Origin nor Sec-Fetch-Site.",
            )
        check_no_form(request)
        if permissions.anybody:
            return
        principal = request[PRINCIPAL]
        grant = permissions.grant(principal.role)
        if grant.own is not Cell.YES or not may_speak(request, permissions):
            await self._refused(request, Problem.FORBIDDEN)
            raise forbidden()
        if not (named := request.match_info.keys() & ABSENT.keys()):
            return
        found, absent = await self._found(request, named.pop())
        if found is None and permissions.makes:
            return
        cell = Cell.ABSENT if found is None else permissions.cell(principal, found)
        owner = {"owner": found.owner} if found else {}
        if found is not None and cell is Cell.YES:
            own = found.owner == principal.user
            await self._show(request, found, audited=permissions.audited is Audited.LOOK and not own)
        elif cell is Cell.FORBIDDEN:
            await self._refused(request, Problem.FORBIDDEN, **owner)
            raise name_taken() if permissions.makes else forbidden()
        else:
            # What is another user's is indistinguishable from what is missing, timing included.
            await self._refused(request, absent.problem, **owner)
            raise absent

    async def _show(self, request: web.Request, found: Named, *, audited: bool) -> None:
        """Puts what the path names into the request, once the look at it is on record."""
        if isinstance(found, Job):
            request[JOB], subject = found, found.job_id
        elif isinstance(found, Sweep):
            request[SWEEP], subject = found, found.sweep_id
        elif isinstance(found, Schedule):
            request[SCHEDULE], subject = found, found.schedule_id
        else:
            request[MODEL], subject = found, found.model
        if audited:
            names = {key: request.match_info[key] for key in ("alias", "path") if key in request.match_info}
            what = {"owner": found.owner, **names}
            await self._trail.shown(request[CALLER], request[OPERATION], subject, **what)

    async def _found(self, request: web.Request, named: str) -> tuple[Named | None, AgentError]:
        """What the path names, or None; and the error for what is not there."""
        name, absent, backend = request.match_info[named], ABSENT[named](), self._backend
        others = {"sweep_id": backend.sweeps, "schedule_id": backend.schedules, "model": backend.models}
        try:
            if named == "job_id":
                return await backend.jobs.get(name), absent
            records = others[named]
            return (await records.get(name) if records else None), absent
        except AgentError as error:
            if error.problem is absent.problem:
                return None, absent
            raise

    async def _refused(self, request: web.Request, problem: Problem, **details: Detail) -> None:
        name = next((request.match_info[each] for each in ABSENT if each in request.match_info), "")
        name = request.get(UNREADABLE, name)
        form = MODEL_NAME if "model" in request.match_info and UNREADABLE not in request else JOB_ID
        subject = name if form.fullmatch(name) else ""
        await self._trail.refused(request[CALLER], request[OPERATION], subject, problem=problem, **details)

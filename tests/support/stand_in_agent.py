"""An agent that answers by script, over real TLS: what the client's tests talk to."""

import asyncio
import hashlib
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

JOB_ID = "abcdefghijkl"
CREATED = "2026-01-01T00:00:00.000Z"


def job(job_id: str = JOB_ID, status: str = "COMPLETED", **changes: object) -> dict[str, Any]:
    """A job as the agent gives it, with a member that only a newer agent knows."""
    return {
        "job_id": job_id,
        "status": status,
        "container_id": "",
        "owner": "alice",
        "script_name": "train.py",
        "hyperparameters": {"depth": "3"},
        "labels": {},
        "limits": {"memory_bytes": 2147483648, "since_a_later_version": 1},
        "commit": "c" * 40,
        "script_sha256": "d" * 64,
        "image": "ml-runner",
        "image_digest": "sha256:" + "e" * 64,
        "secrets": [],
        "network": "none",
        "unit": f"ml-job@{job_id}.service",
        "cancel_requested": False,
        "created_at": CREATED,
        "revision": 1,
        "since_a_later_version": {"anything": True},
    } | changes


def sweep(sweep_id: str = JOB_ID, status: str = "RUNNING", **changes: object) -> dict[str, Any]:
    """A sweep as the agent gives it, with members that only a newer agent knows."""
    same = ("owner", "script_name", "hyperparameters", "labels", "limits", "commit", "script_sha256", "image")
    like = {
        name: job()[name] for name in (*same, "image_digest", "secrets", "network", "created_at", "revision")
    }
    return (
        like
        | {
            "sweep_id": sweep_id,
            "status": status,
            "space": {"depth": {"type": "integer", "low": 1.0, "high": 64.0, "since_a_later_version": 1}},
            "strategy": "tpe",
            "trials": 60,
            "at_once": 4,
            "objective": {"metric": "auc", "direction": "maximize"},
            "seed": 7,
            "made": 5,
            "unfinished": 2,
            "completed": 3,
            "best": {"trial": 1, "job_id": JOB_ID, "value": 0.912345678, "hyperparameters": {"depth": "12"}},
            "since_a_later_version": {"anything": True},
        }
        | changes
    )


def trial(number: int, value: float | None = None, **changes: object) -> dict[str, Any]:
    """A trial of that sweep."""
    known = {"trial": number, "job_id": JOB_ID, "status": "COMPLETED", "hyperparameters": {"depth": "3"}}
    return known | ({} if value is None else {"value": value}) | changes


def compared(job_id: str = JOB_ID, **changes: object) -> dict[str, Any]:
    """A row of a comparison as the agent gives it."""
    known = job(job_id)
    same = (
        "job_id",
        "status",
        "owner",
        "script_name",
        "hyperparameters",
        "commit",
        "image_digest",
        "created_at",
    )
    metric = {"count": 3, "last": 0.75, "min": 0.5, "max": 0.875, "since_a_later_version": 1}
    row = {name: known[name] for name in (*same, "created_at")}
    row |= {"attempt": 1, "seconds": 61.5, "metrics": {"auc": metric}}
    return row | {"since_a_later_version": 1} | changes


def used(**changes: object) -> dict[str, Any]:
    """A row of `GET /usage` as the agent gives it."""
    row = {"month": "2026-05", "jobs": 3, "attempts": 4, "measured_attempts": 4, "seconds": 5400.0}
    row |= {"cpu_seconds": 9000.5, "memory_gib_hours": 12.0, "memory_peak_gib_hours": 3.25}
    row |= {"memory_peak_bytes": 2**31, "artifact_bytes": 5 * 2**20, "since_a_later_version": 1}
    return row | changes


def reported(job_id: str = JOB_ID, **values: list[float]) -> dict[str, Any]:
    """The metrics of a job as the agent gives them, by name."""
    series = [
        {
            "name": name,
            "count": len(each),
            "every": 1,
            "points": [{"step": step, "value": value, "time": CREATED} for step, value in enumerate(each)],
            "min": min(each),
            "max": max(each),
        }
        for name, each in values.items()
    ]
    return {"job_id": job_id, "complete": True, "series": series, "refused": 0}


def schedule(schedule_id: str = JOB_ID, status: str = "ACTIVE", **changes: object) -> dict[str, Any]:
    """A schedule as the agent gives it, with members that only a newer agent knows."""
    known: dict[str, Any] = {
        "schedule_id": schedule_id,
        "status": status,
        "owner": "alice",
        "name": "nightly",
        "calendar": "Mon..Fri 02:00",
        "time_zone": "Europe/Rome",
        "expression": "Mon..Fri *-*-* 02:00:00 Europe/Rome",
        "overlap": "skip",
        "randomized_delay_seconds": 600,
        "job": {"script_name": "train.py", "hyperparameters": {"depth": "3"}, "limits": {}, "later": 1},
        "next": ["2026-06-02T00:00:00.000Z", "2026-06-03T00:00:00.000Z"],
        "last": schedule_run(),
        "created_at": CREATED,
        "active_since": CREATED,
        "revision": 2,
        "since_a_later_version": {"anything": True},
    }
    return known | changes


def schedule_run(status: str = "SUBMITTED", **changes: object) -> dict[str, Any]:
    """A run of a schedule."""
    known: dict[str, Any] = {
        "slot": "2026-06-01T00:00:00.000Z",
        "manual": False,
        "status": status,
        "at": CREATED,
    }
    return known | ({"job_id": JOB_ID} if status == "SUBMITTED" else {}) | changes


def alias(name: str = "champion", content: bytes = b"trained", **changes: object) -> dict[str, Any]:
    """An alias as the agent gives it, with a member that only a newer agent knows."""
    return {
        "alias": name,
        "number": 2,
        "version": "b" * 12,
        "job_id": JOB_ID,
        "path": "out/model.joblib",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "media_type": "application/octet-stream",
        "moved_by": "alice",
        "moved_at": CREATED,
        "since_a_later_version": 1,
    } | changes


def model(name: str = "churn", **changes: object) -> dict[str, Any]:
    """A model with an alias."""
    return {
        "model": name,
        "owner": "alice",
        "readers": {"users": ["bob"], "everybody": False},
        "aliases": [alias()],
        "created_at": CREATED,
        "revision": 2,
        "since_a_later_version": 1,
    } | changes


def secret(name: str, user: str | None = "alice") -> dict[str, Any]:
    """A secret as the agent tells it."""
    times = {"created_at": CREATED, "updated_at": CREATED, "age_seconds": 60}
    return {"name": name} | ({"user": user} if user else {}) | times


def line(number: int, text: str, source: str = "job", **more: object) -> bytes:
    """A `line` event."""
    data = {"number": number, "time": CREATED, "source": source, "text": text} | more
    return f"id: token-{number}\nevent: line\ndata: {json.dumps(data)}\n\n".encode()


def event(name: str, data: object, token: str | None = None) -> bytes:
    """Any event."""
    head = "" if token is None else f"id: {token}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def problem(status: int, code: str, detail: str, **members: object) -> web.Response:
    """A problem document."""
    body = {"type": f"urn:ml-agent:problem:{code}", "title": code, "status": status}
    return web.Response(
        status=status,
        body=json.dumps(body | {"detail": detail} | members),
        content_type="application/problem+json",
    )


Step = bytes | Callable[[web.Request], Awaitable[bytes | None]]


async def cut(request: web.Request) -> None:
    """A step: the connection breaks."""
    assert request.transport is not None
    request.transport.abort()


async def hang(_: web.Request) -> None:
    """A step: nothing comes for as long as the client waits."""
    await asyncio.Event().wait()


@dataclass
class StandIn:
    """What the agent will answer (`jobs`, `streams`, …) and what it was asked (`requests`)."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    sweeps: list[dict[str, Any]] = field(default_factory=list)
    trials: list[dict[str, Any]] = field(default_factory=list)
    compared: list[dict[str, Any]] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    difference: dict[str, Any] = field(default_factory=dict)
    comparison_changes: dict[str, object] = field(default_factory=dict)
    page_changes: dict[str, object] = field(default_factory=dict)
    metrics_changes: dict[str, object] = field(default_factory=dict)
    schedules: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, list[web.Response | None]] = field(default_factory=dict)  # None: break off
    streams: list[Sequence[Step]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    plain_log: bytes = b""
    json_log: bytes = b""
    manifest_changes: dict[str, object] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)

    def paths(self, method: str = "GET") -> list[str]:
        """The paths asked for, in order, with their queries."""
        return [path for asked, path, _, _ in self.requests if asked == method]

    def application(self) -> web.Application:
        """The routes of the contract."""
        application = web.Application(middlewares=[self._record])
        application.add_routes(
            [
                web.post("/jobs", self._submit),
                web.get("/jobs", self._list),
                web.get("/jobs/{id}", self._show),
                web.post("/jobs/{id}/cancel", self._show),
                web.put("/jobs/{id}/readers", self._share),
                web.put("/sweeps/{id}/readers", self._share),
                web.put("/jobs/{id}/pin", self._pin),
                web.delete("/jobs/{id}/pin", self._pin),
                web.post("/jobs/{id}/rerun", self._submit),
                web.get("/jobs/{id}/logs", self._logs),
                web.get("/events", self._stream),
                web.get("/jobs/{id}/events", self._stream),
                web.get("/jobs/{id}/metrics", self._metrics),
                web.get("/comparison", self._compare),
                web.get("/usage", self._usage),
                web.get("/jobs/{id}/diff/{other}", self._diff),
                web.get("/jobs/{id}/artifacts", self._manifest),
                web.get("/jobs/{id}/artifacts/{path:.+}", self._file),
                web.post("/sweeps", self._submit_sweep),
                web.get("/sweeps", self._list_sweeps),
                web.get("/sweeps/{id}", self._show_sweep),
                web.get("/sweeps/{id}/trials", self._list_trials),
                web.put("/sweeps/{id}/pin", self._show_sweep),
                web.delete("/sweeps/{id}/pin", self._show_sweep),
                web.post("/sweeps/{id}/{what}", self._show_sweep),
                web.post("/schedules", self._create_schedule),
                web.post("/schedules/preview", self._preview_schedule),
                web.get("/schedules", self._list_schedules),
                web.get("/schedules/{id}", self._show_schedule),
                web.delete("/schedules/{id}", self._show_schedule),
                web.get("/schedules/{id}/runs", self._list_runs),
                web.post("/schedules/{id}/run", self._run_schedule),
                web.post("/schedules/{id}/{what}", self._show_schedule),
                web.get("/models", self._list_models),
                web.get("/models/{name}", self._show_model),
                web.put("/models/{name}/readers", self._share_model),
                web.get("/models/{name}/aliases/{alias}", self._alias),
                web.put("/models/{name}/aliases/{alias}", self._alias),
                web.delete("/models/{name}/aliases/{alias}", self._alias),
                web.get("/models/{name}/aliases/{alias}/history", self._moves),
                web.get("/models/{name}/aliases/{alias}/artifact", self._model_artifact),
                web.get("/scripts", self._scripts),
                web.get("/secrets", self._secrets),
                web.put("/secrets/{name}", self._set_secret),
                web.delete("/secrets/{name}", self._remove_secret),
            ]
        )
        return application

    @web.middleware
    async def _record(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        body: Any = None
        binary = request.content_type == "application/octet-stream"
        if request.method != "GET" and not binary and request.content_type != "application/json":
            return problem(415, "unsupported-media-type", "Forms change nothing.")
        if request.can_read_body:
            body = await (request.read() if binary else request.json())
        self.requests.append((request.method, request.path_qs, dict(request.headers), body))
        scripted = self.answers.get(f"{request.method} {request.path}")
        if scripted:
            answer = scripted.pop(0)
            if answer is None:
                await cut(request)
                return web.Response()
            return answer
        return await handler(request)

    async def _submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        source = {"job_id": JOB_ID, "path": "out/model.joblib"}
        made = job(status="PENDING", script_name=body.get("script_name", "train.py"))
        if "inputs" in body:
            made["inputs"] = {name: source | each for name, each in body["inputs"].items()}
        self.jobs.insert(0, made)
        return web.json_response(made, status=202)

    async def _list(self, request: web.Request) -> web.Response:
        return self._page(request, "jobs", self.jobs, self.page_changes)

    def _page(
        self,
        request: web.Request,
        name: str,
        values: list[dict[str, Any]],
        changes: dict[str, object] | None = None,
    ) -> web.Response:
        start, limit = int(request.query.get("cursor", 0)), int(request.query["limit"])
        page: dict[str, object] = {name: values[start : start + limit], "since_a_later_version": 1}
        page |= changes or {}
        if start + limit < len(values):
            page["next_cursor"] = str(start + limit)
        return web.json_response(page)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.json_response(reported(request.match_info["id"], auc=[0.5, 0.75]) | self.metrics_changes)

    async def _diff(self, request: web.Request) -> web.Response:
        return web.json_response(self.difference or {"a": request.match_info["id"], "b": JOB_ID})

    async def _compare(self, request: web.Request) -> web.Response:
        if (wanted := request.headers["Accept"].partition(",")[0]) != "application/json":
            return web.Response(body=b"job_id\r\n" + wanted.encode(), content_type=wanted)
        answer: dict[str, object] = {"jobs": self.compared, "since_a_later_version": 1}
        return web.json_response(answer | self.comparison_changes)

    async def _usage(self, request: web.Request) -> web.Response:
        if (wanted := request.headers["Accept"].partition(",")[0]) != "application/json":
            return web.Response(body=b"month,jobs\r\n" + wanted.encode(), content_type=wanted)
        answer = {"since": "2026-05-01", "until": "2026-06-01", "by": request.query.get("by", "user")}
        return web.json_response(answer | {"rows": self.usage, "since_a_later_version": 1})

    async def _submit_sweep(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.sweeps.insert(0, sweep(script_name=body["script_name"]))
        return web.json_response(self.sweeps[0], status=202)

    async def _list_sweeps(self, request: web.Request) -> web.Response:
        return self._page(request, "sweeps", self.sweeps)

    async def _list_trials(self, request: web.Request) -> web.Response:
        return self._page(request, "trials", self.trials)

    async def _show_sweep(self, request: web.Request) -> web.Response:
        for each in self.sweeps:
            if each["sweep_id"] == request.match_info["id"]:
                return web.json_response(each)
        return problem(404, "sweep-not-found", "There is no such sweep.", hint="GET /sweeps lists yours.")

    async def _create_schedule(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.schedules.insert(0, schedule(name=body["name"]))
        return web.json_response(self.schedules[0], status=201)

    async def _preview_schedule(self, request: web.Request) -> web.Response:
        known = schedule()
        return web.json_response({"expression": known["expression"], "next": known["next"], "later": 1})

    async def _list_schedules(self, request: web.Request) -> web.Response:
        return self._page(request, "schedules", self.schedules)

    async def _list_runs(self, request: web.Request) -> web.Response:
        return self._page(request, "runs", self.runs)

    async def _run_schedule(self, request: web.Request) -> web.Response:
        return web.json_response(self.runs[0] if self.runs else schedule_run(), status=202)

    async def _show_schedule(self, request: web.Request) -> web.Response:
        for each in self.schedules:
            if each["schedule_id"] == request.match_info["id"]:
                return web.json_response(each)
        return problem(
            404, "schedule-not-found", "There is no such schedule.", hint="GET /schedules lists yours."
        )

    async def _share(self, request: web.Request) -> web.Response:
        kind, name = request.path.split("/")[1:3]
        known = job(name) if kind == "jobs" else sweep(name)
        return web.json_response(known | {"readers": await request.json()})

    async def _list_models(self, request: web.Request) -> web.Response:
        return self._page(request, "models", self.models)

    async def _show_model(self, request: web.Request) -> web.Response:
        for each in self.models:
            if each["model"] == request.match_info["name"]:
                return web.json_response(each)
        return problem(404, "model-not-found", "There is no such model.")

    async def _share_model(self, request: web.Request) -> web.Response:
        return web.json_response(self.models[0] | {"readers": await request.json()})

    async def _alias(self, request: web.Request) -> web.Response:
        return web.json_response(self.models[0]["aliases"][0])

    async def _moves(self, request: web.Request) -> web.Response:
        return web.json_response({"moves": self.models[0]["aliases"]})

    async def _model_artifact(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files["trained"])

    async def _show(self, request: web.Request) -> web.Response:
        for each in self.jobs:
            if each["job_id"] == request.match_info["id"]:
                return web.json_response(each, status=202 if request.method == "POST" else 200)
        return problem(404, "job-not-found", "There is no such job.", hint="GET /jobs lists yours.")

    async def _pin(self, request: web.Request) -> web.Response:
        for number, each in enumerate(self.jobs):
            if each["job_id"] == request.match_info["id"]:
                self.jobs[number] = each | {"pinned": request.method == "PUT"}
        return await self._show(request)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        if "application/x-ndjson" in request.headers["Accept"]:
            return web.Response(body=self.json_log, content_type="application/x-ndjson")
        if "text/event-stream" not in request.headers["Accept"]:
            return web.Response(body=self.plain_log, content_type="text/plain")
        return await self._stream(request)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        steps = self.streams.pop(0)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for step in steps:
            data = step if isinstance(step, bytes) else await step(request)
            if data:
                await response.write(data)
        return response

    async def _manifest(self, request: web.Request) -> web.Response:
        entries = [
            {
                "path": path,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "media_type": "application/octet-stream",
            }
            | self.manifest_changes
            for path, data in self.files.items()
        ]
        manifest: dict[str, object] = {
            "job_id": request.match_info["id"],
            "complete": True,
            "artifacts": entries,
        }
        if self.left_out:
            manifest |= {"left_out": self.left_out[:100], "left_out_count": len(self.left_out)}
        return web.json_response(manifest | {"skipped": self.skipped})

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["path"]])

    async def _scripts(self, request: web.Request) -> web.Response:
        parameter = {"name": "depth", "type": "integer", "default": "3", "minimum": 1, "required": False}
        parameter["maximum"] = 1e6
        entry = {"script_name": "train.py", "description": "Trains.", "sha256": "d" * 64, "network": "none"}
        listing: dict[str, object] = {"commit": "c" * 40, "scripts": [entry | {"parameters": [parameter]}]}
        if self.left_out:
            listing |= {"left_out": self.left_out[:100], "left_out_count": len(self.left_out)}
        return web.json_response(listing)

    async def _secrets(self, _: web.Request) -> web.Response:
        return web.json_response({"secrets": [secret("shared", user=None), secret("api")]})

    async def _set_secret(self, request: web.Request) -> web.Response:
        change = {"rotated": True, "earlier_value_in": [JOB_ID], "since_a_later_version": 1}
        return web.json_response(secret(request.match_info["name"]) | change)

    async def _remove_secret(self, request: web.Request) -> web.Response:
        return web.json_response(secret(request.match_info["name"]))


@contextmanager
def serving(agent: StandIn, context: ssl.SSLContext | None) -> Iterator[str]:
    """Serves `agent` on a free loopback port, in a thread of its own; yields `https://localhost:PORT`."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(
        agent.application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
    )

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        return int(runner.addresses[0][1])

    async def stop() -> None:
        await runner.cleanup()
        # A client of this process may be gone before it has answered the end of TLS, which a close waits for.
        for transport in list(loop._transports.values()):  # type: ignore[attr-defined]
            transport.abort()
        for _ in range(3):  # rounds of the loop, in which they are closed
            await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield f"https://localhost:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

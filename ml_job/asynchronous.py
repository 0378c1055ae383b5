"""The client for programs with an event loop of their own."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, Unpack
from urllib.parse import quote

from agent.cli.job.download import download_alias, download_all, model_address, places_of, select
from agent.cli.job.http import Api, ModelT, decode, parse
from agent.cli.job.profile import Profile, config_directory
from agent.cli.job.stream import Event, follow
from agent.model.alias import Alias, NamedModel, NamedModelPage
from agent.model.artifact import ArtifactManifest
from agent.model.job import Job
from agent.model.log import LogGap, LogLine
from agent.model.metric import JobMetrics
from agent.model.sweep import Sweep, SweepPage, Trial, TrialPage

from . import loading
from .errors import ClientError, told
from .options import JobOptions, RerunOptions, SweepOptions, Values, texts

SWEEP_INTERVAL = 2.0  # seconds between two looks at a sweep that is waited for


class AsyncClient:
    """One agent, as one user: an async context manager. Methods are named as the calls of the API are.

    They take a job or a sweep, or its whole id. They raise `ClientError`, and send a request again where the
    connection broke and that is safe.
    """

    def __init__(self, *, server: str | None = None, identity: str | None = None) -> None:
        """`server` is `https://HOST:PORT`, `identity` the user whose certificate to present.

        By default, they are those that `ml-job` takes: from `ML_JOB_SERVER` and `ML_JOB_IDENTITY`, else from
        the files in `~/.config/ml-job`.
        """
        server, identity = (
            server or os.environ.get("ML_JOB_SERVER"),
            identity or os.environ.get("ML_JOB_IDENTITY"),
        )
        with told():
            self._api = Api(
                Profile.load(config_directory(), server=server or None, identity=identity or None)
            )

    async def __aenter__(self) -> Self:
        await self._api.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.__aexit__()

    # Jobs

    async def submit_job(
        self,
        script_name: str,
        hyperparameters: Values | None = None,
        *,
        key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submits a job. It is on the host's disk when this returns.

        Under the same `key` (an `Idempotency-Key`), the same request is accepted once, however often it is
        made.
        """
        body = {"script_name": script_name, "hyperparameters": texts(hyperparameters or {}), **options}
        return await self._post(Job, "/jobs", body, key)

    async def rerun_job(
        self,
        job: Job | str,
        hyperparameters: Values | None = None,
        *,
        key: str | None = None,
        **changes: Unpack[RerunOptions],
    ) -> Job:
        """Runs a job again, at its commit and with its image, apart from the changes."""
        body = {"hyperparameters": texts(hyperparameters or {}), **changes}
        return await self._post(Job, f"{_of_job(job)}/rerun", body, key)

    async def get_job(self, job: Job | str) -> Job:
        """The job as it is now."""
        return await self._get(Job, _of_job(job))

    async def list_jobs(
        self,
        *,
        status: str | None = None,
        script: str | None = None,
        owner: str | None = None,
        limit: int | None = 100,
    ) -> list[Job]:
        """The newest jobs that match, newest first; all with a `limit` of None."""
        filters = _given(status=status, script=script, owner=owner)
        with told():
            return [decode(Job, each) async for each in self._api.jobs(filters, limit=limit)]

    async def cancel_job(self, job: Job | str) -> Job:
        """Has a job end."""
        return await self._post(Job, f"{_of_job(job)}/cancel", {}, None)

    async def wait_for_job(self, job: Job | str, *, timeout: float | None = None) -> Job:
        """The job once it has ended, however it has. Raises `TimeoutError` after so many seconds."""
        async with asyncio.timeout(timeout):
            known = await self.get_job(job)
            if not known.status.terminal:
                async for event in self._events(f"{_of_job(job)}/events"):
                    if event.name == "end":
                        known = _value(Job, event)
            return known

    # What a job has printed and left

    async def get_metrics(self, job: Job | str) -> JobMetrics:
        """The progress and the metrics that a job has reported."""
        return await self._get(JobMetrics, f"{_of_job(job)}/metrics")

    async def get_logs(self, job: Job | str) -> str:
        """What the job itself has printed until now."""
        with told():
            async with self._api.open(f"{_of_job(job)}/logs", accept="text/plain") as response:
                return (await response.read()).decode("utf-8", "replace")

    async def follow_logs(
        self, job: Job | str, *, tail: int | None = None
    ) -> AsyncGenerator[LogLine | LogGap, None]:
        """The lines of a job's log, those of the system included, until it ends; and where some are missing.

        With `tail`, it begins with so many last lines. Lost connections are made again; no line comes twice.
        """
        params = {} if tail is None else {"tail": str(tail)}
        async with contextlib.aclosing(self._events(f"{_of_job(job)}/logs", params)) as events:
            async for event in events:
                if event.name == "line":
                    yield _value(LogLine, event)
                elif event.name == "gap":
                    yield _value(LogGap, event)

    async def list_artifacts(self, job: Job | str) -> ArtifactManifest:
        """The files that a job has left, with their sizes and SHA-256."""
        return await self._get(ArtifactManifest, f"{_of_job(job)}/artifacts")

    async def download_artifacts(
        self, job: Job | str, *paths: str, directory: str | Path | None = None, force: bool = False
    ) -> list[Path]:
        """Writes artifacts, all or those `paths`, into a directory, by default one named as the job's id.

        Each is checked against its SHA-256. What is there already is not fetched again, and nothing else is
        replaced without `force`. Returns the files.
        """
        manifest = await self.list_artifacts(job)
        with told():
            artifacts = select(manifest, paths)
            output = f"{directory or manifest.job_id}/"
            places = places_of(artifacts, list(paths), output, force=force)
            await download_all(self._api, manifest.job_id, artifacts, places, force=force)
        return places

    async def load_model(self, job: Job | str, path: str, *, trusted: Sequence[str] = ()) -> Any:
        """The model in an artifact that skops has written (`model.skops`). It runs no code of the artifact's.

        It makes types that skops knows, and those in `trusted`; other ones are an error that names them.
        """
        return await self._loaded(job, path, lambda place: loading.load(place, trusted))

    async def load_pickle(self, job: Job | str, path: str) -> Any:
        """The model in an artifact that pickle or joblib has written. **This runs the code in it, as you.**

        An artifact is as trustworthy as the script that wrote it, and as all that the script had read.
        """
        return await self._loaded(job, path, loading.load_pickle)

    async def _loaded(self, job: Job | str, path: str, load: Any) -> Any:
        with TemporaryDirectory() as directory:
            places = await self.download_artifacts(job, path, directory=directory)
            if len(places) != 1:
                raise ClientError(f"{path} is a directory.", "Name one file.")
            return await asyncio.to_thread(load, places[0])

    # Models by name

    async def list_models(self, *, limit: int | None = 100) -> list[NamedModel]:
        """The models that you may read, newest first; all with a `limit` of None."""
        with told():
            found = self._api.listed("/models", "models", NamedModelPage, {}, limit=limit)
            return [decode(NamedModel, each) async for each in found]

    async def get_model(self, model: str) -> NamedModel:
        """A model, with all that its aliases point at."""
        return await self._get(NamedModel, model_address(model))

    async def get_alias(self, model: str, alias: str) -> Alias:
        """What an alias, such as `champion`, points at now."""
        return await self._get(Alias, model_address(model, alias))

    async def set_alias(
        self, model: str, alias: str, job: Job | str, path: str, *, version: str | None = None
    ) -> Alias:
        """Points an alias at an artifact of a job that has COMPLETED. The job is kept from then on.

        With a `version`, the one that `get_alias` gave, only if nobody has moved the alias since.
        """
        body = {"job_id": job if isinstance(job, str) else job.job_id, "path": path}
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        with told():
            moved = await self._api.post(model_address(model, alias), body, headers=headers, method="PUT")
            return decode(Alias, moved)

    async def download_alias(
        self, model: str, alias: str, *, directory: str | Path = ".", force: bool = False
    ) -> Path:
        """Writes what an alias points at into a directory, checked against its SHA-256. Returns the file.

        What is there already is not fetched again, and nothing else is replaced without `force`.
        """
        with told():
            return await download_alias(self._api, model, alias, f"{directory}/", force=force)

    async def load_alias(self, model: str, alias: str, *, trusted: Sequence[str] = ()) -> Any:
        """The model that an alias points at, as `load_model` loads it."""
        return await self._of_alias(model, alias, lambda place: loading.load(place, trusted))

    async def load_alias_pickle(self, model: str, alias: str) -> Any:
        """The same as `load_pickle` loads it. **This runs the code in it, as you.**"""
        return await self._of_alias(model, alias, loading.load_pickle)

    async def _of_alias(self, model: str, alias: str, load: Any) -> Any:
        with TemporaryDirectory() as directory:
            place = await self.download_alias(model, alias, directory=directory)
            return await asyncio.to_thread(load, place)

    # Sweeps

    async def submit_sweep(
        self,
        script_name: str,
        hyperparameters: Values | None = None,
        *,
        space: Mapping[str, Mapping[str, Any]],
        objective: Mapping[str, str],
        key: str | None = None,
        **options: Unpack[SweepOptions],
    ) -> Sweep:
        """Submits a sweep: a script with many hyperparameters. By default, `tpe` chooses them.

        `space` is such as `{"max_depth": {"low": 2, "high": 32}}`, `objective` such as
        `{"metric": "roc_auc", "direction": "maximize"}`. For `key` see `submit_job`.
        """
        chosen = {"strategy": "tpe", "space": space, "objective": objective, **options}
        body = {"script_name": script_name, "hyperparameters": texts(hyperparameters or {}), **chosen}
        return await self._post(Sweep, "/sweeps", body, key)

    async def get_sweep(self, sweep: Sweep | str) -> Sweep:
        """The sweep as it is now, with its best trial."""
        return await self._get(Sweep, _of_sweep(sweep))

    async def list_sweeps(
        self, *, status: str | None = None, owner: str | None = None, limit: int | None = 100
    ) -> list[Sweep]:
        """The newest sweeps that match, newest first; all with a `limit` of None."""
        filters = _given(status=status, owner=owner)
        with told():
            found = self._api.listed("/sweeps", "sweeps", SweepPage, filters, limit=limit)
            return [decode(Sweep, each) async for each in found]

    async def list_trials(self, sweep: Sweep | str) -> list[Trial]:
        """All trials of a sweep until now, in order."""
        with told():
            found = self._api.listed(f"{_of_sweep(sweep)}/trials", "trials", TrialPage, {}, limit=None)
            return [decode(Trial, each) async for each in found]

    async def cancel_sweep(self, sweep: Sweep | str) -> Sweep:
        """Ends a sweep, and cancels its trials."""
        return await self._post(Sweep, f"{_of_sweep(sweep)}/cancel", {}, None)

    async def wait_for_sweep(self, sweep: Sweep | str, *, timeout: float | None = None) -> Sweep:
        """The sweep once it has ended, however it has. Raises `TimeoutError` after so many seconds."""
        async with asyncio.timeout(timeout):
            while not (known := await self.get_sweep(sweep)).status.terminal:  # noqa: ASYNC110
                await asyncio.sleep(SWEEP_INTERVAL)
            return known

    # Requests

    async def _get(self, model: type[ModelT], path: str) -> ModelT:
        with told():
            return decode(model, await self._api.get(path))

    async def _post(self, model: type[ModelT], path: str, body: object, key: str | None) -> ModelT:
        with told():
            return decode(model, await self._api.post(path, body, key=key or secrets.token_urlsafe(18)))

    async def _events(
        self, path: str, params: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Event, None]:
        """Events up to and including `end`."""
        with told():
            # A missing job or agent is an error now. Once the stream runs, a lost agent is waited for.
            await self._api.get(path.rpartition("/")[0])
            events = follow(self._api, path, params=params or {}, notice=lambda _: None)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield event


def _value(model: type[ModelT], event: Event) -> ModelT:
    with told():
        return decode(model, parse(event.data))


def _given(**filters: str | None) -> dict[str, str]:
    return {name: value for name, value in filters.items() if value is not None}


def _of_job(job: Job | str) -> str:
    return f"/jobs/{quote(job if isinstance(job, str) else job.job_id, safe='')}"


def _of_sweep(sweep: Sweep | str) -> str:
    return f"/sweeps/{quote(sweep if isinstance(sweep, str) else sweep.sweep_id, safe='')}"

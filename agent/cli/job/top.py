"""`ml-job top` and `host`: what the running jobs use, and the host's capacity, use and queue."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from ...model.base import ID_PREFIX_LENGTH, format_time, now
from ...model.host import Drain, Host, HostEntry, Usage, UserQueue
from ...model.job import Job, JobState
from ...model.metric import JobMetrics, Progress
from ..failure import Failure
from ..program import JsonOption
from ..quantities import format_duration, format_moment, format_size
from ..terminal import Screen, bold, right
from .http import Api, ModelT, decode
from .invocation import command
from .render import bar, seconds_taken, with_hosts
from .watch import JobList, events_of_jobs, live_view

FIRST_SAMPLE_SECONDS = 1.0  # between the first two samples, from which a CPU share is computed
COLUMNS = (bold("ID"), "SCRIPT", "NAME", "OWNER", right("TIME"), right("CPU"), right("MEMORY"), "PROGRESS")

HOST_COLUMNS = (bold("HOST"), "STATE", right("RUNNING"), right("CPUS"), right("MEMORY"))
USER_COLUMNS = (bold("USER"), right("WAITING"), right("RUNNING"), right("RECENT USE"))

app = typer.Typer()


@command(app)
async def top(
    api: Api,
    screen: Screen,
    interval: Annotated[
        float, typer.Option(min=0.5, max=60, metavar="SECONDS", help="Seconds between two samples.")
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Show what the running jobs use, until Ctrl-C. In a pipe or with --json, prints it once."""
    if as_json or not screen.redraws:
        await _print_once(api, screen, as_json=as_json)
    else:
        await _show_live(api, screen, interval)


@dataclass
class UsageSampler:
    """What each job uses, and its CPU share between the last two samples: 1.0 is one CPU."""

    used: dict[str, Usage] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    async def sample(self, api: Api, jobs: Iterable[Job]) -> None:
        """Asks for the usage of each job. Skips a job that has just ended, and an agent that is away."""
        found = await asyncio.gather(*(_known(api, Usage, job, "usage") for job in jobs))
        before, self.used = self.used, {usage.job_id: usage for usage in found if usage is not None}
        self.shares = {
            job_id: share
            for job_id, usage in self.used.items()
            if job_id in before and (share := _share(before[job_id], usage)) is not None
        }


async def _known(api: Api, model: type[ModelT], job: Job, what: str) -> ModelT | None:
    with contextlib.suppress(Failure):
        return decode(model, await api.get(f"/jobs/{job.job_id}/{what}"))
    return None


def _share(before: Usage, after: Usage) -> float | None:
    seconds = (after.at - before.at).total_seconds()
    if before.cpu_seconds is None or after.cpu_seconds is None or seconds <= 0:
        return None
    return max(0.0, after.cpu_seconds - before.cpu_seconds) / seconds


async def _show_live(api: Api, screen: Screen, interval: float) -> None:
    jobs, sampler = JobList(), UsageSampler()

    def view() -> RenderableType:
        running = jobs.running()
        if not running:
            return Text("nothing runs" if jobs.complete else "…", style="dim")
        rows = [_row(job, sampler, jobs.progress.get(job.job_id), person=True) for job in running]
        return screen.rich_table(*with_hosts(COLUMNS, rows, running))

    async def sample() -> None:
        while True:
            await sampler.sample(api, jobs.running())
            await asyncio.sleep(interval)

    async with live_view(screen, view) as notice:
        sampling = asyncio.create_task(sample())
        try:
            async for event in events_of_jobs(api, "/events?ended=0", jobs, notice):
                jobs.apply(event)
        finally:
            sampling.cancel()


async def _print_once(api: Api, screen: Screen, *, as_json: bool) -> None:
    values = [value async for value in api.jobs({"status": JobState.RUNNING}, limit=None)]
    jobs, sampler = [decode(Job, value) for value in values], UsageSampler()
    await sampler.sample(api, jobs)
    if jobs:
        await asyncio.sleep(FIRST_SAMPLE_SECONDS)
        await sampler.sample(api, jobs)
    reported = await asyncio.gather(*(_known(api, JobMetrics, job, "metrics") for job in jobs))
    progress = [each.progress if each else None for each in reported]
    if as_json:
        each = zip(values, jobs, progress, strict=True)
        screen.json([_document(value, job, sampler, done) for value, job, done in each])
    else:
        shown = zip(jobs, progress, strict=True)
        rows = [_row(job, sampler, done, person=screen.person) for job, done in shown]
        screen.table(*with_hosts(COLUMNS, rows, jobs))


def _row(job: Job, sampler: UsageSampler, progress: Progress | None, *, person: bool) -> list[Text | str]:
    share, used = sampler.shares.get(job.job_id), sampler.used.get(job.job_id)
    memory = used.memory_bytes if used else None
    taken = seconds_taken(job)
    names: list[Text | str] = [job.script_name, job.name or "", job.owner]
    if person:
        return [
            job.job_id[:ID_PREFIX_LENGTH],
            *names,
            "" if taken is None else format_duration(taken),
            "" if share is None else f"{share:.0%}".replace("%", " %"),
            "" if memory is None else format_size(memory),
            bar(progress),
        ]
    return [
        job.job_id,
        *names,
        "" if taken is None else f"{taken:.3f}",
        "" if share is None else f"{share:.3f}",
        "" if memory is None else str(memory),
        "" if progress is None else f"{progress.done / progress.total:.4f}",
    ]


def _document(value: Any, job: Job, sampler: UsageSampler, progress: Progress | None) -> dict[str, Any]:
    """A job as the agent gave it, with its usage and progress as far as they are known."""
    known: dict[str, Any] = {"job": value}
    if job.job_id in sampler.used:
        known["usage"] = sampler.used[job.job_id].model_dump(mode="json", exclude_none=True)
    if job.job_id in sampler.shares:
        known["cpus_used"] = round(sampler.shares[job.job_id], 3)
    if progress is not None:
        known["progress"] = progress.model_dump(mode="json")
    return known


@command(app, "host")
async def show_host(api: Api, screen: Screen, as_json: JsonOption = False) -> None:
    """Show the host's capacity, what is in use, and who waits."""
    value = await api.get("/host")
    screen.result(value, lambda: host_sheet(screen, decode(Host, value)), as_json=as_json)


def host_sheet(screen: Screen, host: Host) -> None:
    """Capacity and queue, then a row per user. Recent use is in seconds of the whole host."""
    capacity, taken = host.capacity, host.in_use
    versions = (f"{name} {version}" for name, version in host.versions.model_dump(exclude_none=True).items())
    memory = f"{format_size(taken.memory_bytes)} of {format_size(capacity.memory_bytes)}"
    screen.sheet(
        [
            ("versions", ", ".join(versions)),
            ("running", f"{taken.jobs} of {capacity.jobs}"),
            ("CPUs", f"{taken.cpus:g} of {capacity.cpus:g}"),
            ("memory", memory),
            ("waiting", str(host.waiting)),
            ("drained", _drained(host.drain) if host.drain else ""),
        ]
    )
    if host.hosts:
        screen.table(HOST_COLUMNS, [_host_row(entry, person=screen.person) for entry in host.hosts])
    if host.users:
        screen.table(USER_COLUMNS, [_user_row(user, person=screen.person) for user in host.users])


def _drained(drain: Drain) -> str:
    """From when, until when and why; of one that has begun, the beginning does not matter."""
    ends = f"until {format_time(drain.ends_at)}" if drain.ends_at else "until its operator resumes it"
    when = ends if drain.begins_at <= now() else f"from {format_time(drain.begins_at)} {ends}"
    return f"{when}: {drain.reason}" if drain.reason else when


def _host_row(entry: HostEntry, *, person: bool) -> list[Text | str]:
    capacity, taken = entry.capacity, entry.in_use
    memory = (taken.memory_bytes, capacity.memory_bytes)
    return [
        entry.name,
        _state(entry, person=person),
        f"{taken.jobs} of {capacity.jobs}",
        f"{taken.cpus:g} of {capacity.cpus:g}",
        " of ".join(format_size(each) if person else str(each) for each in memory),
    ]


def _state(entry: HostEntry, *, person: bool) -> str:
    """In a word, and since when a host is silent."""
    if entry.forgotten or not entry.reachable:
        seen = format_moment(entry.seen_at, person=person)
        return f"{'forgotten' if entry.forgotten else 'unreachable'}, last seen {seen}"
    return "draining" if entry.draining else "ready"


def _user_row(user: UserQueue, *, person: bool) -> list[Text | str]:
    used = user.recent_use_seconds
    return [
        user.user,
        str(user.waiting),
        str(user.running),
        format_duration(used) if person else f"{used:.1f}",
    ]

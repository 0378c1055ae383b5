"""The agent's numbers in the text formats of Prometheus and of OpenMetrics.

No label has the name of a user or of a job, so the number of series is bounded.
"""

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .. import __version__
from ..config import Settings
from ..errors import AgentError
from ..host.machine import room
from ..host.systemd import CGROUPS
from ..identity.key_files import certificates
from ..model.base import now
from ..model.host import Drain
from ..model.job import JobState, Reason
from ..model.monitoring import Live
from ..store.tallies import Tallies

SUCCESS = "none"  # the label of jobs that ended without a reason
STATES = (JobState.PENDING, JobState.CREATED, JobState.RUNNING)
# The group of processes of all jobs (systemd.slice(5)); the name has its parents' names.
JOBS_SLICE = "ml.slice/ml-jobs.slice"


def exposition(
    accept: str, settings: Settings, tallies: Tallies, taken: float, live: Live | None
) -> tuple[bytes, str]:
    """The text in the format that an Accept header asks for, and its Content-Type.

    `taken` is how many seconds the record took to answer. Without `live`, what only a running agent knows is
    missing.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Made(list(_families(settings, tallies, taken, live))))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _families(settings: Settings, tallies: Tallies, taken: float, live: Live | None) -> Iterator[Metric]:
    yield _gauge("info", "The version that answers, as a label", {__version__: 1}, "version")
    yield from _jobs(tallies)
    yield from _capacity(settings, tallies)
    yield from _drain(tallies.drain)
    yield _gauge("store_read_seconds", "How long the record took to answer this scrape", taken)
    yield _gauge("unarchived_logs", "Logs of ended jobs that only the journal has", tallies.unarchived)
    yield from _disks(settings)
    yield from _certificates(settings.pki_directory)
    yield from _processes()
    if live is not None:
        yield _gauge("streams", "Answers that follow a log or events", live.streams)
        lag = "How late the event loop was at the most in the last minute"
        yield _gauge("event_loop_lag_seconds", lag, live.lag_seconds)


class _Made(Collector):
    """Families that are made once."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _gauge(name: str, help_text: str, values: float | dict[str, float], label: str = "") -> Metric:
    """A gauge of one value, or of one for each value of a label."""
    family = GaugeMetricFamily(f"ml_agent_{name}", help_text, labels=[label] if label else [])
    for key, value in values.items() if isinstance(values, dict) else [("", values)]:
        family.add_metric([key] if label else [], value)
    return family


def _jobs(tallies: Tallies) -> Iterator[Metric]:
    active = {str(state): float(tallies.active.get(state, 0)) for state in STATES}
    yield _gauge("jobs", "Jobs that have not ended", active, "state")
    age = (now() - datetime.fromisoformat(tallies.oldest)).total_seconds() if tallies.oldest else 0
    yield _gauge("oldest_waiting_seconds", "How long the oldest waiting job has waited", max(0, age))
    ended = CounterMetricFamily("ml_agent_jobs_ended", "Jobs that have ended", labels=["reason"])
    for reason in (SUCCESS, *Reason):
        ended.add_metric([reason], tallies.ended.get(reason, 0))
    yield ended
    buckets, total = [], 0.0
    for bound, count in tallies.waited.items():
        total += count
        buckets.append((bound, total))
    waiting = HistogramMetricFamily("ml_agent_job_waiting_seconds", "From acceptance to a job's first turn")
    waiting.add_metric([], buckets, sum_value=tallies.waited_seconds)
    yield waiting


def _capacity(settings: Settings, tallies: Tallies) -> Iterator[Metric]:
    limits = [settings.jobs.resolve(job.limits) for job in tallies.running]
    for resource, capacity, taken in (
        ("places", settings.jobs.max_running, len(limits)),
        ("cpus", settings.jobs.cpus, sum(each.cpus for each in limits)),
        ("memory_bytes", settings.jobs.memory_bytes, sum(each.memory_bytes for each in limits)),
    ):
        yield _gauge(f"capacity_{resource}", "What the host gives to jobs", capacity)
        yield _gauge(f"taken_{resource}", "What running jobs take of it", taken)


def _drain(drain: Drain | None) -> Iterator[Metric]:
    """Times are missing that are not known: of a drain that is not planned, or that has no end."""
    begun = drain is not None and drain.begins_at <= now()
    yield _gauge("drained", "1 while the host starts no jobs", float(begun))
    times: dict[str, float] = {}
    if drain:
        times["begin"] = drain.begins_at.timestamp()
        if drain.ends_at:
            times["end"] = drain.ends_at.timestamp()
    help_text = "When the host starts no more jobs and starts them again, in seconds since 1970"
    yield _gauge("drain_timestamp_seconds", help_text, times, "edge")


def _disks(settings: Settings) -> Iterator[Metric]:
    free: dict[str, float] = {}
    inodes: dict[str, float] = {}
    for name, path in (("state", settings.state_directory), ("runtime", settings.runtime_directory)):
        try:
            left = room(path)
        except OSError:
            continue  # it has no value, which an alert tells from a good one
        free[name] = left.bytes
        if left.inodes is not None:
            inodes[name] = left.inodes
    yield _gauge("free_bytes", "Free bytes of the directory's file system", free, "directory")
    yield _gauge("free_inodes", "Free inodes of the directory's file system", inodes, "directory")


def _certificates(directory: Path) -> Iterator[Metric]:
    ends: dict[str, float] = {}
    for name, file in (("server", "server.crt"), ("authority", "ca.crt")):
        try:
            ends[name] = min(each.not_valid_after_utc.timestamp() for each in certificates(directory / file))
        except AgentError:
            continue
    help_text = "When the certificate expires, in seconds since 1970"
    yield _gauge("certificate_expiry_timestamp_seconds", help_text, ends, "certificate")


def _processes() -> Iterator[Metric]:
    """What all jobs use together, by the kernel's count; nothing where it counts nothing (cgroup v1)."""
    manager = CGROUPS / f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"
    try:
        used = int((manager / JOBS_SLICE / "memory.current").read_text("ascii"))
        counts = dict(line.split() for line in (manager / JOBS_SLICE / "cpu.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    yield _gauge("jobs_memory_bytes", "Memory of all running jobs, with files that they have read", used)
    seconds = CounterMetricFamily("ml_agent_jobs_cpu_seconds", "CPU time of jobs since their slice was made")
    seconds.add_metric([], int(counts["usage_usec"]) / 1e6)
    yield seconds

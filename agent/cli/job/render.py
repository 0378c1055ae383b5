"""Jobs as tables, sheets, sentences and bars, and remarks on them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from ...logs.metrics import Collector
from ...model.base import ID_PREFIX_LENGTH, format_time, now
from ...model.explanation import Explanation
from ...model.inputs import JobInput, Limits
from ...model.job import Attempt, Job, JobState
from ...model.log import LogLine
from ...model.metric import IgnoredMarks, Progress
from ..quantities import format_age, format_duration, format_moment, format_size
from ..terminal import Columns, Screen, bold, right, visible

STATE_STYLES = {
    JobState.PENDING: "yellow",
    JobState.CREATED: "cyan",
    JobState.RUNNING: "bold cyan",
    JobState.COMPLETED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "magenta",
}

JOB_COLUMNS = (bold("ID"), "STATUS", "REASON", "SCRIPT", "NAME", "OWNER", "CREATED", right("TIME"))

BAR_LENGTH = 20
CURVE_LENGTH = 16
TICKS = "▁▂▃▄▅▆▇█"
MAX_CURVES = 4  # on a line


def job_table(
    screen: Screen,
    jobs: Iterable[Job],
    *,
    head: bool = True,
    metric: str | None = None,
    reported: Mapping[str, float] | None = None,
) -> None:
    """One row per job: short ids and ages for a person, whole ids and exact times for a program.

    With a `metric`, the last column has what each job `reported` of it last.
    """
    shown = list(jobs)
    own = [job_row(job, person=screen.person) for job in shown]
    columns, rows = with_hosts(JOB_COLUMNS, own, shown)
    if metric is not None:
        values = [(reported or {}).get(job.job_id) for job in shown]
        texts = [
            "" if value is None else f"{value:.6g}" if screen.person else repr(value) for value in values
        ]
        columns = (*columns, right(metric))
        rows = [[*row, text] for row, text in zip(rows, texts, strict=True)]
    screen.table(columns, rows, head=head)


def with_hosts(
    columns: Columns, rows: Sequence[list[Text | str]], jobs: Iterable[Job]
) -> tuple[Columns, Sequence[list[Text | str]]]:
    """The table with a column of the jobs' hosts, if any of the jobs is a fleet's."""
    hosts = [job.host or "" for job in jobs]
    if not any(hosts):
        return columns, rows
    return (*columns, "HOST"), [[*row, host] for row, host in zip(rows, hosts, strict=True)]


def job_row(job: Job, *, person: bool) -> list[Text | str]:
    """The cells of `JOB_COLUMNS`."""
    taken = seconds_taken(job)
    return [
        job.job_id[:ID_PREFIX_LENGTH] if person else job.job_id,
        Text(job.status, style=STATE_STYLES[job.status]),
        f"{job.queue.position} in line" if person and job.queue else job.reason or "",
        job.script_name,
        job.name or "",
        job.owner,
        format_moment(job.created_at, person=person),
        "" if taken is None else format_duration(taken) if person else f"{taken:.3f}",
    ]


def seconds_taken(job: Job) -> float | None:
    """How long the job has run, or ran; None where it has not started."""
    if job.started_at is None:
        return None
    return ((job.finished_at or now()) - job.started_at).total_seconds()


def job_sheet(screen: Screen, job: Job, *, marks: str = "", error: str = "") -> None:
    """Everything about one job, one line per fact.

    `marks` says which reports were not understood, `error` is the last line of a failed job's log.
    """
    screen.sheet([*_job_facts(job, person=screen.person), ("marks", marks), ("last error", error)])


def explanation(screen: Screen, found: Explanation) -> None:
    """The sentence, what would help, and the evidence, one line each."""
    screen.text(Text(visible(found.summary), style=STATE_STYLES[found.status]))
    for advice in found.advice:
        screen.text(Text(f"  {visible(advice)}"))
    for each in found.evidence:
        where = f"line {each.line}" if each.line is not None else each.source
        screen.text(Text(f"    {where}: {visible(each.text)}", style="dim"))


def _job_facts(job: Job, *, person: bool) -> Iterator[tuple[str, Text | str]]:
    yield "job", job.job_id
    yield "status", Text(job.status, style=STATE_STYLES[job.status])
    yield "reason", job.reason or ""
    yield "message", job.message or ""
    yield (
        "queue",
        "" if job.queue is None else f"{job.queue.position} in line; waits for {job.queue.waits_for}",
    )
    yield "exit status", "" if job.exit_status is None else str(job.exit_status)
    yield "name", job.name or ""
    yield "owner", job.owner
    yield "script", job.script_name
    yield "rerun of", job.rerun_of or ""
    yield "after", ", ".join(job.after)
    yield "sweep", f"{job.sweep}, trial {job.trial}" if job.sweep else ""
    yield "schedule", f"{job.schedule}, for {format_time(job.slot)}" if job.schedule and job.slot else ""
    yield "attempt", f"{job.attempt} of {job.max_attempts}" if job.max_attempts > 1 else ""
    yield "retry on", ", ".join(job.retry_on) if job.max_attempts > 1 else ""
    for attempt in job.attempts if job.max_attempts > 1 else ():
        yield f"attempt {attempt.number}", _attempt(attempt)
    yield "commit", job.commit
    yield "script SHA-256", job.script_sha256
    yield "image", f"{job.image} {job.image_digest}".strip()
    for name, value in sorted(job.hyperparameters.items()):
        yield "parameter", f"{name}={value}"
    for name, value in sorted(job.labels.items()):
        yield "label", f"{name}={value}"
    yield from input_facts(job.inputs)
    yield "secrets", ", ".join(job.secrets)
    yield "network", job.network
    yield "must leave", ", ".join(job.artifacts)
    yield "limits", limits_text(job.limits)
    yield "priority", str(job.priority or "")
    yield "host", job.host or ""
    yield "unit", job.unit
    yield "container", job.container_id
    for title, moment in (
        ("created", job.created_at),
        ("started", job.started_at),
        ("finished", job.finished_at),
    ):
        yield title, "" if moment is None else _moment(moment, person=person)
    taken = seconds_taken(job)
    yield "time", "" if taken is None else format_duration(taken)
    yield "pinned", "yes" if job.pinned else ""
    if job.removed is not None:
        yield "removed", f"artifacts and log, {_moment(job.removed.at, person=person)}"


def input_facts(inputs: Mapping[str, JobInput]) -> Iterator[tuple[str, str]]:
    """Each input: the artifact, as `--input` takes it, and its SHA-256 once that is known."""
    for name, each in sorted(inputs.items()):
        alias = f" from {each.model}@{each.alias}" if each.model else ""
        yield "input", f"{name}={each.job_id}:{each.path} {each.sha256 or ''}".rstrip() + alias


def _attempt(attempt: Attempt) -> str:
    """How an attempt ended, such as `interrupted: The host went down while the job ran.`"""
    return ": ".join(filter(None, (attempt.reason or "success", attempt.message)))


def _moment(moment: datetime, *, person: bool) -> str:
    if not person:
        return format_time(moment)
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z} ({format_age(moment)})"


def limits_text(limits: Limits) -> str:
    """The limits that are set, such as `2.0 GiB memory, 1.5 CPUs, 512 tasks, 30 min`."""
    parts = []
    if limits.memory_bytes is not None:
        parts.append(f"{format_size(limits.memory_bytes)} memory")
    if limits.cpus is not None:
        parts.append(f"{limits.cpus:g} CPUs")
    if limits.tasks is not None:
        parts.append(f"{limits.tasks} tasks")
    if limits.run_time_seconds is not None:
        parts.append(format_duration(limits.run_time_seconds))
    if limits.grace_seconds is not None:
        parts.append(f"{format_duration(limits.grace_seconds)} grace")
    return ", ".join(parts)


def outcome(job: Job) -> str:
    """A job's state as a sentence, such as `FAILED (exit-code, status 3) after 12 s: message`."""
    details = [str(job.reason)] if job.reason else []
    if job.exit_status:
        details.append(f"status {job.exit_status}")
    taken = seconds_taken(job) if job.status.terminal else None
    sentence = f"job {job.job_id} is {job.status}"
    sentence += f", attempt {job.attempt} of {job.max_attempts}" if job.max_attempts > 1 else ""
    sentence += ", to be cancelled" if job.cancel_requested and not job.status.terminal else ""
    sentence += f" ({', '.join(details)})" if details else ""
    sentence += f" after {format_duration(taken)}" if taken is not None else ""
    return f"{sentence}: {job.message}" if job.message else sentence


def remark_outcome(screen: Screen, job: Job) -> None:
    """Prints a job's state on stderr."""
    screen.remark(f"ml-job: {outcome(job)}", style=STATE_STYLES[job.status])


def warn(screen: Screen, text: str) -> None:
    """Prints a warning on stderr."""
    screen.remark(f"ml-job: {text}", style="yellow")


def bar(progress: Progress | None, length: int = BAR_LENGTH) -> str:
    """`━━━━━─────  50 %`; nothing for a job without progress."""
    if progress is None:
        return ""
    part = progress.done / progress.total
    full = int(part * length)
    return f"{'━' * full}{'─' * (length - full)} {part:4.0%}".replace("%", " %")


def sparkline(values: Sequence[float], length: int = CURVE_LENGTH) -> str:
    """`▁▂▅▇`: at most `length` of the values, evenly spread, ending with the last one."""
    if len(values) > length:
        values = [values[-1 - (length - 1 - n) * (len(values) - 1) // (length - 1)] for n in range(length)]
    low, high = min(values), max(values)
    # Divided before they are subtracted: the difference of two floats may be infinite.
    scale = high / 2 - low / 2
    if scale == 0:
        return TICKS[0] * len(values)
    return "".join(TICKS[round((value / 2 - low / 2) / scale * (len(TICKS) - 1))] for value in values)


def complaint(ignored: IgnoredMarks | None) -> str:
    """`2 marks were not understood; the first is line 7: value: must be a number`; empty for none."""
    if ignored is None:
        return ""
    marks = "1 mark was" if ignored.count == 1 else f"{ignored.count} marks were"
    first = "it is" if ignored.count == 1 else "the first is"
    return f"{marks} not understood; {first} line {ignored.line}: {ignored.reason}"


class Gauge:
    """The progress and metrics that a job prints into its log, as one line."""

    def __init__(self) -> None:
        self._marks = Collector()
        self._cut: set[str | None] = set()  # the streams whose last line goes on

    def consume(self, line: LogLine) -> bool:
        """Takes a line that is a mark of progress or metrics; returns whether it was one.

        The rest of a line that journald has cut is never a mark.
        """
        rest = line.stream in self._cut
        (self._cut.add if line.continued else self._cut.discard)(line.stream)
        time = int(line.time.timestamp() * 1000)
        return not rest and self._marks.add(line.printed, time, line.number)

    @property
    def complaint(self) -> str:
        """Says that marks were not understood; empty if all were."""
        return complaint(self._marks.ignored)

    def text(self) -> str:
        """`━━━━━─────  50 %  30 of 60   loss 0.31 ▇▅▂▁`; empty before the first mark."""
        parts = []
        if progress := self._marks.progress:
            parts.append(f"{bar(progress)}  {progress.done:g} of {progress.total:g}")
        for series in self._marks.series()[:MAX_CURVES]:
            values = [point.value for point in series.points]
            parts.append(f"{series.name} {values[-1]:.4g} {sparkline(values)}")
        return "   ".join(parts)

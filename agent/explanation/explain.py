"""Why a job waits, why it ended as it did, and what would help: a pure function of what is known."""

import re
import signal
from collections.abc import Callable, Iterator

from ..model.base import format_bytes, format_time
from ..model.explanation import Evidence, EvidenceSource, Explanation
from ..model.job import Job, JobState, Reason
from .facts import Facts, Finding, LogLine, shortened
from .output import by_own_lines, by_system_lines, last_words

QUOTED_LINES = 5  # of a log's end
NEARLY_ALL = 0.9  # of a limit
DOCTOR = "Ask the operator: `ml-agent doctor` says what the host lacks."

SMALLER = "Smaller limits fit sooner. `ml-job host` shows who uses the room."

TOO_LARGE = "Cancel it, and submit it with smaller limits, or ask the operator for more room."

# What helps a job that waits, by the words that say what it waits for.
WAITING = (
    (
        r"^the end of the maintenance from .*(?:by its run-time limit|early enough before that)$",
        "A shorter run-time limit may let it start before: submit it with --time.",
    ),
    (r"^the end of the maintenance", "It starts by itself then. `ml-job host` says what is planned."),
    (r"^this host to take up work again", "The operator has taken the host out of use for now."),
    (r"never starts|more than this host gives", TOO_LARGE),
    (r"none has it", DOCTOR),
    (r"a larger job before it", "A shorter run-time limit may let it pass: submit it with --time."),
    (r"may run \d+ at a time", "It starts when one of them ends; `ml-job cancel` ends one."),
    (r"its next attempt", ""),
    (r"about to start it", ""),
    (r"to complete$", ""),
    (r"free at|a place among|the jobs before it|its turn|has it free", SMALLER),
    (r"not drained", "The operator has taken the host out of use for now."),
    (r"refused it or lost it", "The operator's journal of those hosts says why."),
    (r"unreachable", DOCTOR),
)  # fmt: skip

SIGNALS = {
    signal.SIGSEGV: "A compiled library crashed. Compare its version with one that works.",
    signal.SIGBUS: "A file that was mapped into memory became shorter, or /tmp was full.",
    signal.SIGILL: "A library uses instructions that the processor has not. Use another build of it.",
    signal.SIGABRT: "A library found a fault and gave up; it says so in the lines before.",
    signal.SIGFPE: "A library divided a whole number by zero.",
    signal.SIGKILL: "Somebody or something on the host killed it; the operator's journal may say who.",
    signal.SIGTERM: "The script, or somebody on the host, sent it. The agent did not.",
    signal.SIGSYS: "A library used a system call that jobs may not use: docs/cage.md.",
}


def explain(facts: Facts) -> Explanation:
    """One true sentence about the job, what helps, and the evidence."""
    job = facts.job
    found = EXPLAINED[job.status](facts)
    return Explanation(
        job_id=job.job_id,
        status=job.status,
        summary=found.summary,
        advice=[each.replace("{job}", job.job_id) for each in found.advice],
        evidence=list(_evidence(facts, found)),
    )


def _waiting(facts: Facts) -> Finding:
    job = facts.job
    if job.queue is None:
        return Finding("The job waits for its turn.")
    words = job.queue.waits_for
    advice = next((advice for pattern, advice in WAITING if re.search(pattern, words)), "")
    return Finding(f"The job waits for {words}.", (advice,) if advice else ())


def _starting(_: Facts) -> Finding:
    return Finding("The job's turn has come: its container is being started.")


def _running(facts: Facts) -> Finding:
    job, usage = facts.job, facts.usage
    limit = job.limits.memory_bytes
    if usage and usage.memory_bytes and limit and usage.memory_bytes > NEARLY_ALL * limit:
        used = format_bytes(usage.memory_bytes)
        summary = f"The job runs, and uses {used} of its {format_bytes(limit)} of memory."
        return Finding(
            summary, ("What it has read from files counts too, and is given back when it is needed.",)
        )
    if job.cancel_requested:
        return Finding(
            "The job was cancelled, and has not ended yet.", ("SIGKILL follows after its grace period.",)
        )
    return Finding("The job runs, and nothing is known to be wrong.")


def _completed(facts: Facts) -> Finding:
    tried = f" at attempt {facts.job.attempt}" if facts.job.attempt > 1 else ""
    return Finding(f"Nothing is wrong: the script ended with status 0{tried}.")


def _cancelled(facts: Facts) -> Finding:
    job = facts.job
    when = "while it ran" if job.started_at else "before it began"
    if job.reason is Reason.CANCELLED:
        return Finding(f"A client cancelled the job {when}.", ("Run it again with `ml-job rerun {job}`.",))
    return Finding(_message(job))


def _failed(facts: Facts) -> Finding:
    by_reason = FAILED.get(facts.job.reason) if facts.job.reason else None
    return by_reason(facts) if by_reason else Finding(_message(facts.job))


def _exit(facts: Facts) -> Finding:
    found = by_own_lines(facts.job, facts.lines)
    if found:
        return found
    status, words = facts.job.exit_status, last_words(facts.lines)
    if words:
        said = shortened(words.text.strip()).rstrip(".")
        return Finding(
            f"The script ended itself with status {status}; its last words were: {said}.", (), words
        )
    advice = "Let the script print why before it ends."
    return Finding(f"The script ended itself with status {status}, and said nothing.", (advice,))


def _signal(facts: Facts) -> Finding:
    number = (facts.job.exit_status or 128) - 128
    advice = next((text for known, text in SIGNALS.items() if known == number), "")
    return Finding(_message(facts.job), (advice,) if advice else ())


def _memory(facts: Facts) -> Finding:
    limit = facts.job.limits.memory_bytes
    of = f" of {format_bytes(limit)}" if limit else ""
    return Finding(
        f"The job needed more memory than its limit{of}.",
        (
            "Rerun it with more: `ml-job rerun {job} --memory SIZE`.",
            "What it writes to /tmp is in this memory, too.",
        ),
    )


def _timeout(facts: Facts) -> Finding:
    limit = facts.job.limits.run_time_seconds
    of = f" of {limit} s" if limit else ""
    return Finding(
        f"The job ran for longer than its limit{of}.",
        ("Rerun it with more: `ml-job rerun {job} --time TIME`.",),
    )


def _not_started(facts: Facts) -> Finding:
    message = _message(facts.job)
    if "its log says why" in message and (found := by_system_lines(facts.job, facts.lines)):
        return found
    return Finding(message, (DOCTOR,))


def _interrupted(facts: Facts) -> Finding:
    return Finding(
        _message(facts.job),
        (
            "The script is not at fault: `ml-job rerun {job}` runs it again.",
            "Submitted with --max-attempts 2, it is tried again by itself.",
        ),
    )


def _artifacts(facts: Facts) -> Finding:
    return Finding(
        _message(facts.job),
        ("Write less to /artifacts, or rerun with larger limits: `ml-job rerun --help`.",),
    )


def _missing(facts: Facts) -> Finding:
    return Finding(_message(facts.job), ("The script declares this file: write it, or declare it no more.",))


def _storage(facts: Facts) -> Finding:
    return Finding(
        _message(facts.job), ("Ask the operator for room on the host's disk, then rerun the job.",)
    )


EXPLAINED: dict[JobState, Callable[[Facts], Finding]] = {
    JobState.PENDING: _waiting,
    JobState.CREATED: _starting,
    JobState.RUNNING: _running,
    JobState.COMPLETED: _completed,
    JobState.FAILED: _failed,
    JobState.CANCELLED: _cancelled,
}
FAILED: dict[Reason, Callable[[Facts], Finding]] = {
    Reason.EXIT_CODE: _exit,
    Reason.SIGNAL: _signal,
    Reason.OOM_KILL: _memory,
    Reason.TIMEOUT: _timeout,
    Reason.START_FAILED: _not_started,
    Reason.INTERRUPTED: _interrupted,
    Reason.ARTIFACT_QUOTA: _artifacts,
    Reason.ARTIFACT_MISSING: _missing,
    Reason.STORAGE_FULL: _storage,
}


def _message(job: Job) -> str:
    """What the record says of the job's end."""
    return job.message or f"The job has ended: {job.reason or job.status}."


def _evidence(facts: Facts, found: Finding) -> Iterator[Evidence]:
    job = facts.job
    if found.line:
        yield _quoted(found.line)
    if job.status is JobState.PENDING and job.queue:
        yield Evidence(source=EvidenceSource.QUEUE, text=f"position {job.queue.position} of the queue")
    yield from _from_record(job)
    yield from _from_usage(facts)
    if job.status.terminal and job.status is not JobState.COMPLETED:
        rest = [line for line in facts.lines if line.text.strip() and line != found.line]
        for line in rest[-QUOTED_LINES:]:
            yield _quoted(line)


def _from_record(job: Job) -> Iterator[Evidence]:
    def told(text: str) -> Evidence:
        return Evidence(source=EvidenceSource.RECORD, text=text)

    if job.reason:
        status = "" if job.exit_status is None else f", exit status {job.exit_status}"
        said = f": {job.message}" if job.message else ""
        yield told(f"reason {job.reason}{status}{said}")
    earlier = [each for each in job.attempts if each.number != job.attempt or not job.status.terminal]
    for each in earlier:
        yield told(
            f"attempt {each.number} of {job.max_attempts}: {each.message or each.reason or 'ended well'}"
        )
    if job.removed:
        yield told(f"its log was removed by retention at {format_time(job.removed.at)}")


def _from_usage(facts: Facts) -> Iterator[Evidence]:
    usage, limit = facts.usage, facts.job.limits.memory_bytes
    if usage and usage.memory_bytes is not None:
        of = f" of {format_bytes(limit)}" if limit else ""
        yield Evidence(source=EvidenceSource.USAGE, text=f"{format_bytes(usage.memory_bytes)}{of} of memory")
    if usage and usage.cpu_seconds is not None:
        yield Evidence(source=EvidenceSource.USAGE, text=f"{usage.cpu_seconds:.1f} s of CPU time")


def _quoted(line: LogLine) -> Evidence:
    return Evidence(source=EvidenceSource.LOG, text=shortened(line.text), line=line.number)

"""What ended jobs reported and used, beside their records."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from sqlite3 import Connection

from ..errors import invalid_request
from ..model.comparison import (
    MAX_COMPARED_SIZE,
    NOT_KNOWN,
    Consumption,
    MeasuredJob,
    MetricSummary,
)
from ..model.job import Job
from .database import Tables, transaction
from .shares import with_readers
from .usage import enter_consumption

NAMED = "id IN (SELECT value FROM json_each(:which))"


class SummaryStore(Tables):
    """Reads jobs with their summaries, and records those."""

    @transaction
    def record(
        self, db: Connection, job_id: str, metrics: Mapping[str, MetricSummary], consumption: Consumption
    ) -> None:
        """Records what an ended job reported and used. What is not known of its use stays as it was."""
        record_summary(db, job_id, metrics, consumption)

    @transaction
    def jobs(self, db: Connection, job_ids: Sequence[str]) -> list[MeasuredJob]:
        """The jobs with these ids, in their order; an id that no job has is left out.

        Raises `AgentError` (invalid-request) where their records are too large together.
        """
        found = {each.job.job_id: each for each in _measured(db, NAMED, json.dumps(job_ids))}
        return [found[job_id] for job_id in dict.fromkeys(job_ids) if job_id in found]

    @transaction
    def trials(self, db: Connection, sweep_id: str) -> list[MeasuredJob]:
        """The trials of a sweep, in their order. Raises `AgentError` as `jobs` does."""
        return sorted(_measured(db, "sweep = :which", sweep_id), key=lambda each: each.job.trial or 0)


def record_summary(
    db: Connection, job_id: str, metrics: Mapping[str, MetricSummary], consumption: Consumption
) -> None:
    """The same inside a transaction. A job that retention has removed meanwhile gets none."""
    cursor = db.execute(
        "UPDATE jobs SET summarised = 1, cpu_seconds = coalesce(?, cpu_seconds),"
        " memory_peak_bytes = coalesce(?, memory_peak_bytes) WHERE id = ?",
        (*consumption, job_id),
    )
    if cursor.rowcount:
        db.executemany(
            "INSERT OR REPLACE INTO job_metrics (job_id, name, count, last, low, high, seq, owner)"
            " SELECT id, ?2, ?3, ?4, ?5, ?6, seq, owner FROM jobs WHERE id = ?1",
            [(job_id, name, each.count, each.last, each.min, each.max) for name, each in metrics.items()],
        )


def record_archived(
    db: Connection,
    job_id: str,
    metrics: Mapping[str, MetricSummary] | None,
    used: Mapping[int, Consumption],
) -> None:
    """Records inside a transaction that a job's log is archived, and enters what it used into the ledger."""
    first = db.execute("DELETE FROM unarchived WHERE job_id = ?", (job_id,)).rowcount == 1
    (document,) = db.execute("SELECT document FROM jobs WHERE id = ?", (job_id,)).fetchone() or (None,)
    if document is None:  # retention has removed it meanwhile
        return
    job = Job.model_validate_json(document)
    if first:
        enter_consumption(db, job, used)
    if metrics is not None:
        record_summary(db, job_id, metrics, used.get(job.attempt, NOT_KNOWN))


def _measured(db: Connection, condition: str, which: str) -> list[MeasuredJob]:
    """Only the fixed conditions of this module are put into the texts."""
    metrics: defaultdict[str, dict[str, MetricSummary]] = defaultdict(dict)
    for job_id, name, count, last, low, high in db.execute(
        "SELECT job_id, name, count, last, low, high FROM job_metrics"  # noqa: S608
        f" WHERE job_id IN (SELECT id FROM jobs WHERE {condition})",
        {"which": which},
    ):
        metrics[job_id][name] = MetricSummary(count=count, last=last, min=low, max=high)
    found, size = [], 0
    rows = db.execute(
        f"SELECT id, summarised, cpu_seconds, memory_peak_bytes, document FROM jobs WHERE {condition}",  # noqa: S608
        {"which": which},
    )
    with closing(rows):
        for job_id, summarised, cpu_seconds, peak, document in rows:
            size += len(document)
            if size > MAX_COMPARED_SIZE:
                raise invalid_request(
                    f"The records of these jobs have more than {MAX_COMPARED_SIZE} characters together.",
                    "Compare fewer of them at a time.",
                )
            job = with_readers(db, Job.model_validate_json(document))
            known = metrics[job_id] if summarised else None
            found.append(MeasuredJob(job, known, Consumption(cpu_seconds, peak)))
    return found

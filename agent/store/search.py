"""Jobs by their labels and by what they reported, in pages: by age, or by the last value of a metric."""

from contextlib import closing
from sqlite3 import Connection
from typing import Any

from ..errors import AgentError, FieldError, Problem
from ..model.job import Job, JobPage
from ..model.search import JobSearch, Order
from .database import MAX_PAGE_SIZE, Tables, transaction

BY_VALUE = (Order.HIGHEST, Order.LOWEST)


class SearchStore(Tables):
    """Finds jobs. Only fixed texts of this module are put into a query."""

    @transaction
    def page(self, db: Connection, search: JobSearch) -> JobPage:
        """`search.limit` jobs, or fewer where they are too large together; `values` are those of the metric.

        Raises `AgentError` (invalid-request) where the last job of the page before is gone.
        """
        values = _values(search)
        terms = _terms(search, values)
        if search.after is not None:
            terms.append(_behind(db, search, values))
        metric = ", m.last" if search.metric else ", NULL"
        query = f"SELECT j.seq, j.document{metric} FROM {_tables(search)}"  # noqa: S608
        query += f" WHERE {' AND '.join(terms)}" if terms else ""
        rows = db.execute(f"{query} ORDER BY {_order(search)} LIMIT :limit", values)
        jobs, reported, size, last = list[Job](), dict[str, float](), 0, 0
        shown = reported if search.metric else None
        with closing(rows):
            for seq, document, value in rows:
                size += len(document)
                if jobs and (len(jobs) == search.limit or size > MAX_PAGE_SIZE):
                    return JobPage(jobs=jobs, values=shown, next_cursor=str(last))
                jobs.append(Job.model_validate_json(document))
                if value is not None:
                    reported[jobs[-1].job_id] = value
                last = seq
        return JobPage(jobs=jobs, values=shown)


def _values(search: JobSearch) -> dict[str, Any]:
    values = {
        "owner": search.owner,
        "status": search.status,
        "script": search.script,
        "metric": search.metric,
    }
    for number, (name, value) in enumerate(search.labels.items()):
        values |= {f"name{number}": name, f"value{number}": value}
    return values | {"limit": search.limit + 1}


def _tables(search: JobSearch) -> str:
    """CROSS JOIN keeps the order: from the index that has few rows, or the right order, to the jobs."""
    if search.metric and (search.order in BY_VALUE or not search.labels):
        return "job_metrics m CROSS JOIN jobs j ON j.seq = m.seq"
    first = "job_labels l CROSS JOIN jobs j ON j.seq = l.seq" if search.labels else "jobs j"
    return first + (" JOIN job_metrics m ON m.job_id = j.id" if search.metric else "")


def _terms(search: JobSearch, values: dict[str, Any]) -> list[str]:
    """The conditions, of the table that comes first where it can say the same."""
    tables = _tables(search)
    terms = [f"j.{name} = :{name}" for name in ("status", "script") if values[name] is not None]
    if search.owner is not None:
        terms.append(f"{tables[tables.index(' ') + 1]}.owner = :owner")
    if search.metric:
        terms.append("m.name = :metric")
    for number in range(len(search.labels)):
        if number == 0 and tables.startswith("job_labels"):
            terms.append("l.name = :name0 AND l.value = :value0")
        else:
            own = f"o.name = :name{number} AND o.value = :value{number} AND o.seq = j.seq"
            terms.append(f"EXISTS (SELECT 1 FROM job_labels o WHERE {own})")  # noqa: S608
    return terms


def _order(search: JobSearch) -> str:
    down = "DESC" if search.order in (Order.NEWEST, Order.HIGHEST) else "ASC"
    tables = _tables(search)
    seq = f"{tables[tables.index(' ') + 1]}.seq {down}"
    return f"m.last {down}, {seq}" if search.order in BY_VALUE else seq


def _behind(db: Connection, search: JobSearch, values: dict[str, Any]) -> str:
    """The condition that a row comes after the page before, whose last job is `search.after`."""
    sign = "<" if search.order in (Order.NEWEST, Order.HIGHEST) else ">"
    values["after"] = search.after
    tables = _tables(search)
    seq = f"{tables[tables.index(' ') + 1]}.seq"
    if search.order not in BY_VALUE:
        return f"{seq} {sign} :after"
    row = db.execute(
        "SELECT m.last FROM job_metrics m JOIN jobs j ON j.id = m.job_id WHERE j.seq = ? AND m.name = ?",
        (search.after, search.metric),
    ).fetchone()
    if row is None:
        field = FieldError("cursor", "is of a job that is gone; begin again without it")
        raise AgentError(Problem.INVALID_REQUEST, "The list has changed meanwhile.", fields=(field,))
    values["last"] = row[0]
    return f"(m.last, {seq}) {sign} (:last, :after)"

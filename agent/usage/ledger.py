"""Answers from the ledger: for a period, by user, script or label."""

from collections.abc import AsyncGenerator
from typing import Any

from ..comparison.table import Column, csv_pieces
from ..errors import invalid_request
from ..model.usage import MAX_ROWS, MEMBERS, Period, UsageKey, UsageReport, UsageRow
from ..store.usage import UsageStore

TYPES = {
    "month": "text",
    "user": "text",
    "script_name": "text",
    "label": "text",
    "jobs": "integer",
    "attempts": "integer",
    "measured_attempts": "integer",
    "seconds": "number",
    "cpu_seconds": "number",
    "memory_gib_hours": "number",
    "memory_peak_gib_hours": "number",
    "memory_peak_bytes": "integer",
    "artifact_bytes": "integer",
}


class Ledger:
    """Reads a store's ledger."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    async def report(self, period: Period, *, by: UsageKey, owner: str | None) -> UsageReport:
        """What one user, or all, have used. Each month is a transaction of its own: other work goes between.

        Raises `AgentError` (invalid-request) for more than `MAX_ROWS` rows, and what `of_month` raises.
        """
        rows: list[UsageRow] = []
        for month in period.months():
            rows += await self._store.of_month(month, by=by, owner=owner, limit=MAX_ROWS + 1 - len(rows))
            if len(rows) > MAX_ROWS:
                raise invalid_request(
                    f"The answer would have more than {MAX_ROWS} rows.",
                    "Ask for fewer months at a time, for one owner, or by another key.",
                )
        return UsageReport(by=by, since=period.since, until=period.until, rows=rows)

    def csv(self, report: UsageReport) -> AsyncGenerator[bytes]:
        """The report as CSV with a head, in pieces. A figure that is not known is an empty cell."""
        return csv_pieces(columns(report), len(report.rows))


def columns(report: UsageReport) -> list[Column]:
    """The columns of a report, without those that its rows are not about."""
    left_out = set(MEMBERS.values()) - {MEMBERS[report.by]}
    wanted = [(name, kind) for name, kind in TYPES.items() if name not in left_out]
    return [Column(name, kind, _cells(report, name)) for name, kind in wanted]


def _cells(report: UsageReport, name: str) -> list[Any]:
    return [getattr(row, name) for row in report.rows]

"""A comparison as a table: columns with a type each, and rows of CSV."""

import csv
import io
import re
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import invalid_request
from ..model.base import format_time
from ..model.comparison import Comparison

MAX_CELLS = 500_000
PIECE = 100  # rows that are written at a time
OF_A_JOB = {
    "job_id": "text",
    "status": "text",
    "reason": "text",
    "name": "text",
    "owner": "text",
    "script_name": "text",
    "sweep": "text",
    "trial": "integer",
    "commit": "text",
    "image_digest": "text",
    "attempt": "integer",
    "created_at": "time",
    "started_at": "time",
    "finished_at": "time",
    "seconds": "number",
    "cpu_seconds": "number",
    "memory_peak_bytes": "integer",
}
OF_A_METRIC = {"count": "integer", "last": "number", "min": "number", "max": "number"}
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # as a 64-bit integer writes itself: "007" is a text
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
FORMULA = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet computes


@dataclass(frozen=True)
class Column:
    """A column: `type` is text, integer, number, boolean or time, and None a cell without a value."""

    name: str
    type: str
    cells: list[Any]


def columns(comparison: Comparison) -> list[Column]:
    """All columns. Raises `AgentError` (invalid-request) where they would have too many cells."""
    rows = comparison.jobs
    parameters = _names(row.hyperparameters for row in rows)
    labels = _names(row.labels for row in rows)
    metrics = _names(row.metrics or {} for row in rows)
    objective = comparison.objective
    parts = {
        name: OF_A_METRIC | ({"best": "number"} if objective and objective.metric == name else {})
        for name in metrics
    }
    count = len(OF_A_JOB) + len(parameters) + len(labels) + sum(map(len, parts.values()))
    if count * len(rows) > MAX_CELLS:
        raise invalid_request(
            f"The table would have {count} columns for {len(rows)} jobs; it may have {MAX_CELLS} cells.",
            "Ask for JSON, or compare fewer jobs at a time.",
        )
    found = [Column(name, kind, [getattr(row, name) for row in rows]) for name, kind in OF_A_JOB.items()]
    found += [
        _inferred(f"parameter.{name}", [row.hyperparameters.get(name) for row in rows]) for name in parameters
    ]
    found += [Column(f"label.{name}", "text", [row.labels.get(name) for row in rows]) for name in labels]
    for name, kinds in parts.items():
        said = [(row.metrics or {}).get(name) for row in rows]
        found += [
            Column(f"metric.{name}.{part}", kind, [getattr(each, part, None) for each in said])
            for part, kind in kinds.items()
        ]
    return found


def _names(members: Iterable[dict[str, Any]]) -> list[str]:
    """All names, each where it comes first."""
    return list(dict.fromkeys(name for each in members for name in each))


def _inferred(name: str, texts: list[str | None]) -> Column:
    """A column of hyperparameters: of the type that all of its texts are written as."""
    given = [text for text in texts if text is not None]
    for kind, written, read in KINDS:
        if all(map(written, given)):
            return Column(name, kind, [None if text is None else read(text) for text in texts])
    return Column(name, "text", list(texts))


KINDS: tuple[tuple[str, Callable[[str], object], Callable[[str], object]], ...] = (
    ("integer", INTEGER.fullmatch, int),
    ("number", NUMBER.fullmatch, float),
    ("boolean", ("true", "false").__contains__, "true".__eq__),
)


async def csv_pieces(columns: list[Column], rows: int) -> AsyncGenerator[bytes]:
    """CSV (RFC 4180, in UTF-8, with a head), some rows at a time."""
    for piece in _pieces(columns, rows):
        yield piece


def _pieces(columns: list[Column], rows: int) -> Generator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_harmless(column.name) for column in columns)
    for start in range(0, max(rows, 1), PIECE):
        for row in range(start, min(start + PIECE, rows)):
            writer.writerow(_cell(column, column.cells[row]) for column in columns)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _cell(column: Column, value: Any) -> str:
    if value is None:
        return ""
    match column.type:
        case "time":
            return format_time(value)
        case "boolean":
            return str(value).lower()
        case "text":
            return _harmless(str(value))
    return repr(value)


def _harmless(text: str) -> str:
    """The text, which no spreadsheet takes for a formula (OWASP, "CSV injection")."""
    return f"'{text}" if text.startswith(FORMULA) else text

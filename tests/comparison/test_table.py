"""A comparison as CSV and as Parquet: what pandas reads, and what a spreadsheet must not compute."""

import io
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from agent.comparison import parquet_writer
from agent.comparison.parquet_writer import written
from agent.comparison.table import MAX_CELLS, OF_A_JOB, columns, csv_pieces
from agent.errors import AgentError, Problem
from agent.model.comparison import ComparedJob, Comparison, MetricSummary
from agent.model.sweep import Direction, Objective

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
SUMMARY = MetricSummary(count=3, last=0.1, min=-1e-300, max=1.0, best=1.0)
# Of each parameter's values in two jobs, the type that pandas has for them.
PARAMETERS = {
    "depth": (("3", "12"), "int64"),
    "rate": (("1e-3", "2"), "float64"),
    "shift": (("-0.5", "-1"), "float64"),
    "flag": (("true", "false"), "bool"),
    "kind": (("gini", "7"), "str"),
    "large": (("9" * 18, "-1"), "int64"),
}


def row(number: int, **fields: Any) -> ComparedJob:
    usual: dict[str, Any] = {
        "job_id": "a" * 11 + "abcdefgh"[number % 8],
        "status": "COMPLETED",
        "name": 'ü, "x"',
        "owner": "alice",
        "script_name": "train.py",
        "hyperparameters": {name: values[number % 2] for name, (values, _) in PARAMETERS.items()},
        "trial": number,
        "commit": "c" * 40,
        "image_digest": "sha256:1",
        "attempt": 1,
        "created_at": MOMENT,
        "started_at": MOMENT,
        "seconds": 1.5,
        "memory_peak_bytes": 2**40,
        "metrics": {"auc": SUMMARY, "a.b/c": SUMMARY},
    }
    return ComparedJob.model_validate(usual | fields)


def compared(*rows: ComparedJob) -> Comparison:
    objective = Objective(metric="auc", direction=Direction.MAXIMIZE)
    return Comparison(objective=objective, jobs=list(rows))


async def as_csv(comparison: Comparison) -> bytes:
    pieces = csv_pieces(columns(comparison), len(comparison.jobs))
    return b"".join([piece async for piece in pieces])


async def frames(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """What pandas reads of both files."""
    times = [name for name, kind in OF_A_JOB.items() if kind == "time"]
    data = await as_csv(comparison)
    return {
        "csv": pd.read_csv(io.BytesIO(data), parse_dates=times),
        "parquet": pd.read_parquet(io.BytesIO(await written(columns(comparison)))),
    }


async def test_pandas_reads_the_types_and_values() -> None:
    for form, frame in (await frames(compared(row(0), row(1)))).items():
        assert list(frame["job_id"]) == ["a" * 12, "a" * 11 + "b"], form
        assert list(frame["name"]) == ['ü, "x"'] * 2
        assert str(frame["created_at"].dtype).endswith("UTC]")
        assert [each.to_pydatetime() for each in frame["created_at"]] == [MOMENT] * 2
        expected = {"trial": "int64", "attempt": "int64", "seconds": "float64", "memory_peak_bytes": "int64"}
        expected |= {f"parameter.{name}": kind for name, (_, kind) in PARAMETERS.items()}
        for metric in ("auc", "a.b/c"):
            expected |= {f"metric.{metric}.{part}": "float64" for part in ("last", "min", "max")}
            expected[f"metric.{metric}.count"] = "int64"
        assert {name: str(frame[name].dtype) for name in expected} == expected, form
        assert list(frame["parameter.large"]) == [int("9" * 18), -1]
        assert list(frame["metric.auc.min"]) == [-1e-300] * 2
        assert list(frame["memory_peak_bytes"]) == [2**40] * 2
        assert "metric.auc.best" in frame
        assert "metric.a.b/c.best" not in frame


async def test_what_is_missing_is_missing_in_both() -> None:
    nothing = row(1, metrics=None, hyperparameters={}, started_at=None, memory_peak_bytes=None, name=None)
    for form, frame in (await frames(compared(row(0), nothing))).items():
        for name in ("started_at", "memory_peak_bytes", "parameter.rate", "metric.auc.last", "name"):
            assert list(frame[name].isna()) == [False, True], (form, name)


async def test_a_number_that_a_text_would_lose_stays_a_text() -> None:
    texts = [row(number, hyperparameters={"zip": text}) for number, text in enumerate(("007", "1"))]
    frame = pd.read_parquet(io.BytesIO(await written(columns(compared(*texts)))))
    assert list(frame["parameter.zip"]) == ["007", "1"]


@pytest.mark.parametrize("text", ["=1+1", "+1+cmd", "-2+3", "@SUM(1)", '=HYPERLINK("x")'])
async def test_no_cell_of_csv_is_a_formula(text: str) -> None:
    hostile = row(0, name=text, labels={"l": text}, hyperparameters={"p": text})
    data = (await as_csv(compared(hostile))).decode()
    frame = pd.read_csv(io.StringIO(data))
    for name in ("name", "label.l", "parameter.p"):
        assert list(frame[name]) == [f"'{text}"]
    exact = pd.read_parquet(io.BytesIO(await written(columns(compared(hostile)))))
    assert list(exact["name"]) == [text]


async def test_a_negative_number_is_no_formula() -> None:
    assert "'" not in (await as_csv(compared(row(0, hyperparameters={"p": "-1"})))).decode()


async def test_a_table_without_rows_has_its_head() -> None:
    for frame in (await frames(compared())).values():
        assert (len(frame), next(iter(frame))) == (0, "job_id")


def test_too_large_a_table_is_refused() -> None:
    rows = [
        row(number, hyperparameters={f"p{number}_{each}": "1" for each in range(100)})
        for number in range(100)
    ]
    with pytest.raises(AgentError, match=f"may have {MAX_CELLS} cells") as caught:
        columns(compared(*rows))
    assert caught.value.problem is Problem.INVALID_REQUEST


async def test_a_host_without_pyarrow_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writer, "is_installed", lambda: False)
    with pytest.raises(AgentError, match="needs pyarrow") as caught:
        await written(columns(compared(row(0))))
    assert caught.value.problem is Problem.NOT_ACCEPTABLE
    assert "requirements-parquet.txt" in caught.value.hint


async def test_a_program_that_fails_is_an_error_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writer, "PROGRAM", parquet_writer.PROGRAM.with_name("missing.py"))
    with pytest.raises(AgentError, match="No such file") as caught:
        await written(columns(compared(row(0))))
    assert caught.value.problem is Problem.HOST

"""Has a table written as Parquet by a process of its own (`parquet.py`)."""

import asyncio
import contextlib
import importlib.util
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import AgentError, Problem, host_failed
from ..host.tasks import finish
from .table import Column

PROGRAM = Path(__file__).with_name("parquet.py")
SECONDS = 60.0


def is_installed() -> bool:
    """Whether pyarrow is, in the agent's own environment."""
    return importlib.util.find_spec("pyarrow") is not None


async def written(columns: Sequence[Column]) -> bytes:
    """The table as Parquet.

    Raises `AgentError`: not-acceptable where pyarrow is not installed, host where it fails.
    """
    if not is_installed():
        raise AgentError(
            Problem.NOT_ACCEPTABLE,
            "A comparison in Parquet needs pyarrow, which is not installed on this host.",
            "Ask for text/csv, or ask the operator to install requirements-parquet.txt.",
        )
    table = await asyncio.to_thread(_as_json, columns)
    # Isolated: it takes no modules from its own directory, nor from one that a variable names.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(PROGRAM), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            data, said = await process.communicate(table)
    except TimeoutError as error:
        raise host_failed(f"pyarrow has not written the comparison within {SECONDS:g} s.") from error
    finally:
        if process.returncode is None:
            await finish(_killed(process))
    if process.returncode != 0:
        lines = said.decode("utf-8", "replace").strip().splitlines() or [f"status {process.returncode}"]
        raise host_failed(f"pyarrow cannot write the comparison: {lines[-1]}.", "Ask for text/csv instead.")
    return data


async def _killed(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _as_json(columns: Sequence[Column]) -> bytes:
    return json.dumps(
        [[each.name, each.type, [_plain(cell) for cell in each.cells]] for each in columns]
    ).encode()


def _plain(cell: Any) -> Any:
    """A time as milliseconds since 1970; all else as it is."""
    return round(cell.timestamp() * 1000) if isinstance(cell, datetime) else cell

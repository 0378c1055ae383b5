"""A program of its own: writes a table as Parquet.

    python parquet.py    reads JSON, `[[name, type, cells], …]`, and writes the file to its output

pyarrow takes half a second of CPU and 60 MB to import: in the agent, it would delay every answer and never be
given back. Imports nothing of the agent. A time is in milliseconds since 1970.
"""

import io
import json
import os
import resource
import sys

os.environ |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}  # before pyarrow is imported

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

MEMORY = 2**29  # bytes of address space
NICENESS = 10
TYPES = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("ms", tz="UTC"),
}


def main() -> None:
    """Reads the table and writes the file."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pa.set_cpu_count(1)
    columns = json.load(sys.stdin.buffer)
    arrays = [pa.array(cells, TYPES[kind]) for _, kind, cells in columns]
    file = io.BytesIO()
    pa.parquet.write_table(
        pa.table(arrays, names=[name for name, _, _ in columns]),
        file,
        compression="zstd",
        use_dictionary=True,
    )
    sys.stdout.buffer.write(file.getvalue())


if __name__ == "__main__":
    main()

"""The demo's customers: always the same, and worth learning from."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

WAREHOUSE = Path(__file__).parents[2] / "images/warehouse"


def csv() -> bytes:
    return subprocess.run(
        [sys.executable, WAREHOUSE / "dataset.py"], stdout=subprocess.PIPE, check=True
    ).stdout


def test_the_rows_are_the_same_on_every_machine_and_every_python() -> None:
    assert (
        hashlib.sha256(csv()).hexdigest()
        == "28dd7769e61b08a4ff87e33d7b739df2172a90d7805ceae7ac939a2e0831fa1e"
    )


def test_there_are_ten_thousand_customers_of_whom_some_leave() -> None:
    header, *rows = (line.split(",") for line in csv().decode().splitlines())
    churned = header.index("CHURNED")
    left = sum(row[churned] == "True" for row in rows)
    assert len(rows) == 10_000
    assert 0.25 < left / len(rows) < 0.35


def test_the_table_has_the_columns_of_the_rows_in_their_order() -> None:
    header = csv().decode().split("\n", 1)[0].split(",")
    table = re.search(r"CREATE TABLE .*?\((.*?)\n\);", (WAREHOUSE / "schema.sql").read_text(), re.DOTALL)
    assert table is not None
    assert re.findall(r"^    ([A-Z_]+) ", table[1], re.MULTILINE) == header

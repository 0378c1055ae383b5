"""The demo's customers: reproducible, and with something to learn."""

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


def test_the_rows_are_the_same_on_every_machine_and_python() -> None:
    assert (
        hashlib.sha256(csv()).hexdigest()
        == "28dd7769e61b08a4ff87e33d7b739df2172a90d7805ceae7ac939a2e0831fa1e"
    )


def test_of_ten_thousand_customers_a_quarter_to_a_third_leave() -> None:
    header, *rows = (line.split(",") for line in csv().decode().splitlines())
    churned = header.index("CHURNED")
    left = sum(row[churned] == "True" for row in rows)
    assert len(rows) == 10_000
    assert 0.25 < left / len(rows) < 0.35


def test_the_table_and_the_rows_have_the_same_columns() -> None:
    header = csv().decode().split("\n", 1)[0].split(",")
    table = re.search(r"CREATE TABLE .*?\((.*?)\n\);", (WAREHOUSE / "schema.sql").read_text(), re.DOTALL)
    assert table is not None
    assert re.findall(r"^    ([A-Z_]+) ", table[1], re.MULTILINE) == header

"""The table of bad days in the README names tests that there are."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
NAMED = re.findall(r"`((?:host/)?test_\w+\.py)::(\w+)`", (HERE / "README.md").read_text("utf-8"))


def test_each_bad_day_names_tests_that_there_are() -> None:
    assert len(NAMED) > 40
    there = {
        file: {
            node.name
            for node in ast.walk(ast.parse((HERE / file).read_text("utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        for file in {file for file, _ in NAMED}
    }
    assert [f"{file}::{name}" for file, name in NAMED if name not in there[file]] == []

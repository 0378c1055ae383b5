"""The parts of `make security`."""

import re
from pathlib import Path

SCRIPT = Path(__file__).with_name("security")
CHECKOUT = Path(__file__).parents[2]


def test_what_the_parts_run_exists() -> None:
    text = SCRIPT.read_text("utf-8")
    paths = re.findall(r"(?<= )tests/[\w/.]+", text)
    paths += [f"{module.replace('.', '/')}.py" for module in re.findall(r"-m (tests\.[\w.]+)", text)]
    assert len(paths) > 15
    assert [path for path in paths if not (CHECKOUT / path).exists()] == []

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import agent
from agent.errors import AgentError, FieldError, Problem


def test_an_error_reads_as_what_is_wrong_what_helps_and_where() -> None:
    error = AgentError(
        Problem.INVALID_REQUEST,
        "The request is not valid.",
        "GET /openapi.json describes it.",
        (FieldError("script_name", "is missing"), FieldError("ref", "is unknown")),
    )
    assert str(error) == (
        "The request is not valid. GET /openapi.json describes it.\nscript_name: is missing\nref: is unknown"
    )


def test_an_error_without_a_hint_is_one_sentence() -> None:
    assert str(AgentError(Problem.HOST, "The bus is gone.")) == "The bus is gone."


def test_codes_can_be_the_last_part_of_a_uri() -> None:
    assert all(problem.replace("-", "").isalpha() and problem.islower() for problem in Problem)


def texts(path: Path) -> Iterator[str]:
    """The strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.value


CALLS = [
    text
    for path in Path(agent.__file__).parent.rglob("*.py")
    for text in texts(path)
    if re.search(r"\b(GET|PUT|POST|DELETE) /(?!openapi)", text)
]


@pytest.mark.parametrize("text", CALLS)
def test_a_hint_that_names_a_call_names_the_command_for_it_too(text: str) -> None:
    assert "`ml-job " in text

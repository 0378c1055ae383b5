"""What is refused, in the field's own words."""

from typing import Any

import pytest
from pydantic import ValidationError

from agent.model.job import JobRequest
from agent.model.problem import refusals


def told(**values: Any) -> str:
    """What is said about a request with these values."""
    with pytest.raises(ValidationError) as refused:
        JobRequest.model_validate({"script_name": "train.py"} | values)
    return "; ".join(why for _, why in refusals(refused.value, unknown="is not known"))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"script_name": ""}, "must not be empty"),
        ({"script_name": "x" * 256}, "must have at most 255 characters"),
        ({"name": "x" * 200}, "must have at most 128 characters"),
        ({"name": 5}, "must be a string"),
        ({"hyperparameters": {"a": "x" * 5000}}, "must have at most 4096 characters"),
        ({"hyperparameters": {"a" * 65: "x"}}, "must have at most 64 characters"),
        ({"hyperparameters": {f"a{number}": "" for number in range(101)}}, "must have at most 100 names"),
        ({"hyperparameters": []}, "must be an object (in TOML, a table)"),
        ({"labels": {"a": "x" * 256}}, "must have at most 255 characters"),
        ({"labels": {"a" * 64: "x"}}, "must have at most 63 characters"),
        ({"labels": {f"a{number}": "" for number in range(33)}}, "must have at most 32 names"),
        ({"limits": 5}, "must be an object (in TOML, a table)"),
        ({"limits": {"memory_bytes": "2G"}}, "must be an integer"),
        ({"limits": {"cpus": True}}, "must be a number"),
        ({"limits": {"cpus": float("nan")}}, "must be a finite number"),
        ({"limits": {"time": 1}}, "is not known"),
        ({"priority": 11}, "must be less than or equal to 10"),
        ({"retry_on": []}, "must not be empty"),
        ({"retry_on": ["signal"] * 7}, "must have at most 6 entries"),
        ({"retry_on": "signal"}, "must be a list"),
    ],
)
def test_a_refusal_counts_what_the_field_has(values: dict[str, Any], why: str) -> None:
    assert told(**values) == why


def test_a_refusal_lists_what_may_be_said_and_nothing_of_python() -> None:
    assert told(retry_on=["always"]).startswith("must be 'exit-code', 'signal', ")


@pytest.mark.parametrize("field", ["script_name", "hyperparameters", "ref", "name", "labels", "limits"])
@pytest.mark.parametrize("value", [None, "", "x" * 100_000, 5, [], {"": ""}, {"a": {}}, ["\ud800"]])
def test_no_refusal_has_the_words_of_a_library(field: str, value: object) -> None:
    try:
        said = told(**{field: value})
    except pytest.fail.Exception:
        return  # it is taken
    assert not any(
        word in said for word in ("Input", "Value", "item", "validation", "dictionary", "instance")
    )

"""Hyperparameters and limits of a request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.model.inputs import Limits
from agent.model.job import JobRequest
from tests.support.jobs import refused_fields


def test_limits_override_the_defaults() -> None:
    defaults = Limits(memory_bytes=2**30, cpus=1, tasks=512, run_time_seconds=60)
    assert Limits(cpus=2).over(defaults) == Limits(memory_bytes=2**30, cpus=2, tasks=512, run_time_seconds=60)
    assert Limits().over(defaults) == defaults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_bytes", 0),
        ("memory_bytes", -1),
        ("memory_bytes", 2**60),
        ("memory_bytes", "2G"),
        ("cpus", 0),
        ("cpus", float("inf")),
        ("cpus", float("nan")),
        ("tasks", 0),
        ("tasks", 1.5),
        ("run_time_seconds", 0),
        ("run_time_seconds", 10**9),
        ("gpus", 1),
    ],
)
def test_limits_out_of_range_are_refused(name: str, value: object) -> None:
    assert refused_fields(limits={name: value}) == [f"limits.{name}"]


@pytest.mark.parametrize(
    "name",
    ["", "1x", "_x", "a-b", "a.b", "a b", "a=b", "a\n", "a\0", "ä", "A\u0430", "$a", "a" * 65],
)
def test_parameter_names_must_fit_into_a_variable_name(name: str) -> None:
    assert refused_fields(hyperparameters={name: "1"}) == [f"hyperparameters.{name}.[key]"]


@pytest.mark.parametrize("value", ["\0", "a\nb", "a\rb", "\x1b[31m", "\x7f", "\x85", "\ud800", "a" * 4097])
def test_parameter_values_must_be_one_line(value: str) -> None:
    assert refused_fields(hyperparameters={"x": value}) == ["hyperparameters.x"]


@pytest.mark.parametrize("value", ["", " ", "'\"`$(id)%n\\", "naïve 模型 🙂", "\u202e", "-x", "a" * 4096])
def test_other_text_is_accepted_unchanged(value: str) -> None:
    assert JobRequest(script_name="a", hyperparameters={"x": value}).hyperparameters == {"x": value}


@pytest.mark.parametrize("value", [1, 0.5, True])
def test_a_number_is_refused_with_the_string_to_write_instead(value: object) -> None:
    with pytest.raises(ValidationError, match=f'must be a string; write "{value}" in quotes'):
        JobRequest.model_validate({"script_name": "a", "hyperparameters": {"x": value}})


def test_parameters_that_share_a_variable_are_refused() -> None:
    with pytest.raises(ValidationError, match="depth and Depth would both be HP_DEPTH"):
        JobRequest(script_name="a", hyperparameters={"depth": "1", "Depth": "2"})


@given(st.dictionaries(st.text(max_size=70), st.text(max_size=20), max_size=5))
def test_accepted_parameters_have_distinct_variables(hyperparameters: dict[str, str]) -> None:
    try:
        request = JobRequest(script_name="a", hyperparameters=hyperparameters)
    except ValidationError:
        return
    variables = {f"HP_{name.upper()}": value for name, value in request.hyperparameters.items()}
    assert len(variables) == len(hyperparameters)
    assert all(name.isascii() and name.replace("_", "").isalnum() for name in variables)
    assert not any({"\0", "\n"} & set(value) for value in variables.values())

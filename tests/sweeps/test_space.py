"""The space of a sweep: what is left out follows from the declaration, and what contradicts it is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from agent.errors import AgentError, Problem
from agent.model.script import Parameter, ParameterType, Script
from agent.model.sweep import Dimension, SweepRequest
from agent.sweeps.space import count_points, grid_point, resolve
from tests.support.sweep_scene import request

SCRIPT = Script(
    script_name="train.py",
    sha256="0" * 64,
    parameters=[
        Parameter(name="depth", type=ParameterType.INTEGER, minimum=1, maximum=64),
        Parameter(name="rate", type=ParameterType.NUMBER, minimum=0.001, maximum=1),
        Parameter(name="open", type=ParameterType.NUMBER),
        Parameter(name="kind", choices=["gini", "entropy"]),
        Parameter(name="sizes", type=ParameterType.INTEGER, choices=["8", "16"]),
        Parameter(name="flag", type=ParameterType.BOOLEAN),
        Parameter(name="text"),
    ],
)
ANY = Script(script_name="any.py", sha256="0" * 64, any_parameters=True)


def resolved(space: dict[str, Any], *, script: Script = SCRIPT, **fields: Any) -> dict[str, Any]:
    found, _ = resolve(request(space=space, **fields), script)
    return {name: dimension.model_dump(exclude_none=True) for name, dimension in found.items()}


def refusals(space: dict[str, Any], *, script: Script = SCRIPT, **fields: Any) -> dict[str, str]:
    with pytest.raises(AgentError) as caught:
        resolve(request(space=space, **fields), script)
    assert caught.value.problem is Problem.INVALID_REQUEST
    return {each.field: each.message for each in caught.value.fields}


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [
        ("depth", {}, {"type": "integer", "low": 1, "high": 64}),
        ("depth", {"high": 8}, {"type": "integer", "low": 1, "high": 8}),
        (
            "depth",
            {"low": 2, "high": 32, "log": True},
            {"type": "integer", "low": 2, "high": 32, "log": True},
        ),
        ("rate", {"low": 0.1, "step": 0.1}, {"type": "number", "low": 0.1, "high": 1, "step": 0.1}),
        ("kind", {}, {"values": ["gini", "entropy"]}),
        ("sizes", {}, {"values": ["8", "16"]}),
        ("flag", {}, {"values": ["false", "true"]}),
        ("text", {"values": ["a", "é"]}, {"values": ["a", "é"]}),
    ],
)
def test_what_is_left_out_comes_from_the_declaration(name: str, asked: Any, found: Any) -> None:
    assert resolved({name: asked}) == {name: found}


@pytest.mark.parametrize(
    ("name", "asked", "why"),
    [
        ("depht", {}, "is no parameter of this script; did you mean depth?"),
        ("depth", {"high": 65}, "has 65, which must be at most 64"),
        ("depth", {"low": 0}, "has 0, which must be at least 1"),
        ("depth", {"low": 9, "high": 8}, "must have a low that is at most its high"),
        ("depth", {"low": 1.5, "high": 8}, "must have whole numbers, of at most 9007199254740992"),
        ("depth", {"step": 0.5}, "must have whole numbers, of at most 9007199254740992"),
        ("depth", {"values": ["8", "65"]}, "has 65, which must be at most 64"),
        ("depth", {"values": ["deep"]}, "has deep, which must be an integer, such as 12"),
        ("depth", {"step": 64}, "must have a step that is at most high - low"),
        ("depth", {"step": 2, "log": True}, "must have either step or log, not both"),
        ("open", {}, "must have low and high, which the script does not declare, or values"),
        ("open", {"low": 0, "high": 1, "log": True}, "must have a low above 0 to be logarithmic"),
        ("open", {"low": -1e308, "high": 1e308}, "must have a low and a high whose difference is finite"),
        ("kind", {"values": ["gini", "log"]}, "has log, which must be one of gini, entropy"),
        ("text", {}, "must have values: the script takes a string"),
        ("flag", {"low": 0, "high": 1}, "must have values: the script takes a boolean"),
        ("sizes", {"low": 8, "high": 16}, ""),
    ],
)
def test_what_contradicts_itself_or_the_declaration_is_refused(name: str, asked: Any, why: str) -> None:
    if why:
        assert refusals({name: asked}) == {f"space.{name}": why}
    else:
        assert resolved({name: asked})


def test_every_wrong_dimension_is_told() -> None:
    assert set(refusals({"depth": {"low": 0}, "kind": {"values": ["x"]}, "flag": {}})) == {
        "space.depth",
        "space.kind",
    }


def test_a_script_that_declares_nothing_needs_a_type_for_a_range() -> None:
    asked = {"low": 1, "high": 8}
    assert refusals({"n": asked}, script=ANY) == {
        "space.n": "must have values, or a type: the script does not declare it"
    }
    assert resolved({"n": asked | {"type": "integer"}}, script=ANY)["n"]["type"] == "integer"


def test_a_fixed_value_and_a_dimension_exclude_each_other() -> None:
    assert refusals({"depth": {}}, hyperparameters={"depth": "3"}) == {
        "space.depth": "has a fixed value, too, in hyperparameters"
    }
    wrong = refusals({"N": {"values": ["1"]}}, script=ANY, hyperparameters={"n": "3"})
    assert wrong == {"space.N": "would be HP_N, as n would"}


def test_hyperparameters_and_the_longest_values_have_room_together() -> None:
    fixed = {f"p{number}": "x" * 4000 for number in range(5)}
    space = {f"s{number}": {"values": ["a", "y" * 4000]} for number in range(4)}
    assert list(refusals(space, script=ANY, hyperparameters=fixed)) == ["space"]


@pytest.mark.parametrize(
    ("space", "why"),
    [
        ({"rate": {}}, "must have a step in a grid, or values"),
        ({"depth": {"log": True}}, "must not be logarithmic in a grid; list its values"),
    ],
)
def test_a_grid_needs_values_that_can_be_counted(space: dict[str, Any], why: str) -> None:
    ((name, said),) = refusals(space, strategy="grid", trials=None).items()
    assert (name, said) == (f"space.{next(iter(space))}", why)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({"depth": {}, "rate": {"low": 0.01, "step": 0.05}}, "has 1280 points"),
        ({"open": {"low": 0, "high": 1e308, "step": 5e-324}}, "has more than 1000000000 points"),
    ],
)
def test_a_grid_of_too_many_points_is_refused(space: dict[str, Any], told: str) -> None:
    wrong = refusals(space, strategy="grid", trials=None)
    assert wrong["space"].startswith(told)


def test_a_grid_has_as_many_trials_as_points_unless_fewer_are_asked_for() -> None:
    space = {"depth": {"low": 1, "high": 8, "step": 3}, "kind": {}}
    assert resolve(request(space=space, strategy="grid", trials=None), SCRIPT)[1] == 6
    assert resolve(request(space=space, strategy="grid", trials=2), SCRIPT)[1] == 2
    assert refusals(space, strategy="grid", trials=7) == {"trials": "must be at most 6, which the grid has"}
    assert refusals(space, trials=None) == {"trials": "is missing: only a grid has a number of its own"}


def test_the_points_of_a_grid_have_no_errors_of_binary_fractions() -> None:
    space = {"x": Dimension(type="number", low=0.1, high=0.7, step=0.1)}
    assert count_points(space["x"]) == 7
    assert [grid_point(space, number)["x"] for number in range(7)] == [f"0.{n}" for n in range(1, 8)]


@pytest.mark.parametrize(
    "space",
    [
        {},
        {"n": {"values": []}},
        {"n": {"values": ["1", "1"]}},
        {"n": {"values": ["1"], "low": 0}},
        {"n": {"values": ["\x00"]}},
        {"n": {"values": [1]}},
        {"n": {"low": "1", "high": 2}},
        {"n": {"low": float("nan"), "high": 2}},
        {"n": {"low": 0, "high": float("inf")}},
        {"n": {"low": 0, "high": 1, "step": 0}},
        {"n": {"low": 0, "high": 1, "step": -1}},
        {"n": {"type": "boolean"}},
        {"n": {"from": 0}},
        {"1n": {}},
        {"é": {}},
        {"n" * 65: {}},
        {f"n{number}": {} for number in range(21)},
        {"n": {"values": [str(number) for number in range(101)]}},
        {f"n{number}": {"values": ["x" * 4000, "y" * 4000]} for number in range(5)},
    ],
    ids=repr,
)
def test_what_is_no_space_is_refused_at_the_edge(space: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(space=space)


@pytest.mark.parametrize(
    "fields",
    [
        {"trials": 0},
        {"trials": 1001},
        {"trials": True},
        {"at_once": 0},
        {"at_once": 101},
        {"seed": -1},
        {"seed": 2**32},
        {"strategy": "guess"},
        {"pruner": "gardener"},
        {"objective": {"metric": "auc"}},
        {"objective": {"metric": "no name", "direction": "maximize"}},
        {"objective": {"metric": "auc", "direction": "up"}},
        {"name": "x" * 129},
        {"labels": {"A": "b"}},
    ],
    ids=repr,
)
def test_other_members_have_bounds(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**fields)


def test_a_sweep_has_all_members_of_a_job() -> None:
    assert set(SweepRequest.model_fields) > {
        "ref",
        "labels",
        "limits",
        "priority",
        "max_attempts",
        "retry_on",
    }

"""The space of a sweep: what the request leaves out follows from the script's declaration. Pure functions."""

import math
from collections.abc import Mapping
from decimal import Decimal

from pydantic import ValidationError

from ..errors import AgentError, FieldError, invalid_request
from ..model.inputs import PARAMETERS, PARAMETERS_BOUND, same_variable
from ..model.script import Parameter, ParameterType, Script
from ..model.sweep import MAX_TRIALS, Dimension, Strategy, SweepRequest
from ..scripts.declaration import objection_to, unknown_parameter, with_defaults

MANY = 10**9  # values of a dimension, beyond which nobody counts
MAX_INTEGER = 2**53  # beyond it, strategies, which count in floats, would miss integers
BOOLEANS = ["false", "true"]


def resolve(request: SweepRequest, script: Script) -> tuple[dict[str, Dimension], int]:
    """The whole space, and the number of trials.

    Raises `AgentError` (invalid-request) with a field error for each dimension that has no values, or values
    that the script does not take, and for a grid of too many points.
    """
    declared = {parameter.name: parameter for parameter in script.parameters}
    space: dict[str, Dimension] = {}
    errors = []
    for name, dimension in request.space.items():
        try:
            if name in request.hyperparameters:
                raise ValueError("has a fixed value, too, in hyperparameters")
            if name not in declared and not script.any_parameters:
                raise ValueError(unknown_parameter(name, declared))
            space[name] = _resolved(dimension, declared.get(name))
            if request.strategy is Strategy.GRID:
                count_points(space[name])
        except ValueError as error:
            errors.append(FieldError(f"space.{name}", str(error)))
    if errors:
        raise _refused(*errors)
    _check_together(with_defaults(script, request.hyperparameters | first_point(space)), space)
    return space, _trials(request, space)


def first_point(space: Mapping[str, Dimension]) -> dict[str, str]:
    """Hyperparameters of the space, the first of each."""
    return {name: grid_value(dimension, 0) for name, dimension in space.items()}


def grid_point(space: Mapping[str, Dimension], number: int) -> dict[str, str]:
    """The point of a grid with that number; the last dimension changes fastest."""
    point = {}
    for name, dimension in reversed(list(space.items())):
        number, index = divmod(number, count_points(dimension))
        point[name] = grid_value(dimension, index)
    return {name: point[name] for name in space}


def count_points(dimension: Dimension) -> int:
    """How many values a grid has of a dimension. Raises `ValueError` where they are not countable."""
    if dimension.values is not None:
        return len(dimension.values)
    low, high = _bounds(dimension)
    if dimension.log:
        raise ValueError("must not be logarithmic in a grid; list its values")
    if dimension.step is None and dimension.type == "number":
        raise ValueError("must have a step in a grid, or values")
    return min(int((_decimal(high) - _decimal(low)) / _decimal(dimension.step or 1)) + 1, MANY)


def grid_value(dimension: Dimension, index: int) -> str:
    """One of the values, as a script reads it."""
    if dimension.values is not None:
        return dimension.values[index]
    low, _ = _bounds(dimension)
    return as_text(dimension, float(_decimal(low) + index * _decimal(dimension.step or 1)))


def as_text(dimension: Dimension, value: float) -> str:
    """A number as hyperparameters have it: all its digits, and an integer without a point."""
    return str(int(value)) if dimension.type == "integer" else repr(float(value))


def _resolved(asked: Dimension, parameter: Parameter | None) -> Dimension:
    """Raises `ValueError`."""
    values = asked.values
    if values is None and not asked.model_fields_set and parameter:
        values = parameter.choices or (BOOLEANS if parameter.type is ParameterType.BOOLEAN else None)
    if values is not None:
        for value in values:
            _check_value(parameter, value)
        return Dimension(values=values)
    kind = asked.type or _type_of(parameter)
    low, high = asked.low, asked.high
    if parameter is not None:
        low, high = _first(low, parameter.minimum), _first(high, parameter.maximum)
    dimension = Dimension.model_construct(**dict(asked) | {"type": kind, "low": low, "high": high})
    _check_range(dimension)
    for bound in _bounds(dimension):
        _check_value(parameter, as_text(dimension, bound))
    return dimension


def _type_of(parameter: Parameter | None) -> str:
    if parameter is None:
        raise ValueError("must have values, or a type: the script does not declare it")
    if parameter.type not in (ParameterType.INTEGER, ParameterType.NUMBER):
        raise ValueError(f"must have values: the script takes a {parameter.type}")
    return parameter.type.value


def _check_range(dimension: Dimension) -> None:
    missing = [name for name in ("low", "high") if getattr(dimension, name) is None]
    if missing:
        raise ValueError(f"must have {' and '.join(missing)}, which the script does not declare, or values")
    low, high = _bounds(dimension)
    if low > high:
        raise ValueError("must have a low that is at most its high")
    if not math.isfinite(high - low):
        raise ValueError("must have a low and a high whose difference is finite")
    if dimension.type == "integer":
        numbers = [low, high, dimension.step or 1]
        if not all(number.is_integer() and abs(number) <= MAX_INTEGER for number in map(float, numbers)):
            raise ValueError(f"must have whole numbers, of at most {MAX_INTEGER}")
    if dimension.log and dimension.step is not None:
        raise ValueError("must have either step or log, not both")
    if dimension.log and low <= 0:
        raise ValueError("must have a low above 0 to be logarithmic")
    if dimension.step is not None and dimension.step > high - low:
        raise ValueError("must have a step that is at most high - low")


def _check_value(parameter: Parameter | None, value: str) -> None:
    objection = objection_to(parameter, value) if parameter else None
    if objection:
        raise ValueError(f"has {value}, which {objection}")


def _check_together(hyperparameters: dict[str, str], space: Mapping[str, Dimension]) -> None:
    """Checks what a trial has at most: names that differ as variables, number and size."""
    if twice := same_variable(hyperparameters):
        variable = f"HP_{twice[0].upper()}"
        raise _refused(FieldError(f"space.{twice[1]}", f"would be {variable}, as {twice[0]} would"))
    longest = {name: max(dim.values, key=len) for name, dim in space.items() if dim.values is not None}
    try:
        PARAMETERS.validate_python(hyperparameters | longest)
    except ValidationError as error:
        raise _refused(FieldError("space", f"and hyperparameters must be {PARAMETERS_BOUND}")) from error


def _trials(request: SweepRequest, space: Mapping[str, Dimension]) -> int:
    if request.strategy is not Strategy.GRID:
        if request.trials is None:
            raise _refused(FieldError("trials", "is missing: only a grid has a number of its own"))
        return request.trials
    points = math.prod(count_points(dimension) for dimension in space.values())
    if points > MAX_TRIALS:
        told = str(points) if points < MANY else f"more than {MANY}"
        raise _refused(FieldError("space", f"has {told} points; a sweep has at most {MAX_TRIALS} trials"))
    if request.trials is not None and request.trials > points:
        raise _refused(FieldError("trials", f"must be at most {points}, which the grid has"))
    return request.trials or points


def _bounds(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None
    assert dimension.high is not None
    return dimension.low, dimension.high


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _first(asked: float | None, declared: float | None) -> float | None:
    return declared if asked is None else asked


def _refused(*errors: FieldError) -> AgentError:
    return invalid_request("The space of the sweep is not valid.", fields=errors)

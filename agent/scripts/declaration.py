"""What a script declares about itself, and whether a request matches that. No script is run here.

The declaration is a comment block in the form of PEP 723 (`# /// ml-job`, lines of TOML after `# `, `# ///`).
Its keys are the fields of `Declaration`.
"""

import difflib
import hashlib
import math
import re
from collections.abc import Callable
from typing import Any

from pydantic import Field, ValidationError

from ..errors import FieldError, invalid_request
from ..host.toml import parse
from ..model.base import Model, NetworkName, SecretName, format_number
from ..model.inputs import PARAMETERS, PARAMETERS_BOUND, Limits
from ..model.problem import Location, refusals
from ..model.script import ArtifactPath, Parameter, ParameterType, Script

# The reference implementation's expression for one type of block (PEP 723).
BLOCK = re.compile(r"(?m)^# /// ml-job$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
# A line meant to open a block. If it is misspelt, the block must be refused, not taken for a comment.
OPENING = re.compile(r"(?m)^#[ \t]*///[ \t]*ml-job[ \t]*$")
HEAD_CHARACTERS = 64 * 1024  # of a script: the part that is searched for a block

INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
NUMBER = re.compile(r"[+-]?([0-9]{1,100}(\.[0-9]{0,100})?|\.[0-9]{1,100})([eE][+-]?[0-9]{1,4})?")

READ_AS: dict[ParameterType, Callable[[str], object]] = {
    ParameterType.INTEGER: int,
    ParameterType.NUMBER: float,
}


class DeclarationError(ValueError):
    """A malformed block; the message names the line or the key, and the reason."""


class Declaration(Model):
    """The keys of an `ml-job` block. In TOML, `default` and `choices` may also be numbers and booleans."""

    description: str = ""
    parameters: list[Parameter] = Field(default_factory=list)
    secrets: list[SecretName] = Field(default_factory=list)
    network: NetworkName = "none"
    limits: Limits = Limits()
    artifacts: list[ArtifactPath] = Field(default_factory=list, max_length=100)


def parse_block(text: str) -> Declaration | None:
    """The declaration in a script's text, or None. Raises `DeclarationError`."""
    head = text[:HEAD_CHARACTERS].replace("\r\n", "\n")
    openings = [head.count("\n", 0, match.start()) + 1 for match in OPENING.finditer(head)]  # their lines
    if not openings:
        return None
    if len(openings) > 1:
        raise DeclarationError(f"line {openings[1]}: only one ml-job block is allowed")
    block = BLOCK.search(head)
    if block is None:
        raise DeclarationError(
            f"line {openings[0]}: the block must begin with `# /// ml-job`, continue with lines that begin "
            "with `# `, and end with `# ///`"
        )
    return _declaration(_table(block["content"], openings[0] + 1))


def describe(script_name: str, data: bytes) -> Script:
    """A script from its name and its bytes. Raises `DeclarationError`."""
    try:
        declaration = parse_block(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DeclarationError(f"byte {error.start}: a script must be UTF-8 text") from error
    return Script(
        script_name=script_name,
        sha256=hashlib.sha256(data).hexdigest(),
        any_parameters=declaration is None,
        **vars(declaration or Declaration()),
    )


def check_parameters(script: Script, hyperparameters: dict[str, str]) -> None:
    """Checks that a request's hyperparameters are what the script declares. Names must match exactly.

    Raises `AgentError` (invalid-request) with a field error for each refused or missing value.
    """
    if script.any_parameters:
        return
    declared = {parameter.name: parameter for parameter in script.parameters}
    objections: dict[str, str | None] = {}
    for name, value in hyperparameters.items():
        parameter = declared.get(name)
        objections[name] = objection_to(parameter, value) if parameter else unknown_parameter(name, declared)
    for parameter in script.parameters:
        if parameter.required and parameter.name not in hyperparameters:
            objections[parameter.name] = "is required"
    fields = tuple(FieldError(f"hyperparameters.{name}", why) for name, why in objections.items() if why)
    if fields:
        raise invalid_request(
            f"{script.script_name} does not take these hyperparameters.",
            "See which it takes: GET /scripts, or `ml-job scripts SCRIPT`.",
            fields,
        )


def with_defaults(script: Script, hyperparameters: dict[str, str]) -> dict[str, str]:
    """The hyperparameters of a run: those that were given, and the script's defaults for the others.

    A job records them all, so that its record says what it ran with. Raises `AgentError` (invalid-request)
    where they are too many or too large together.
    """
    defaults = {each.name: each.default for each in script.parameters if each.default is not None}
    complete = hyperparameters | {name: defaults[name] for name in defaults.keys() - hyperparameters.keys()}
    try:
        return PARAMETERS.validate_python(complete)
    except ValidationError as error:
        raise invalid_request(
            f"With the defaults of {script.script_name}, the hyperparameters are too many or too large.",
            "Give shorter values, or declare fewer defaults.",
            (FieldError("hyperparameters", f"must be {PARAMETERS_BOUND}"),),
        ) from error


def _table(content: str, first_line: int) -> dict[str, Any]:
    """The block's TOML. Blank lines before it make the parser's line numbers those of the file."""
    lines = [line.removeprefix("#").removeprefix(" ") for line in content.split("\n")]
    try:
        return parse("\n" * (first_line - 1) + "\n".join(lines))
    except ValueError as error:
        raise DeclarationError(re.sub(r", column \d+", "", str(error))) from error


def _declaration(table: dict[str, Any]) -> Declaration:
    try:
        tables = table.get("parameters")
        if isinstance(tables, list):
            table = table | {"parameters": [_with_text(entry) for entry in tables]}
        declaration = Declaration.model_validate(table)
    except ValidationError as error:
        refused = refusals(error, unknown="is no key of an ml-job block")
        raise DeclarationError("; ".join(f"{_key(loc, table)}: {why}" for loc, why in refused)) from error
    except ValueError as error:  # an integer with more digits than Python converts to text
        raise DeclarationError(f"parameters: {error}") from error
    _check_declarations(declaration.parameters)
    return declaration


def _with_text(parameter: object) -> object:
    """A parameter's table whose `default` and `choices` are text, as scripts read them."""
    if not isinstance(parameter, dict):
        return parameter
    text = dict(parameter)
    if "default" in text:
        text["default"] = _as_text(text["default"])
    if isinstance(text.get("choices"), list):
        text["choices"] = [_as_text(choice) for choice in text["choices"]]
    return text


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _key(loc: Location, table: dict[str, Any]) -> str:
    """`parameters.depth.minimum`: a parameter by its name, or by its place from 1 if it has none."""
    parts = [str(part) for part in loc]
    if len(loc) > 1 and loc[0] == "parameters" and isinstance(loc[1], int):
        parameter = table["parameters"][loc[1]]
        name = parameter.get("name") if isinstance(parameter, dict) else None
        parts[1] = name if isinstance(name, str) else str(loc[1] + 1)
    return ".".join(parts)


def _check_declarations(parameters: list[Parameter]) -> None:
    owners: dict[str, str] = {}
    for parameter in parameters:
        variable = f"HP_{parameter.name.upper()}"
        if variable in owners:
            raise DeclarationError(
                f"parameters.{parameter.name}: {variable} is already the variable of {owners[variable]}"
            )
        owners[variable] = parameter.name
        _check_declaration(parameter)


def _check_declaration(parameter: Parameter) -> None:
    """Checks that a parameter accepts its own default and choices, and that its bounds make sense."""
    key = f"parameters.{parameter.name}"
    bounds = [bound for bound in (parameter.minimum, parameter.maximum) if bound is not None]
    if bounds and parameter.type not in (ParameterType.INTEGER, ParameterType.NUMBER):
        raise DeclarationError(f"{key}: only an integer or a number may have a minimum or a maximum")
    if not all(math.isfinite(bound) for bound in bounds) or bounds != sorted(bounds):
        raise DeclarationError(f"{key}: minimum and maximum must be finite, and in order")
    if parameter.required and parameter.default is not None:
        raise DeclarationError(f"{key}.default: a required parameter cannot have one")
    for choice in parameter.choices:
        if objection := objection_to(parameter, choice):
            raise DeclarationError(f"{key}.choices: {choice} {objection}")
    if parameter.default is not None:
        _check_default(parameter, key)


def _check_default(parameter: Parameter, key: str) -> None:
    """Checks that a default is a value that a request could give."""
    assert parameter.default is not None
    try:
        PARAMETERS.validate_python({parameter.name: parameter.default})
    except ValidationError as error:
        why = refusals(error, unknown="is not known")[0][1]
        raise DeclarationError(f"{key}.default: {why}") from error
    if objection := objection_to(parameter, parameter.default):
        raise DeclarationError(f"{key}.default: {parameter.default} {objection}")


def objection_to(parameter: Parameter, value: str) -> str | None:
    """What is wrong with a value, or None if the parameter accepts it."""
    match parameter.type:
        case ParameterType.INTEGER:
            if not INTEGER.fullmatch(value):
                return "must be an integer, such as 12"
            objection = _out_of_bounds(parameter, int(value))
        case ParameterType.NUMBER:
            if not NUMBER.fullmatch(value) or math.isinf(float(value)):
                return "must be a finite number, such as 0.5 or 1e-3"
            objection = _out_of_bounds(parameter, float(value))
        case ParameterType.BOOLEAN:
            objection = None if value in ("true", "false") else "must be true or false"
        case ParameterType.STRING:
            objection = None
    if objection is None and parameter.choices:
        # Numbers count by what they are, so that 0.10 and 1e-1 are 0.1. Each choice was checked for its type.
        read = READ_AS.get(parameter.type, str)
        if read(value) not in map(read, parameter.choices):
            objection = f"must be one of {', '.join(parameter.choices)}"
    return objection


def _out_of_bounds(parameter: Parameter, value: float) -> str | None:
    if parameter.minimum is not None and value < parameter.minimum:
        return f"must be at least {format_number(parameter.minimum)}"
    if parameter.maximum is not None and value > parameter.maximum:
        return f"must be at most {format_number(parameter.maximum)}"
    return None


def unknown_parameter(name: str, declared: dict[str, Parameter]) -> str:
    """What is wrong with a name that the script does not declare."""
    folded = {known.casefold(): known for known in declared}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return "is no parameter of this script" + (f"; did you mean {folded[near[0]]}?" if near else "")

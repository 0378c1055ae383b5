"""What a script declares about itself, and whether a request fits it. Pure: a script is never run here.

The declaration is a comment block in the form of PEP 723 (`# /// TYPE`, lines of TOML behind `# `, `# ///`)
of type `ml-job`; its keys are those of `Metadata`.
"""

import difflib
import hashlib
import math
import re
from typing import Any

from pydantic import Field, ValidationError

from ..errors import AgentError, FieldError, Problem
from ..host.toml import parse
from ..model.base import Model, NetworkName, SecretName, format_number
from ..model.inputs import Limits
from ..model.refusal import Location, refusals
from ..model.script import Parameter, ParameterType, Script

# The reference implementation's expression for one type of block (PEP 723).
BLOCK = re.compile(r"(?m)^# /// ml-job$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
# A first line that is meant as one: misspelt, it must not turn a declaration into a comment.
OPENING = re.compile(r"(?m)^#[ \t]*///[ \t]*ml-job[ \t]*$")
HEAD_CHARACTERS = 64 * 1024  # where in a script a block may be

INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
NUMBER = re.compile(r"[+-]?([0-9]{1,100}(\.[0-9]{0,100})?|\.[0-9]{1,100})([eE][+-]?[0-9]{1,4})?")


class MetadataError(ValueError):
    """A block that is not well formed; the message says in which line, or under which key, and why."""


class Metadata(Model):
    """The keys of an `ml-job` block. In TOML a `default` and `choices` may be numbers and booleans too."""

    description: str = ""
    parameters: list[Parameter] = Field(default_factory=list)
    secrets: list[SecretName] = Field(default_factory=list)
    network: NetworkName = "none"
    limits: Limits = Limits()


def parse_block(text: str) -> Metadata | None:
    """A script's declaration, or None where it has none. Raises `MetadataError`."""
    head = text[:HEAD_CHARACTERS].replace("\r\n", "\n")
    openings = [_line(head, match.start()) for match in OPENING.finditer(head)]
    if not openings:
        return None
    if len(openings) > 1:
        raise MetadataError(f"line {openings[1]}: there may be one ml-job block only")
    block = BLOCK.search(head)
    if block is None:
        raise MetadataError(
            f"line {openings[0]}: the block must begin with `# /// ml-job`, go on with lines that begin with "
            "`# `, and end with `# ///`"
        )
    return _metadata(_table(block["content"], openings[0] + 1))


def describe(script_name: str, data: bytes) -> Script:
    """A script from its name and its bytes. Raises `MetadataError`."""
    try:
        metadata = parse_block(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise MetadataError(f"byte {error.start}: a script must be UTF-8 text") from error
    declared = metadata or Metadata()
    return Script(
        script_name=script_name,
        sha256=hashlib.sha256(data).hexdigest(),
        any_parameters=metadata is None,
        description=declared.description,
        parameters=declared.parameters,
        secrets=declared.secrets,
        network=declared.network,
        limits=declared.limits,
    )


def check_parameters(script: Script, hyperparameters: dict[str, str]) -> None:
    """Whether a request's hyperparameters are what the script declares; names are matched exactly.

    Raises `AgentError` (invalid request) with one field per refused or missing value. Defaults are the
    script's to apply: a job records what it was given, so that it can be given the same again.
    """
    if script.any_parameters:
        return
    declared = {parameter.name: parameter for parameter in script.parameters}
    objections: dict[str, str | None] = {}
    for name, value in hyperparameters.items():
        parameter = declared.get(name)
        objections[name] = _objection(parameter, value) if parameter else _unknown(name, declared)
    for parameter in script.parameters:
        if parameter.required and parameter.name not in hyperparameters:
            objections[parameter.name] = "is required"
    fields = tuple(FieldError(f"hyperparameters.{name}", why) for name, why in objections.items() if why)
    if fields:
        raise AgentError(
            Problem.INVALID_REQUEST,
            f"{script.script_name} does not take these hyperparameters.",
            "GET /scripts, or `ml-job scripts SCRIPT`, shows which it takes.",
            fields,
        )


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _table(content: str, first_line: int) -> dict[str, Any]:
    """The block's TOML. Blank lines in front give the parser's messages the file's own line numbers."""
    lines = [line.removeprefix("#").removeprefix(" ") for line in content.split("\n")]
    try:
        return parse("\n" * (first_line - 1) + "\n".join(lines))
    except ValueError as error:
        raise MetadataError(re.sub(r", column \d+", "", str(error))) from error


def _metadata(table: dict[str, Any]) -> Metadata:
    try:
        tables = table.get("parameters")
        if isinstance(tables, list):
            table = table | {"parameters": [_with_text(entry) for entry in tables]}
        metadata = Metadata.model_validate(table)
    except ValidationError as error:
        refused = refusals(error, unknown="is no key of an ml-job block")
        raise MetadataError("; ".join(f"{_key(loc, table)}: {why}" for loc, why in refused)) from error
    except ValueError as error:  # an integer literal with more digits than Python writes
        raise MetadataError(f"parameters: {error}") from error
    _check_declarations(metadata.parameters)
    return metadata


def _with_text(parameter: object) -> object:
    """A parameter's table with the values that are text on the wire written as scripts will read them."""
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
    """`parameters.depth.minimum`: a parameter by its name where it has one, else by its place from 1."""
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
            raise MetadataError(f"parameters.{parameter.name}: {variable} is {owners[variable]}'s variable")
        owners[variable] = parameter.name
        _check_declaration(parameter)


def _check_declaration(parameter: Parameter) -> None:
    """A declaration must not contradict itself: what it offers, it takes."""
    key = f"parameters.{parameter.name}"
    bounds = [bound for bound in (parameter.minimum, parameter.maximum) if bound is not None]
    if bounds and parameter.type not in (ParameterType.INTEGER, ParameterType.NUMBER):
        raise MetadataError(f"{key}: only an integer or a number has a minimum and a maximum")
    if not all(math.isfinite(bound) for bound in bounds) or bounds != sorted(bounds):
        raise MetadataError(f"{key}: minimum and maximum must be finite, and in order")
    if parameter.required and parameter.default is not None:
        raise MetadataError(f"{key}.default: a required parameter has none")
    for choice in parameter.choices:
        if objection := _objection(parameter, choice):
            raise MetadataError(f"{key}.choices: {choice} {objection}")
    if parameter.default is not None and (objection := _objection(parameter, parameter.default)):
        raise MetadataError(f"{key}.default: {parameter.default} {objection}")


def _objection(parameter: Parameter, value: str) -> str | None:
    """What a value must be and is not, or None where the parameter takes it."""
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
    if objection is None and parameter.choices and value not in parameter.choices:
        objection = f"must be one of {', '.join(parameter.choices)}"
    return objection


def _out_of_bounds(parameter: Parameter, value: float) -> str | None:
    if parameter.minimum is not None and value < parameter.minimum:
        return f"must be at least {format_number(parameter.minimum)}"
    if parameter.maximum is not None and value > parameter.maximum:
        return f"must be at most {format_number(parameter.maximum)}"
    return None


def _unknown(name: str, declared: dict[str, Parameter]) -> str:
    folded = {known.casefold(): known for known in declared}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return "is no parameter of this script" + (f"; did you mean {folded[near[0]]}?" if near else "")

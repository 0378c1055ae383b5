"""Write what the Kit's tests take from the agent, or with --check say whether it is current.

    python client/Tests/fixtures.py [--check]      (with the agent's package installed)

`schemas.json` has an example of every schema of the OpenAPI document, with all members and with the required
ones alone. `parameters.json` has the agent's own verdicts on values of hyperparameters, and `spaces.json` its
verdicts on dimensions of sweeps.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

from agent.api.openapi import document
from agent.errors import AgentError
from agent.model.base import Model
from agent.model.event import Current, JobMetric, JobProgress, JobQueuePlace, JobRemoved, Reset
from agent.model.log import LogGap, LogLine
from agent.model.script import Parameter, Script
from agent.model.sweep import SweepRequest
from agent.scripts.declaration import check_parameters
from agent.sweeps.space import resolve

FOLDER = Path(__file__).parent / "MLJobKitTests" / "Fixtures"
TIME = "2026-01-01T00:00:00.250Z"

# What streams tell besides; the OpenAPI document has no place for it.
EVENTS: list[type[Model]] = [
    Current,
    JobMetric,
    JobProgress,
    JobQueuePlace,
    JobRemoved,
    LogGap,
    LogLine,
    Reset,
]

PARAMETERS: list[dict[str, Any]] = [
    {"name": "p", "type": "integer"},
    {"name": "p", "type": "integer", "minimum": 1, "maximum": 20221198336},
    {"name": "p", "type": "integer", "choices": ["1", "2"]},
    {"name": "p", "type": "number"},
    {"name": "p", "type": "number", "minimum": -0.5, "maximum": 1e3},
    {"name": "p", "type": "boolean"},
    {"name": "p", "type": "string"},
    {"name": "p", "type": "string", "choices": ["gini", "entropy"]},
]
WORDS = """
0 1 2 3 +7 -1 007 1.0 1.5 1. .5 +.5 -.25 . 1e3 1E-3 1e 1e+2 1e400 1e-400 nan inf Infinity 0x10 1_000
true false True yes gini Gini entropy 20221198336 20221198337 --1 1,5 -0.5 -0.51 1000 1000.1
1.e3 .e3 5.e é \u65e5 \u0661 \u00bd ' "
"""
VALUES = [*WORDS.split(), " 1", "1 ", "", "- 1", "a b", "9" * 100, "9" * 101, "a\u200bb"]


DIMENSIONS: list[dict[str, Any]] = [
    {},
    {"values": ["1"]},
    {"values": ["gini", "1.5", "2"]},
    {"values": ["true"]},
    {"low": 2},
    {"high": 0.25},
    {"low": 1, "high": 20},
    {"low": 3, "high": 2},
    {"low": 0, "high": 1, "log": True},
    {"low": 0.001, "high": 1, "log": True},
    {"low": 0, "high": 1, "step": 0.1},
    {"low": 1, "high": 9, "step": 2},
    {"low": 1, "high": 9, "step": 2, "log": True},
    {"low": 1, "high": 9, "step": 9},
    {"low": -1e308, "high": 1.7e308},
    {"low": 0, "high": 1e16},
    {"type": "integer", "low": 0.5, "high": 3},
    {"type": "integer", "low": 1, "high": 3},
    {"type": "number", "low": 1, "high": 3},
]


def example(schema: dict[str, Any], schemas: dict[str, Any], *, full: bool, name: str = "") -> Any:
    """A value that the schema takes; a number has a fraction, so that it is no integer."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas, full=full, name=name)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], schemas, full=full, name=name)
    if "enum" in schema or "examples" in schema:
        return (schema.get("enum") or schema["examples"])[0]
    match schema["type"]:
        case "object" if "properties" in schema:
            required = schema.get("required", [])
            members = {k: v for k, v in schema["properties"].items() if full or k in required}
            return {k: example(v, schemas, full=full, name=k) for k, v in members.items()}
        case "object":
            return (
                {"n_estimators": example(schema["additionalProperties"], schemas, full=full)} if full else {}
            )
        case "array":
            return [example(schema["items"], schemas, full=full, name=name)] if full else []
        case "integer":
            return 17
        case "number":
            return 0.5
        case "boolean":
            return True
        case "string" if schema.get("format") == "base64":
            return "c29tZS1ieXRlcw=="
        case "string":
            # The document has no format for times; each is named so.
            is_time = name.endswith(("_at", "_since")) or name in ("at", "time", "not_before", "slot", "next")
            return TIME if is_time else "some-text"
        case "null":
            return None
    raise ValueError(schema)


def is_wrong(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value of another type than the schema's."""
    if "$ref" in schema:
        return is_wrong(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return is_wrong(schema["anyOf"][0], schemas)
    kind = "string" if "enum" in schema or "examples" in schema else schema["type"]
    return {"string": 4, "integer": 0.25, "number": "0.5", "boolean": 1, "array": {}, "object": []}[kind]


def schemas() -> dict[str, Any]:
    known = json.loads(document())["components"]["schemas"]
    for event in EVENTS:
        schema = event.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        known |= schema.pop("$defs", {}) | {event.__name__: schema}
    found: dict[str, Any] = {}
    for name, schema in sorted(known.items()):
        if "properties" in schema:
            found[name] = {
                "full": example(schema, known, full=True),
                "least": example(schema, known, full=False),
                "wrong": {k: is_wrong(v, known) for k, v in schema["properties"].items()},
            }
        else:
            found[name] = {"values": schema.get("enum") or schema["examples"]}
    return found


def verdict(parameter: dict[str, Any], value: str) -> str | None:
    script = Script(script_name="s.py", sha256="", parameters=[Parameter.model_validate(parameter)])
    try:
        check_parameters(script, {"p": value})
    except AgentError as error:
        return error.fields[0].message
    return None


def space_verdict(parameter: dict[str, Any] | None, dimension: dict[str, Any], strategy: str) -> str | None:
    """What the agent says of a dimension of a parameter; of one that the script does not declare for None."""
    declared = [] if parameter is None else [Parameter.model_validate(parameter)]
    script = Script(script_name="s.py", sha256="", parameters=declared, any_parameters=parameter is None)
    request = SweepRequest.model_validate(
        {
            "script_name": "s.py",
            "space": {"p": dimension},
            "strategy": strategy,
            "trials": 1,
            "objective": {"metric": "loss", "direction": "minimize"},
        }
    )
    try:
        resolve(request, script)
    except AgentError as error:
        return next((field.message for field in error.fields if field.field == "space.p"), None)
    return None


def spaces() -> list[dict[str, Any]]:
    return [
        {
            "parameter": parameter,
            "dimension": dimension,
            "strategy": strategy,
            "objection": space_verdict(parameter, dimension, strategy),
        }
        for parameter, dimension, strategy in itertools.product(
            [*PARAMETERS, None], DIMENSIONS, ["grid", "tpe"]
        )
    ]


def parameters() -> list[dict[str, Any]]:
    return [
        {"parameter": parameter, "value": value, "objection": verdict(parameter, value)}
        for parameter, value in itertools.product(PARAMETERS, VALUES)
    ]


def main() -> int:
    stale = []
    made = {"schemas.json": schemas(), "parameters.json": parameters(), "spaces.json": spaces()}
    for name, content in made.items():
        written = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        path = FOLDER / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != written:
                stale.append(name)
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(written)
    if stale:
        names = ", ".join(stale)
        print(f"{names}: not what the agent says now; run client/Tests/fixtures.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

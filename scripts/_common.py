"""What the example scripts share: parameters, data, inputs, progress, artifacts.

The agent does not offer files with a leading underscore as jobs.
"""

import json
import os
import re
import signal
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ARTIFACTS = Path(os.environ.get("ARTIFACTS", "/artifacts"))
INPUTS = Path(os.environ.get("INPUTS", "/inputs"))

EX_USAGE = 2  # as argparse exits when it is called wrongly
STOPPED = 128 + signal.SIGTERM

# PEP 723's own regular expression, for the type `ml-job`.
BLOCK = re.compile(r"(?m)^# /// ml-job$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
BOOLEANS = {"true": True, "false": False}

MAX_QUERY_TAG = 2000  # characters, which Snowflake allows


def hyperparameters(script: str) -> dict[str, Any]:
    """The parameters that the block at the head of `script` declares, by name.

    A value is `HP_<NAME>`, else the declared default, converted to the declared type; None if there is
    neither. Exits with status 2 and one line if the block does not allow a value.
    """
    block = BLOCK.search(Path(script).read_text())
    if block is None:
        sys.exit(f"{script} has no `# /// ml-job` block")
    metadata = tomllib.loads("\n".join(line[2:] for line in block["content"].splitlines()))
    try:
        return {declared["name"]: _value(declared) for declared in metadata.get("parameters", [])}
    except ValueError as error:
        print(f"wrong hyperparameter: {error}", file=sys.stderr)
        sys.exit(EX_USAGE)


def _value(declared: dict[str, Any]) -> Any:
    name = declared["name"]
    text = os.environ.get(f"HP_{name.upper()}", declared.get("default"))
    if text is None:
        if declared.get("required", False):
            raise ValueError(f"{name} is required")
        return None
    if declared.get("choices") and text not in declared["choices"]:
        raise ValueError(f"{name} must be one of {', '.join(declared['choices'])}, not {text!r}")
    value = _read(name, declared.get("type", "string"), text)
    # `not >=` instead of `<`: NaN, for which every comparison is false, is refused too.
    if "minimum" in declared and not value >= declared["minimum"]:
        raise ValueError(f"{name} must be at least {declared['minimum']}, not {text}")
    if "maximum" in declared and not value <= declared["maximum"]:
        raise ValueError(f"{name} must be at most {declared['maximum']}, not {text}")
    return value


def _read(name: str, kind: str, text: str) -> Any:
    try:
        match kind:
            case "integer":
                return int(text)
            case "number":
                return float(text)
            case "boolean":
                return BOOLEANS[text.lower()]
            case _:
                return text
    except (ValueError, KeyError):
        raise ValueError(f"{name} must be of type {kind}, not {text!r}") from None


def stop_on_sigterm() -> None:
    """Ends a cancelled job at once, with the status of SIGTERM (143)."""

    def stop(*_: object) -> None:
        print("Stopped by SIGTERM", flush=True)
        sys.exit(STOPPED)

    signal.signal(signal.SIGTERM, stop)


def query(statement: str) -> "pd.DataFrame":
    """The rows of one SELECT, through the `[default]` connection of $SNOWFLAKE_HOME/connections.toml."""
    import snowflake.connector  # takes a second, and not every script needs it

    tag = query_tag()
    options = {"session_parameters": session_parameters() | {"QUERY_TAG": tag}} if tag else {}
    try:
        with snowflake.connector.connect(connection_name="default", **options) as connection:
            return connection.cursor().execute(statement).fetch_pandas_all()
    except snowflake.connector.errors.Error as error:
        sys.exit(f"Snowflake: {error.msg}")


def query_tag() -> str:
    """What Snowflake's history has as QUERY_TAG of this job's queries, in JSON; empty outside of a job.

    docs/warehouse.md has the query that adds up what they cost.
    """
    if "JOB_ID" not in os.environ:
        return ""
    names = {"ml_job": "JOB_ID", "owner": "JOB_OWNER", "commit": "JOB_COMMIT"}
    known = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
    for tag in (known | {"script": sys.argv[0].removeprefix("/scripts/")}, known):
        text = json.dumps(tag, ensure_ascii=False, separators=(",", ":"))
        if len(text) <= MAX_QUERY_TAG:
            return text
    return ""


def session_parameters() -> dict[str, Any]:
    """The session parameters in connections.toml: those that a script gives replace all of them."""
    try:
        text = Path(os.environ["SNOWFLAKE_HOME"], "connections.toml").read_text()
        parameters = tomllib.loads(text)["default"]["session_parameters"]
    except (KeyError, TypeError, OSError, ValueError):  # the connector says what is wrong with the file
        return {}
    return parameters if isinstance(parameters, dict) else {}


def input_file(name: str, example: str) -> Path:
    """The input of that name. Exits with status 2 and one line if the job has none; `example` is a file's."""
    path = INPUTS / name
    if not path.is_file():
        print(f"no input {name}: submit with --input {name}=JOB:{example}", file=sys.stderr)
        sys.exit(EX_USAGE)
    return path


def milestones(total: int, steps: int = 10) -> list[int]:
    """At most `steps` evenly spread counts from 1 to `total`; the last is `total`."""
    return sorted({-(-total * step // steps) for step in range(1, steps + 1)})


def progress(done: int, total: int) -> None:
    """Reports how far the job is."""
    print("::progress", json.dumps({"done": done, "total": total}))


def metric(name: str, value: float, step: int) -> None:
    """Reports a number that changes while the model learns."""
    print("::metric", json.dumps({"name": name, "value": round(value, 6), "step": step}))


def write_json(name: str, value: dict[str, Any]) -> None:
    """Writes /artifacts/`name` as indented JSON, in the given order."""
    (ARTIFACTS / name).write_text(json.dumps(value, indent=2) + "\n")

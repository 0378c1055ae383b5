"""Reads the configuration from layered TOML files and the environment, and names the file at fault."""

import difflib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_settings import SettingsError

from .config import ENVIRONMENT_PREFIX, SYSTEM_FILE, Settings, user_file
from .errors import AgentError, FieldError, Problem
from .model.problem import MISSING, Location, refusals

UNKNOWN = "is no setting"


def load(files: list[Path] | None = None) -> Settings:
    """Merges the files, lowest first, and the environment, and checks the result.

    Raises `AgentError` (configuration) that names the file, or the variable, and the key.
    """
    paths = [SYSTEM_FILE, user_file()] if files is None else files
    layers = {path: _read(path) for path in paths if path.exists()}
    if unknown := _unknown_variables():
        raise _invalid(
            FieldError(f"environment variable {name}", UNKNOWN + _near(_keys(name)[:1])) for name in unknown
        )
    try:
        return Settings(**_merged(layers.values()))
    except SettingsError as error:
        why = f"{error}; write tables and lists as JSON"
        raise _invalid([FieldError("environment", why)]) from error
    except ValidationError as error:
        refused = refusals(error, unknown=UNKNOWN)
        if (("scripts",), MISSING) in refused and paths[-1] not in layers:
            raise AgentError(
                Problem.CONFIGURATION,
                f"There is no {paths[-1]}.",
                "Run `ml-agent init --scripts REPOSITORY` to create it.",
            ) from error
        raise _invalid(
            FieldError(_place(loc, layers, paths[-1]), why + (_near(loc) if why == UNKNOWN else ""))
            for loc, why in refused
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise AgentError(
            Problem.CONFIGURATION, f"{path} cannot be read: {error}.", "Correct the file."
        ) from error


def _merged(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The tables as one, lowest first: tables in them are merged key by key, anything else is replaced."""
    merged: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            below = merged.get(key)
            if isinstance(below, dict) and isinstance(value, dict):
                value = _merged([below, value])
            merged[key] = value
    return merged


def _unknown_variables() -> list[str]:
    """Variables with this agent's prefix that name no setting."""
    known = {"CONFIG", *(name.upper() for name in Settings.model_fields)}
    ours = (name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX))
    return [name for name in ours if name.removeprefix(ENVIRONMENT_PREFIX).split("__")[0] not in known]


def _keys(variable: str) -> Location:
    return tuple(variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))


def _near(loc: Location) -> str:
    """What a key that is no setting may have been meant as; empty where no setting is near."""
    table: Any = Settings
    for part in loc[:-1]:
        fields = getattr(table, "model_fields", {})
        # Names in a table such as `egress` are free.
        table = fields[part].annotation if part in fields else next(iter(get_args(table)[-1:]), None)
        if isinstance(table, UnionType):  # a table that may be left out
            table = get_args(table)[0]
    near = difflib.get_close_matches(str(loc[-1]), getattr(table, "model_fields", {}), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _invalid(fields: Iterable[FieldError]) -> AgentError:
    return AgentError(
        Problem.CONFIGURATION,
        "The configuration is not valid.",
        "docs/configuration.md lists every key.",
        tuple(fields),
    )


def _place(loc: Location, layers: dict[Path, dict[str, Any]], fallback: Path) -> str:
    """Where a refused key was set: the environment variable's name, or `FILE: section.key`."""
    keys = [str(part) for part in loc]
    for depth in range(len(keys), 0, -1):
        variable = ENVIRONMENT_PREFIX + "__".join(keys[:depth]).upper()
        if variable in os.environ:
            return f"environment variable {variable}"
    file = next((path for path, layer in reversed(layers.items()) if _sets(layer, keys)), fallback)
    return f"{file}: {'.'.join(keys)}"


def _sets(node: Any, keys: list[str]) -> bool:
    """Whether a file has a key, or the list that the key is an entry of."""
    for key in keys:
        if isinstance(node, list):
            continue
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True

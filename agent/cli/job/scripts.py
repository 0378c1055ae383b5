"""`ml-job scripts`: what can be run, and with which parameters."""

import difflib
from typing import Annotated

import typer

from ...model.base import format_number
from ...model.script import Parameter, Script, ScriptList
from ..failure import Failure
from ..program import JsonOption
from ..terminal import Screen, bold
from .http import Api, decode
from .invocation import RefOption, command
from .render import limits_text

MAX_LEFT_OUT = 20  # that a person is told of
SCRIPT_COLUMNS = (bold("SCRIPT"), "PARAMETERS", "DESCRIPTION")
PARAMETER_COLUMNS = (bold("PARAMETER"), "TYPE", "DEFAULT", "TAKES", "DESCRIPTION")

app = typer.Typer()


@command(app, "scripts")
async def show_scripts(
    api: Api,
    screen: Screen,
    name: Annotated[
        str | None, typer.Argument(metavar="[SCRIPT]", help="Show this script and its parameters.")
    ] = None,
    ref: RefOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the scripts that jobs can run, or show one."""
    value = await api.get("/scripts", {} if ref is None else {"ref": ref})
    listing = decode(ScriptList, value)
    if name is None:
        if as_json:
            screen.json(value)
        else:
            script_table(screen, listing)
            _remark_left_out(screen, listing)
        return
    script = _find(listing, name)
    if as_json:
        screen.json(value["scripts"][listing.scripts.index(script)])
    else:
        script_sheet(screen, script, commit=listing.commit)


def _find(listing: ScriptList, name: str) -> Script:
    for script in listing.scripts:
        if script.script_name == name:
            return script
    near = difflib.get_close_matches(
        name, [script.script_name for script in listing.scripts], n=1, cutoff=0.5
    )
    hint = f"Did you mean {near[0]}?" if near else "`ml-job scripts` lists them."
    for each in listing.left_out:
        if each.path == name:
            raise Failure(f"{name} at commit {listing.commit[:12]} {each.reason}.", "docs/scripts.md")
    raise Failure(f"There is no script {name!r} at commit {listing.commit[:12]}.", hint)


def script_table(screen: Screen, scripts: ScriptList) -> None:
    """One row per script."""
    screen.table(
        SCRIPT_COLUMNS,
        [[script.script_name, _parameter_names(script), script.description] for script in scripts.scripts],
    )


def _remark_left_out(screen: Screen, scripts: ScriptList) -> None:
    """What is not in the table although its author may expect it."""
    shown = scripts.left_out[:MAX_LEFT_OUT]
    for each in shown:
        screen.remark(f"ml-job: left out: {each.path} {each.reason}", style="yellow")
    if (more := scripts.left_out_count - len(shown)) > 0:
        screen.remark(f"ml-job: left out: {more} more; --json names up to 100", style="yellow")


def _parameter_names(script: Script) -> str:
    return "any" if script.any_parameters else ", ".join(parameter.name for parameter in script.parameters)


def script_sheet(screen: Screen, script: Script, *, commit: str) -> None:
    """One script, and a row per parameter."""
    screen.sheet(
        [
            ("script", script.script_name),
            ("description", script.description),
            ("commit", commit),
            ("secrets", ", ".join(script.secrets)),
            ("network", script.network),
            ("limits", limits_text(script.limits)),
            ("must leave", ", ".join(script.artifacts)),
            ("parameters", "any" if script.any_parameters else ""),
        ]
    )
    if script.parameters:
        screen.table(PARAMETER_COLUMNS, [_parameter_row(parameter) for parameter in script.parameters])


def _parameter_row(parameter: Parameter) -> list[str]:
    return [
        parameter.name,
        parameter.type,
        parameter.default or "",
        _takes(parameter),
        parameter.description,
    ]


def _takes(parameter: Parameter) -> str:
    parts = ["required"] if parameter.required else []
    if parameter.choices:
        parts.append(" | ".join(parameter.choices))
    if parameter.minimum is not None:
        parts.append(f"≥ {format_number(parameter.minimum)}")
    if parameter.maximum is not None:
        parts.append(f"≤ {format_number(parameter.maximum)}")
    return ", ".join(parts)

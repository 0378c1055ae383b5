"""`ml-job diff`: in what two jobs differ, and what that did to their metrics."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.text import Text

from ...model.comparison import CommitDifference, Difference, JobDifference, MetricDifference
from ..program import JsonOption
from ..quantities import format_moment
from ..terminal import Screen, visible
from .http import Api, decode
from .invocation import command, resolve

app = typer.Typer()

SHORT = 12  # characters of a commit, for a person
STYLES = {"+": "green", "-": "red", "@": "cyan"}  # of the lines of a unified diff


@command(app)
async def diff(
    api: Api,
    screen: Screen,
    a: Annotated[str, typer.Argument(metavar="JOB", help="A job, as other commands name it.")],
    b: Annotated[str, typer.Argument(metavar="OTHER", help="The job to compare it with.")],
    as_json: JsonOption = False,
) -> None:
    """Show in what a job and another one differ: commit, image, parameters, limits; and the metrics."""
    value = await api.get(f"/jobs/{await resolve(api, a)}/diff/{await resolve(api, b)}")
    screen.result(value, lambda: _show(screen, decode(JobDifference, value)), as_json=as_json)


def _show(screen: Screen, found: JobDifference) -> None:
    facts = list(_facts(found, person=screen.person))
    screen.sheet(facts)
    if not facts:
        screen.remark("ml-job: the two jobs do not differ")
    if found.commit is not None:
        _show_script(screen, found.commit)


def _facts(found: JobDifference, *, person: bool) -> Iterator[tuple[str, Text | str]]:
    for only in (found.script, found.image):
        if only is not None:
            yield only.name, _change(only.a, only.b)
    if found.commit is not None:
        yield from _commits(found.commit, person=person)
    yield from _changes("package", found.packages)
    yield from _changes("parameter", found.hyperparameters)
    yield from _changes("limit", found.limits)
    yield from _changes("input", found.inputs)
    for metric in found.metrics:
        if metric.a != metric.b:
            yield "metric", f"{metric.name}: {_metric(metric)}"


def _commits(commit: CommitDifference, *, person: bool) -> Iterator[tuple[str, str]]:
    length = SHORT if person else None
    yield "commit", _change(commit.a[:length], commit.b[:length])
    yield "not known", commit.unknown or ""
    for each in commit.log:
        moment = format_moment(each.time, person=person)
        yield f"only in {each.of}", f"{each.commit[:length]} {each.author}, {moment}: {each.subject}"


def _changes(title: str, differences: Iterable[Difference]) -> Iterator[tuple[str, str]]:
    return ((title, f"{each.name}: {_change(each.a, each.b)}") for each in differences)


def _change(a: str | None, b: str | None) -> str:
    return " → ".join("none" if value is None else value for value in (a, b))


def _metric(metric: MetricDifference) -> str:
    last = (None if each is None else f"{each.last:.6g}" for each in (metric.a, metric.b))
    return _change(*last) + ("" if metric.change is None else f" ({metric.change:+.6g})")


def _show_script(screen: Screen, commit: CommitDifference) -> None:
    """The script's changes, as git prints them."""
    for line in commit.diff.splitlines():
        if screen.person:
            screen.text(Text(visible(line), style=STYLES.get(line[:1], "")))
        else:
            screen.write(f"{visible(line)}\n".encode())
    if commit.cut:
        screen.remark("ml-job: there are more commits, or more changes of the script", style="yellow")

"""`ml-agent withdraw`, `readmit` and `withdrawn`: commits that may not run any more."""

import asyncio
from typing import Annotated

import typer
from pydantic import ValidationError

from ...config import Settings
from ...config_files import load
from ...errors import AgentError, invalid_request
from ...model.base import now
from ...model.job import Job, JobState
from ...model.problem import refusals
from ...model.ref import HEAD, MAX_WITHDRAWAL_REASON, Withdrawal, is_object_id
from ...scripts.git import Repository
from ...store.store import Store
from ..program import JsonOption
from ..quantities import format_moment
from ..terminal import Screen, bold
from . import shared

COLUMNS = (bold("COMMIT"), "SINCE", "BY", "RUNNING JOBS", "REASON")
SHOWN_DIGITS = 12  # of a commit's id, to a person

app = typer.Typer()


@app.command()
def withdraw(
    commit: Annotated[
        str, typer.Argument(metavar="COMMIT", help="The commit's id, or six or more of its digits; or a ref.")
    ],
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", help=f"What users are told; up to {MAX_WITHDRAWAL_REASON} characters."
        ),
    ],
    stop_running: Annotated[
        bool, typer.Option("--stop-running", help="Also stop jobs that run it, without their grace.")
    ] = False,
) -> None:
    """Refuse a commit from now on: end jobs that wait for it, refuse new jobs and reruns."""
    settings = load()
    withdrawn, jobs = asyncio.run(_withdraw(settings, commit, reason, stop_running=stop_running))
    running = [job for job in jobs if job.status is not JobState.PENDING]
    typer.echo(f"withdrawn  {withdrawn}")
    shared.keep_revocations(settings)
    for job in jobs:
        if job not in running:
            typer.echo(f"  ends      {job.job_id}, which waits, of {job.owner}")
    for job in running:
        typer.echo(f"  {'stops     ' if stop_running else 'runs on   '}{job.job_id} of {job.owner}")
    if running and not stop_running:
        typer.echo("Withdraw it again with --stop-running to stop the jobs that run.", err=True)
    if _named(settings, HEAD) == withdrawn:
        typer.echo(
            "It is checked out: jobs without a ref are refused until another commit is.",
            err=True,
        )


@app.command()
def readmit(
    commit: Annotated[
        str, typer.Argument(metavar="COMMIT", help="The commit's id, or six or more of its digits.")
    ],
) -> None:
    """Undo a withdrawal. Jobs that it has ended stay ended."""
    settings = load()
    undone = asyncio.run(_readmit(settings, commit))
    shared.keep_revocations(settings, readmitted=undone.commit)
    typer.echo(f"readmitted  {undone.commit}, withdrawn by {undone.by}: {undone.reason}")


@app.command("withdrawn")
def list_withdrawn(as_json: JsonOption = False) -> None:
    """List the commits that are withdrawn."""
    withdrawals = shared.in_store(load(), lambda store: store.withdrawals.all())
    screen = Screen()
    screen.result(
        [each.model_dump(mode="json") for each in withdrawals],
        lambda: screen.table(COLUMNS, [_row(each, person=screen.person) for each in withdrawals]),
        as_json=as_json,
    )


def _row(withdrawal: Withdrawal, *, person: bool) -> list[str]:
    return [
        withdrawal.commit[:SHOWN_DIGITS] if person else withdrawal.commit,
        format_moment(withdrawal.at, person=person),
        withdrawal.by,
        "stopped" if withdrawal.stop_running else "left",
        withdrawal.reason,
    ]


async def _withdraw(
    settings: Settings, commit: str, reason: str, *, stop_running: bool
) -> tuple[str, list[Job]]:
    """The commit that is withdrawn now, and its jobs that have not ended."""
    caller = shared.account()
    async with Store.open(settings.database) as store:
        meant = await _meant(settings, store, commit)
        by, at = caller.actor, now()
        try:
            withdrawal = Withdrawal(commit=meant, reason=reason, by=by, at=at, stop_running=stop_running)
        except ValidationError as error:
            why = "; ".join(why for _, why in refusals(error, unknown="is not known"))
            raise typer.BadParameter(why, param_hint="--reason") from error
        deed = caller.did(
            "withdrawCommit", meant, reason=reason, running="stopped" if stop_running else "left"
        )
        await store.withdrawals.withdraw(withdrawal, deed=deed)
        return meant, [job for job in await store.jobs.active() if job.commit == meant]


async def _meant(settings: Settings, store: Store, text: str) -> str:
    """The id of a commit of the repository, or of one that jobs have run, whatever has become of it since."""
    named = _named(settings, text)
    if named or is_object_id(text):
        return named or text
    return _only(
        text, await store.withdrawals.commits_of_jobs(), "`git log` in the scripts' repository has ids."
    )


def _named(settings: Settings, ref: str) -> str | None:
    try:
        return Repository(settings.scripts.repository).commit(ref)
    except AgentError:  # a repository that cannot be read must not keep a commit from being withdrawn
        return None


async def _readmit(settings: Settings, text: str) -> Withdrawal:
    async with Store.open(settings.database) as store:
        withdrawn = [each.commit for each in await store.withdrawals.all()]
        commit = _only(text, withdrawn, "`ml-agent withdrawn` lists the commits that are withdrawn.")
        deed = shared.account().did("restoreCommit", commit)
        restored = await store.withdrawals.restore(commit, deed=deed)
    assert restored is not None
    return restored


def _only(text: str, commits: list[str], hint: str) -> str:
    """The commit that the text is, or is the beginning of. Raises `AgentError` where there is none."""
    if (found := shared.meant(text, commits, "commits")) is None:
        raise invalid_request(f"There is no such commit: {text}.", hint)
    return found

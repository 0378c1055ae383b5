"""The doctor's checks of the scripts' repository: what can be run, and what is left out."""

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from ....config import Settings
from ....errors import AgentError, Problem
from ....host.podman import Podman
from ....model.ref import Withdrawal
from ....scripts.layout import shown
from ....scripts.review import Review
from ....scripts.snapshots import Snapshots
from ....store.store import Store
from ...checks import Finding, Level, advise, judge
from .findings import declared_secrets, undefined_networks

MAX_LEFT_OUT = 20  # findings of their own
_SET_DIRECTORY = (
    "Set scripts.directory to where the scripts are, or check out a commit that has the directory."
)


async def scripts(settings: Settings, podman: Podman) -> AsyncIterator[Finding]:
    """The repository of scripts, what is left out of it, and the secrets and networks that they declare."""
    repository = settings.scripts.repository
    snapshots = Snapshots(repository, settings.scripts.directory, settings.snapshots_directory)
    try:
        catalogue = await snapshots.catalogue(await snapshots.resolve())
        left_out = await snapshots.left_out(catalogue.commit)
    except AgentError as error:
        fields = "; ".join(each.message for each in error.fields if each.message not in error.message)
        seen = f"{error.message} It {fields}." if fields else error.message
        elsewhere = error.problem is Problem.REF_NOT_FOUND
        yield Finding(
            "scripts", Level.FAIL, seen, _SET_DIRECTORY if elsewhere else error.hint or "docs/scripts.md"
        )
        return
    yield advise(
        "scripts",
        good=bool(catalogue.scripts),
        seen=f"{len(catalogue.scripts)} in {repository} at {catalogue.commit[:12]}",
        remedy=f"Commit a script to {settings.scripts.directory}/.",
    )
    async for each in reviewed(settings, catalogue.commit):
        yield each
    for finding in not_there(left_out):
        yield finding
    with suppress(AgentError):  # the check of Podman reports that it does not answer
        for finding in declared_secrets(catalogue.scripts, await podman.secrets()):
            yield finding
    for finding in undefined_networks(catalogue.scripts, settings.network):
        yield finding


async def reviewed(settings: Settings, commit: str) -> AsyncIterator[Finding]:
    """Whether the commit that is checked out may run, and whether the site's branches and tags exist."""
    review = Review(settings.scripts.repository, settings.scripts.review_rules)
    try:
        await review.standing(commit)
        withdrawn = await _withdrawal(settings, commit)
        yield judge(
            "review",
            good=withdrawn is None,
            seen=withdrawn.sentence() if withdrawn else _rules(settings),
            remedy="Check out another commit, or `ml-agent readmit` it: jobs without a ref are refused.",
        )
    except AgentError as error:
        yield Finding("review", Level.FAIL, f"{error.message} It is checked out.", error.hint)
    for glob in await review.unmatched():
        yield Finding(
            f"ref {glob}",
            Level.WARN,
            "matches no branch and no tag",
            "Correct scripts.refs or development_refs.",
        )


def _rules(settings: Settings) -> str:
    scripts = settings.scripts
    refs = f"runs what is on {', '.join(map(shown, scripts.refs))}"
    development = (
        f", without shared secrets on {', '.join(scripts.development_refs)}"
        if scripts.development_refs
        else ""
    )
    return refs + development + (", signed" if scripts.require_signed else "")


async def _withdrawal(settings: Settings, commit: str) -> Withdrawal | None:
    if not settings.database.exists():
        return None
    async with Store.open(settings.database) as store:
        return await store.withdrawals.get(commit)


def not_there(left_out: dict[str, str]) -> Iterable[Finding]:
    """One finding for each path that is left out, and one for those beyond `MAX_LEFT_OUT`."""
    remedy = 'docs/scripts.md, "What is left out"'
    for path, why in list(left_out.items())[:MAX_LEFT_OUT]:
        yield Finding(f"script {shown(path)}", Level.WARN, why, remedy)
    if (more := len(left_out) - MAX_LEFT_OUT) > 0:
        yield Finding("scripts left out", Level.WARN, f"{more} more", "`ml-job scripts --json` names more.")

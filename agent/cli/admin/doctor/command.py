"""`ml-agent doctor`: every check in turn, printed as it is made."""

from collections.abc import AsyncIterator
from functools import partial

import typer

from ....config import Settings
from ....config_files import load
from ....errors import AgentError
from ....host.podman import Podman
from ...checks import Finding, Level, guarded, one, report, sentences
from ...program import JsonOption
from . import host, jobs, journal, schedules, scripts

app = typer.Typer()


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check what the host needs, and say how to fix it. Exits with status 1 if a check fails."""
    report(examine(), as_json=as_json)


async def examine() -> AsyncIterator[Finding]:
    """Every finding, in the order in which an administrator would fix things."""
    for subject, findings in (  # which need no configuration
        ("systemd", one(host.systemd)),
        ("user manager", one(host.manager)),
        ("linger", one(host.linger)),
        ("journal", journal.journal()),
    ):
        async for finding in guarded(subject, findings):
            yield finding
    try:
        settings = load()
    except AgentError as error:
        yield Finding("configuration", Level.FAIL, *sentences(error))
        return
    async with Podman(settings.podman_socket) as podman:
        for subject, findings in _account_checks(settings, podman):
            async for finding in guarded(subject, findings):
                yield finding


def _account_checks(settings: Settings, podman: Podman) -> list[tuple[str, AsyncIterator[Finding]]]:
    return [
        ("podman", jobs.podman(settings, podman)),
        ("scripts", scripts.scripts(settings, podman)),
        ("quadlet", one(partial(jobs.quadlet, settings))),
        ("clock", host.clock(settings)),
        ("disk", one(partial(host.disk, settings))),
        ("runtime directory", one(partial(host.runtime_directory, settings))),
        ("leftovers", one(partial(jobs.leftovers, podman))),
        ("schedules", one(partial(schedules.schedules, settings))),
        ("drain", one(partial(schedules.drain, settings))),
        ("server certificate", host.server(settings)),
        ("clients", host.clients(settings)),
        ("revocations", host.revoked(settings)),
        ("socket", one(partial(host.socket, settings))),
    ]

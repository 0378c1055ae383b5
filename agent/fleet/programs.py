"""The processes of a fleet: a front, and the member of a host. Each serves until systemd ends it."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from ..config import Settings
from ..errors import AgentError, misconfigured
from ..host.libsystemd import feed_watchdog, notify
from ..host.tasks import background
from ..log import configure
from ..model.fleet import host_server_name
from .front import serve_front
from .front_client import Fronts
from .host_agent import HostAgent
from .member import Member
from .secret_sync import SecretSync
from .servers import broker_server, peer_context
from .tickets import Taker

LAST_SECONDS = 5.0  # at the end, for jobs that are being handed over; TimeoutStopSec= is 15


def run_front(settings: Settings) -> None:
    """Serves users and members. Raises `AgentError` (configuration) where no front is configured."""
    _run(serve_front(settings))


def run_member(settings: Settings) -> None:
    """Works for this host. Raises `AgentError` (configuration) where no member is configured."""
    _run(serve_member(settings))


def _run(program: Coroutine[Any, Any, None]) -> None:
    configure()
    asyncio.run(program)


async def serve_member(settings: Settings) -> None:
    """Claims jobs for this host and gives them to its agent, until SIGTERM or SIGINT."""
    fleet = settings.fleet
    if fleet is None or fleet.member is None or fleet.host is None:
        raise _absent("member")
    own, context = fleet.member, peer_context(fleet, fleet.member)
    async with (
        _until_stopped() as stop,
        Fronts.connected(own.fronts, context) as fronts,
        HostAgent.connected(own.agent_url, context, host_server_name(fleet.host)) as agent,
        Taker.connected(broker_server(fleet, own)) as taker,
        background(feed_watchdog()),
    ):
        member = Member(
            fleet.host,
            fronts,
            agent,
            taker,
            url=own.agent_url,
            secrets=SecretSync(fleet.host, fronts, agent),
            last_seconds=LAST_SECONDS,
        )
        async with background(member.run()):
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")


@contextlib.asynccontextmanager
async def _until_stopped() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    yield stop


def _absent(part: str) -> AgentError:
    return misconfigured(
        f"The configuration has no [fleet.{part}], so no {part} runs here.",
        "docs/fleet.md says how a machine becomes part of a fleet.",
    )

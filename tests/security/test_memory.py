"""The sum of the agent's bounds on memory, and what one thing of each kind takes on a real host."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from agent.api.server.connections import MAX_UNANSWERED_PER_USER
from agent.config_base import HttpSettings

from . import memory
from .memory import CONNECTION, HANDSHAKE, KIB, PAGE, PROGRAM, STREAM, TIMES, UNIT
from .standing_agent import StandingAgent, standing_agent

MANY = 100  # of a kind
REQUEST = b"GET /host HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENTS = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPLOAD = b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
UPLOAD += b"Content-Length: 200000\r\n\r\n"


def test_the_page_and_the_unit_have_the_sum() -> None:
    http = HttpSettings()
    assert PAGE.read_text("utf-8") == memory.page(PAGE.read_text("utf-8"), http)
    assert UNIT.read_text("utf-8") == memory.unit(UNIT.read_text("utf-8"), http)
    assert memory.limit() * 2**20 == memory.total(http) >= sum(term.bytes for term in memory.terms(http))


def test_more_followers_need_more() -> None:
    assert memory.total(HttpSettings(max_followers=2000)) > memory.total(HttpSettings())


@contextlib.asynccontextmanager
async def peers(
    agent: StandingAgent, count: int, context: ssl.SSLContext | None, sent: bytes, until: bytes
) -> AsyncIterator[None]:
    """So many connections, each of which has sent this and read up to that."""
    kept = []  # a writer that nobody has is an unclosed one
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("localhost", agent.port, ssl=context)
            kept.append(writer)
            stack.callback(writer.transport.abort)
            writer.write(sent)
            if until:
                await reader.readuntil(until)
        await asyncio.sleep(1)  # what was sent last has arrived
        yield


@pytest.mark.host
async def test_each_kind_takes_what_the_sum_says() -> None:
    async with standing_agent() as agent:
        kinds: dict[str, tuple[int, ssl.SSLContext | None, bytes, bytes, int]] = {
            "a connection": (MANY, agent.context, REQUEST, b"\r\n\r\n", CONNECTION),
            "a handshake": (MANY, None, b"\x16\x03\x01\x02\x00", b"", HANDSHAKE),
            "a stream": (MANY, agent.context, EVENTS, b"event: current", CONNECTION + STREAM),
            "an upload": (35, agent.context, UPLOAD + b" " * 199_000, b"", CONNECTION + TIMES * 200_000),
        }
        async with peers(agent, 20, agent.context, REQUEST, b"\r\n\r\n"):
            pass  # what is loaded late is loaded now
        program = agent.peak() * KIB
        print(f"\nthe program takes {program // KIB} KiB, of {PROGRAM // KIB}")
        assert program <= PROGRAM
        for name, (count, context, sent, until, bound) in kinds.items():
            before = agent.forget_peak()
            async with peers(agent, count, context, sent, until):
                each = (agent.peak() - before) * KIB // count
            print(f"{name} takes {each // KIB} KiB, of {bound // KIB}")
            assert each <= bound, name
        assert MAX_UNANSWERED_PER_USER > 35 * 199_000

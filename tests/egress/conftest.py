"""A server for the far end of a connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A port of the loopback that answers each connection, at its end, with what it sent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]

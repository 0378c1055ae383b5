"""A connection that is broken off ends with a reset, whatever is still to be read."""

import asyncio

import pytest

from agent.host.sockets import break_off


async def test_a_connection_that_is_broken_off_ends_with_a_reset() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 2**22)
        break_off(writer.transport)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()


def test_a_connection_that_is_gone_needs_no_reset() -> None:
    assert break_off(None) is None

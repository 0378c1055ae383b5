"""Connections that end at once."""

import asyncio
import socket
import struct

RESET = struct.pack("ii", 1, 0)  # struct linger of socket(7): on, for 0 seconds


def break_off(transport: asyncio.WriteTransport | None) -> None:
    """Ends a connection with a reset, and discards what its other end has not read.

    Otherwise the kernel would keep that, and the connection, for minutes if nobody reads it.
    """
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()

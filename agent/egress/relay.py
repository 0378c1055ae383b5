"""Carries bytes between two connections, and bounds what the kernel buffers of them."""

import asyncio
import contextlib
import fcntl
import select
import socket
import struct
import termios

from ..host.sockets import break_off

End = tuple[asyncio.StreamReader, asyncio.StreamWriter]

SOCKET_BUFFER = 128 << 10  # bytes that the kernel may hold in each direction; it allows itself twice that
LINGER = 60.0  # seconds for the other direction after the end of one, or for both after the end of the job
LOOK = 1.0  # seconds between two looks whether the job has ended
CHUNK = 1 << 16  # bytes


def bound_buffers(connection: socket.socket) -> None:
    """Bounds the kernel's buffers: they can grow to megabytes, which count as the proxy's memory."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)


async def relay(near: End, far: End) -> tuple[int, int]:
    """Carries bytes until both ends have closed; returns how many went out, and how many came back.

    It ends at most `LINGER` seconds after one direction, or the near end, has ended. The far connection is
    then reset, so that the kernel keeps nothing of it.
    """
    out = asyncio.create_task(_carry(near[0], far[1]))
    back = asyncio.create_task(_carry(far[0], near[1]))
    ended: set[asyncio.Task[int]] = set()
    try:
        # While the far end does not read, nothing is read from the near end, and its end goes unnoticed.
        while not ended and not _has_gone(near[1]):
            ended, _ = await asyncio.wait((out, back), timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
        _, unended = await asyncio.wait((out, back), timeout=LINGER)
        if unended and not far[1].is_closing():
            break_off(far[1].transport)
    finally:
        for task in (out, back):
            task.cancel()
    return await out, await back


async def wait_until_read(writer: asyncio.StreamWriter) -> None:
    """Waits until the other end of a Unix socket has read everything, or has closed it.

    Until then the kernel counts the bytes as this process's memory.
    """
    while not writer.is_closing() and _unread(writer):  # noqa: ASYNC110
        await asyncio.sleep(LOOK)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    count = 0
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(CHUNK):
            count += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    return count


def _has_gone(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end is closed for reading and writing, which poll(2) always reports."""
    if writer.is_closing():
        return True
    hangup = select.poll()
    hangup.register(writer.get_extra_info("socket"), 0)
    return bool(hangup.poll(0))


def _unread(writer: asyncio.StreamWriter) -> int:
    """Bytes in a Unix socket that its other end has not read yet."""
    size = fcntl.ioctl(writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", size)[0])

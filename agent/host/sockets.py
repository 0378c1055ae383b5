"""Sockets: those that systemd passes to a service (sd_listen_fds(3)), and connections that end at once."""

import asyncio
import errno
import os
import socket
import struct

from ..errors import host_failed

FIRST_SOCKET = 3  # the file descriptor of the first one
BACKLOG = 4096  # connections that wait to be accepted; the socket unit says the same

RESET = struct.pack("ii", 1, 0)  # struct linger of socket(7): on, for 0 seconds


def inherited_sockets() -> list[socket.socket]:
    """The sockets that systemd passed to this process; none if it passed none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=FIRST_SOCKET + number) for number in range(count)]
    for each in sockets:
        each.setblocking(False)
        os.set_inheritable(each.fileno(), False)
    return sockets


def loopback_socket(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1. Raises `AgentError` (host) if the port is taken."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"cannot be used: {os.strerror(error.errno or 0)}"
        raise host_failed(
            f"Port {port} {why}.",
            "`systemctl --user status ml-agent.socket` shows whether systemd already listens for the agent.",
        ) from error


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

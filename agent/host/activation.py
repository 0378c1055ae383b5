"""Sockets that systemd passes to a service (sd_listen_fds(3))."""

import errno
import os
import socket

from ..errors import AgentError, Problem

FIRST_SOCKET = 3  # the file descriptor of the first one
BACKLOG = 4096  # connections that wait to be accepted; the socket unit says the same


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
        why = (
            "is taken"
            if error.errno == errno.EADDRINUSE
            else f"cannot be used: {os.strerror(error.errno or 0)}"
        )
        raise AgentError(
            Problem.HOST,
            f"Port {port} {why}.",
            "`systemctl --user status ml-agent.socket` shows whether systemd already listens for the agent.",
        ) from error

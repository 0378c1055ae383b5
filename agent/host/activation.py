"""Sockets that systemd passes to a service (sd_listen_fds(3))."""

import errno
import os
import socket

from ..errors import AgentError, Problem

FIRST_SOCKET = 3  # sd_listen_fds(3): inherited sockets are numbered from here
BACKLOG = 4096  # connections that wait to be accepted; the socket unit says the same


def inherited_sockets(port: int) -> list[socket.socket]:
    """The sockets that systemd passed (sd_listen_fds(3)); run by hand, one on the loopback address.

    Raises `AgentError` (host) where that one's port cannot be had.
    """
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if count and os.environ.get("LISTEN_PID") == str(os.getpid()):
        sockets = [socket.socket(fileno=FIRST_SOCKET + number) for number in range(count)]
        for each in sockets:
            each.setblocking(False)
            os.set_inheritable(each.fileno(), False)
        return sockets
    try:
        return [socket.create_server(("127.0.0.1", port), backlog=BACKLOG)]
    except OSError as error:
        why = (
            "is taken"
            if error.errno == errno.EADDRINUSE
            else f"cannot be had: {os.strerror(error.errno or 0)}"
        )
        raise AgentError(
            Problem.HOST,
            f"Port {port} {why}.",
            "`systemctl --user status ml-agent.socket` says whether systemd listens for the agent already.",
        ) from error

"""The sockets that systemd passes, the one that replaces them, and connections that are broken off."""

import asyncio
import os
import socket

import pytest

from agent.errors import AgentError
from agent.host.sockets import break_off, inherited_sockets, loopback_socket


def passed(monkeypatch: pytest.MonkeyPatch, *sockets: socket.socket, pid: int) -> None:
    """Passes sockets as systemd does; they must have consecutive numbers."""
    monkeypatch.setenv("LISTEN_FDS", str(len(sockets)))
    monkeypatch.setenv("LISTEN_PID", str(pid))
    monkeypatch.setattr("agent.host.sockets.FIRST_SOCKET", sockets[0].fileno())


def test_a_socket_that_was_passed_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        passed(monkeypatch, listening, pid=os.getpid())
        (taken,) = inherited_sockets()
        assert taken.getsockname() == listening.getsockname()
        assert not taken.getblocking()
        assert not taken.get_inheritable()
        taken.detach()


def test_sockets_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        passed(monkeypatch, listening, pid=os.getpid() + 1)
        assert inherited_sockets() == []


def test_without_systemd_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN_FDS", "LISTEN_PID"):
        monkeypatch.delenv(name, raising=False)
    assert inherited_sockets() == []


def test_the_loopback_socket_listens_there_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with loopback_socket(port) as listening:
        assert listening.getsockname() == ("127.0.0.1", port)


def test_a_port_that_is_taken_is_told_with_where_to_look() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AgentError, match=rf"Port {port} is taken\. .*status ml-agent\.socket"):
            loopback_socket(port)


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

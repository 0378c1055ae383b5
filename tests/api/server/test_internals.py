"""The undocumented parts of aiohttp and asyncio that the server uses, in the installed versions."""

import asyncio
import ssl
from asyncio import sslproto
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from agent.api.server.internals import TLS_READ_BUFFER, RequestHandler, limit_buffers, unsent_bytes
from agent.host.files import write_file
from agent.identity import tls
from agent.identity.authority import Authority
from tests.support.waiting import until


async def test_a_connection_counts_its_requests_and_knows_whether_one_is_under_way() -> None:
    answering = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await answering.wait()
        return web.Response()

    made: list[RequestHandler] = []
    handlers = web.Server(answer)

    def connection() -> RequestHandler:
        made.append(RequestHandler(handlers))
        return made[-1]

    async def shows(count: int, *, awaits_request: bool) -> bool:
        return [(each.request_count, each.awaits_request) for each in made] == [(count, awaits_request)]

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for number in (1, 2):
        writer.write(b"GET / HTTP/1.1\r\n")
        await until(partial(shows, number - 1, awaits_request=True))
        writer.write(b"Host: localhost\r\n\r\n")
        await until(partial(shows, number, awaits_request=False))
        answering.set()
        await reader.readuntil(b"\r\n\r\n")
        await until(partial(shows, number, awaits_request=True))
        answering.clear()
    writer.close()
    server.close()
    await handlers.shutdown(1)


async def test_what_waits_in_a_tls_connection_and_below_it_is_counted(tmp_path: Path) -> None:
    reading, accepting, server = await tls_connection(tmp_path)
    transport = accepting.transport
    assert unsent_bytes(transport) == 0
    size = 8 * 2**20
    accepting.write(b"x" * size)
    assert size // 2 < unsent_bytes(transport) < size * 1.1
    assert transport.get_write_buffer_size() == 0  # why this alone does not tell
    assert len(await reading[0].readexactly(size)) == size
    assert unsent_bytes(transport) == 0
    for each in (reading[1].transport, transport):
        each.abort()
    server.close()
    await asyncio.sleep(0)
    assert unsent_bytes(transport) == 0


async def test_the_read_buffer_of_a_tls_connection_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", sslproto.SSLProtocol.max_size)
    limit_buffers()
    (_, writer), accepting, server = await tls_connection(tmp_path)
    accepted = accepting.transport
    buffer = accepted._ssl_protocol.get_buffer(1)  # type: ignore[attr-defined]  # the class has no public name
    assert len(buffer) == TLS_READ_BUFFER
    for transport in (writer.transport, accepted):
        transport.abort()
    server.close()


async def tls_connection(
    directory: Path,
) -> tuple[tuple[asyncio.StreamReader, asyncio.StreamWriter], asyncio.StreamWriter, asyncio.Server]:
    """The client's end, the server's end, and the server of a connection over the loopback."""
    issued = Authority.create(directory, "test CA").issue_server(["localhost"])
    write_file(directory / "server.crt", issued.certificate_pem(), mode=0o600)
    write_file(directory / "server.key", issued.key_pem(), mode=0o600)
    context = tls.server_context(directory)
    context.verify_mode = ssl.CERT_NONE
    served: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: served.put(writer), "127.0.0.1", 0, ssl=context)
    trusting = ssl.create_default_context(cafile=directory / "ca.crt")
    port = server.sockets[0].getsockname()[1]
    client = await asyncio.open_connection("localhost", port, ssl=trusting)
    # Kept: from Python 3.13 on, a writer that nobody has is unclosed.
    return client, await served.get(), server

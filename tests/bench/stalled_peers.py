"""Peers that stall, in a process of their own: `python -m tests.bench.stalled_peers JSON`.

JSON is a `Plan`. They are there until the standard input ends. What is printed then is, by kind of peer, how
many ended in which way.
"""

import asyncio
import contextlib
import json
import os
import random
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

SPREAD = 25.0  # seconds over which the first peers come: their ends are spread as much
AGAIN = (1.0, 9.0)  # seconds after which a peer that was ended comes again
DRIP = 1.0  # seconds between two bytes
ESTABLISHED = 1  # tcp(7), tcpi_state
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # how one of 512 bytes begins
LOWEST_PRIORITY = 19
LONG = 10_000  # bytes of what is announced and drips


@dataclass(frozen=True)
class Plan:
    """Where the agent is, who the peers are, and what those ask for that do not read.

    `certificates` are pairs of files; peers take them in turns.
    """

    port: int
    authority: str
    certificates: list[tuple[str, str]]
    peers: int
    download: str
    stream: str

    @property
    def json(self) -> str:
        """The command line's argument."""
        return json.dumps(asdict(self))

    def contexts(self) -> list[ssl.SSLContext]:
        """A client's context for each certificate."""
        made = []
        for certificate, key in self.certificates:
            context = ssl.create_default_context(cafile=self.authority)
            context.load_cert_chain(Path(certificate), Path(key))
            made.append(context)
        return made


class Peers:
    """All of them; each kind is a quarter, the two kinds within it an eighth."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._contexts = plan.contexts()
        self._kinds: dict[str, Callable[[ssl.SSLContext], Awaitable[str]]] = {
            "TCP alone": self._silent,
            "header drips": self._header,
            "body drips": self._body,
            "stream unread": lambda context: self._unread(context, self._plan.stream),
            "handshake drips": self._handshake,
            "header drips, kept connection": self._second_header,
            "body drips, in chunks": self._chunks,
            "download unread": lambda context: self._unread(context, self._plan.download),
        }
        self.ended = {kind: Counter[str]() for kind in self._kinds}

    async def run(self) -> None:
        """Keeps all of them there."""
        kinds = list(self._kinds)
        async with asyncio.TaskGroup() as group:
            for number in range(self._plan.peers):
                context = self._contexts[number % len(self._contexts)]
                group.create_task(self._again_and_again(kinds[number % len(kinds)], context))

    async def _again_and_again(self, kind: str, context: ssl.SSLContext) -> None:
        await asyncio.sleep(random.uniform(0, SPREAD))
        while True:
            began = asyncio.get_running_loop().time()
            try:
                how = await self._kinds[kind](context)
            except (OSError, EOFError) as error:
                how = "reset" if isinstance(error, ConnectionError) else type(error).__name__
            seconds = asyncio.get_running_loop().time() - began
            self.ended[kind][f"{how}, after {5 * round(seconds / 5)} s"] += 1
            await asyncio.sleep(random.uniform(*AGAIN))

    async def _connect(
        self, context: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            "localhost", self._plan.port, ssl=context, family=socket.AF_INET, limit=1024
        )

    async def _silent(self, _: ssl.SSLContext) -> str:
        return await self._end(*await self._connect(None), b"")

    async def _handshake(self, _: ssl.SSLContext) -> str:
        return await self._end(*await self._connect(None), CLIENT_HELLO + bytes(500))

    async def _header(self, context: ssl.SSLContext) -> str:
        return await self._end(*await self._connect(context), b"GET /jobs HTTP/1.1\r\nX: " + b"x" * LONG)

    async def _second_header(self, context: ssl.SSLContext) -> str:
        reader, writer = await self._connect(context)
        writer.write(b"GET /jobs?limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")
        )
        await reader.readexactly(int(length))
        return await self._end(reader, writer, b"GET /jobs HTTP/1.1\r\nX: " + b"x" * LONG)

    async def _body(self, context: ssl.SSLContext) -> str:
        reader, writer = await self._connect(context)
        writer.write(_post(f"Content-Length: {LONG}"))
        return await self._end(reader, writer, b" " * LONG)

    async def _chunks(self, context: ssl.SSLContext) -> str:
        reader, writer = await self._connect(context)
        writer.write(_post("Transfer-Encoding: chunked"))
        return await self._end(reader, writer, b"1\r\n \r\n" * LONG)

    async def _unread(self, context: ssl.SSLContext, path: str) -> str:
        _, writer = await self._connect(context)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream, */*\r\n\r\n".encode()
        )
        connection: socket.socket = writer.get_extra_info("socket")
        try:
            # What nobody reads from tells of its end in no other way.
            while connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED:  # noqa: ASYNC110
                await asyncio.sleep(1)
        finally:
            writer.transport.abort()
        return "closed"

    async def _end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drops: bytes) -> str:
        """How the agent ends a connection on which these bytes arrive, one after the other."""
        dripping = asyncio.create_task(_drip(writer, drops))
        try:
            answer = await reader.read(100)
        finally:
            dripping.cancel()
            writer.transport.abort()
        status = answer.split(b" ")[1:2] if answer.startswith(b"HTTP/") else []
        return f"answered {status[0].decode()}" if status else "closed"


def _post(framing: str) -> bytes:
    head = "POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}{framing}\r\n\r\n".encode()


async def _drip(writer: asyncio.StreamWriter, drops: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for drop in drops:
            writer.write(bytes([drop]))
            await writer.drain()
            await asyncio.sleep(DRIP)


async def main() -> None:
    """Runs them until the standard input ends, and says what became of them."""
    os.nice(LOWEST_PRIORITY)
    peers = Peers(Plan(**json.loads(sys.argv[1])))
    running = asyncio.create_task(peers.run())
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([running, told], return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    print(json.dumps(peers.ended))


if __name__ == "__main__":
    asyncio.run(main())

"""Requests made of bytes: what no well-behaved client library would let through."""

import asyncio
import contextlib
import json
import ssl
from dataclasses import dataclass
from typing import Any

PATIENCE = 60.0  # seconds for one answer; a predicate's bound and no measurement


@dataclass(frozen=True)
class Answer:
    """A response; of one that goes on, its head alone."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header that may be there once; empty where it is not."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else ""

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Wire:
    """One client's connection, made again whenever an answer has ended it."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, target: bytes, headers: dict[str, bytes] | None = None, body: bytes = b""
    ) -> Answer:
        """Sends the bytes as they are, and reads one answer."""
        given = {"Host": b"localhost", "Content-Type": b"application/json"} | (headers or {})
        if body:
            given["Content-Length"] = str(len(body)).encode()
        lines = [method.encode() + b" " + target + b" HTTP/1.1"]
        lines += [name.encode() + b": " + value for name, value in given.items()]
        request = b"\r\n".join([*lines, b"", body])
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "localhost", self._port, ssl=self._context, limit=2**20
            )
        reader, writer = self._streams
        async with asyncio.timeout(PATIENCE):
            writer.write(request)
            answer = await _read(reader, head_only=method == "HEAD")
        # Bytes that were more than one request would be answered by more than one response.
        over = answer.header("Connection") == "close" or not answer.header("Content-Length")
        if over or any(b"\n" in part or b"\r" in part for part in (target, *given.values())):
            await self.close()
        return answer

    async def close(self) -> None:
        """Hangs up."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader, *, head_only: bool) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line)]
    answer = Answer(int(head[0].split(" ")[1]), headers, b"")
    length = int(answer.header("Content-Length") or 0)
    if head_only or answer.status == 304:
        return answer
    return Answer(answer.status, headers, await reader.readexactly(length))

"""The request of a client, `CONNECT host:port` (RFC 9110, section 9.3.6), and the answer if it is refused."""

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD = 8192  # bytes of a request
HEAD_TIMEOUT = 10.0  # seconds

NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*")
REQUEST = re.compile(rb"CONNECT ([!-~]{1,300}):([0-9]{1,5}) HTTP/1\.[01]\r?\n")


@dataclass(frozen=True)
class RefusedError(Exception):
    """The request is refused, and the client is told why."""

    status: HTTPStatus
    why: str

    @property
    def response(self) -> bytes:
        """The whole HTTP response."""
        body = f"ml-egress: {self.why}\n"
        return (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        ).encode("ascii")


async def read_request(reader: asyncio.StreamReader) -> tuple[str, int]:
    """The host, in lower case, and the port that a client wants. The reader's limit must be `MAX_HEAD`.

    Raises `RefusedError`, `TimeoutError`, and `IncompleteReadError` if the client ends the connection.
    """
    try:
        async with asyncio.timeout(HEAD_TIMEOUT):
            line = await reader.readuntil(b"\n")
            head = line
            while head[-4:] != b"\r\n\r\n" and head[-2:] != b"\n\n":
                head += await reader.readuntil(b"\n")
                if len(head) > MAX_HEAD:
                    raise _too_long()
    except asyncio.LimitOverrunError as error:
        raise _too_long() from error
    match = REQUEST.fullmatch(line)
    if match is None:
        raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "only CONNECT is served, which HTTPS uses")
    host = match[1].decode("ascii").lower().removesuffix(".")
    if not NAME.fullmatch(host):
        raise RefusedError(HTTPStatus.FORBIDDEN, "the host is not a valid name")
    return host, int(match[2])


def _too_long() -> RefusedError:
    return RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")

"""Connections from the proxy to what the site allows."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator
from http import HTTPStatus

from .policy import Address, Policy, embedded
from .relay import End, bound_buffers
from .request import RefusedError

CONNECT_TIMEOUT = 10.0  # seconds, for each address
MAX_ADDRESSES = 4  # of a name that are tried
READ_LIMIT = 1 << 14  # bytes; asyncio holds twice that, and the 256 KiB that it reads at once


async def connect(policy: Policy, host: str, port: int) -> contextlib.AbstractAsyncContextManager[End]:
    """A connection to the first address of a host that the policy permits and that answers.

    Raises `RefusedError`.
    """
    if not policy.allows(host, port):
        raise RefusedError(HTTPStatus.FORBIDDEN, "it is not on the list")
    addresses = [each for each in await _resolve(host, port) if policy.permits(each)]
    if not addresses:
        raise RefusedError(HTTPStatus.FORBIDDEN, "it has no address on the Internet")
    addresses = [each for each in addresses if not is_own(each) or policy.names_exactly(each)]
    if not addresses:
        raise RefusedError(HTTPStatus.FORBIDDEN, "it is the host itself")
    for address in addresses[:MAX_ADDRESSES]:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return _closing(await open_connection(address, port))
    raise RefusedError(HTTPStatus.BAD_GATEWAY, "it does not answer")


def is_own(address: Address) -> bool:
    """Whether an address, or the IPv4 address embedded in it, is the host's own: only those can be bound."""
    for each in {address, embedded(address)}:
        family = socket.AF_INET if each.version == 4 else socket.AF_INET6
        with contextlib.suppress(OSError), socket.socket(family) as own:
            own.bind((str(each), 0))
            return True
    return False


async def open_connection(address: Address, port: int) -> End:
    """A connection whose buffers are bounded. Raises `OSError`."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    # Without the protocol's number, asyncio would not set TCP_NODELAY.
    remote = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        remote.setblocking(False)
        bound_buffers(remote)  # before the connection is made, which negotiates the window scale
        await asyncio.get_running_loop().sock_connect(remote, (str(address), port))
        reader, writer = await asyncio.open_connection(sock=remote, limit=READ_LIMIT)
    except BaseException:
        remote.close()
        raise
    writer.transport.set_write_buffer_limits(high=0)
    return reader, writer


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RefusedError(HTTPStatus.BAD_GATEWAY, "its name is not known") from error
    return [ipaddress.ip_address(address[0]) for *_, address in found]


@contextlib.asynccontextmanager
async def _closing(end: End) -> AsyncIterator[End]:
    try:
        yield end
    finally:
        end[1].transport.abort()  # waits for no peer that does not read
        with contextlib.suppress(OSError):
            await end[1].wait_closed()

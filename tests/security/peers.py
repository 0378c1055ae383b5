"""An agent, and peers that speak HTTP to it by hand, on one TLS connection each."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.identity.authority import Authority
from agent.identity.certificates import recorded
from agent.model.base import now
from agent.model.certificate import Principal, Role
from tests.support.served import Served

from . import forge
from .forge import Shown, uris


@dataclass
class Site:
    """An agent, and the authorities that certificates are made with."""

    served: Served
    own: Authority
    foreign: Authority
    directory: Path

    async def record(self, shown: Shown, user: str = "alice", role: Role = Role.ANALYST) -> Shown:
        """Puts a certificate into the record, as if this host had issued it."""
        holder = Principal(user=user, role=role)
        await self.served.scene.store.certificates.add(
            recorded(shown.certificate, self.own.certificate, holder)
        )
        return shown

    async def renewed(self, old: Shown, name: str = "alice") -> Shown:
        """What the agent answers to a signing request under a certificate, which names somebody."""
        key = ec.generate_private_key(ec.SECP256R1())
        async with Connection.open(self, old) as connection:
            status, answer = await connection.ask("POST", "/certificate", {"csr": request_of(key, name)})
        assert status == 200, answer
        return Shown(x509.load_pem_x509_certificate(answer["certificate"].encode()), key)

    async def revoke(self, serial: str) -> None:
        await self.served.scene.store.certificates.revoke([serial], now())


def request_of(key: Any, name: str) -> str:
    """A signing request that claims all it can."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    )
    builder = builder.add_extension(
        x509.SubjectAlternativeName(uris(f"urn:ml-job:user:{name}")), critical=False
    ).add_extension(forge.ISSUER, critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


LAST_CHUNK = b"\r\n0\r\n\r\n"


class Connection:
    """One TLS connection, on which HTTP is written by hand: a client's library would make another one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, site: Site, shown: Shown | None, *, base: str = "", trust: Path | None = None
    ) -> AsyncIterator["Connection"]:
        context = forge.client_context(trust or site.directory, shown)
        port = int((base or site.served.base).rpartition(":")[2])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(data)}", *(f"{name}: {value}" for name, value in headers.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers. Raises `ConnectionError` where not one byte comes."""
        async with asyncio.timeout(20):
            if not (begin := await self._reader.read(1)):
                raise ConnectionResetError("no byte of HTTP")
            text = (begin + await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = text.strip().split("\r\n")
        return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        await self.send(method, path, body)
        status, headers = await self.head()
        return status, json.loads(await self._reader.readexactly(int(headers["content-length"])))

    async def until(self, words: bytes) -> bytes:
        """What comes up to and with these words."""
        async with asyncio.timeout(20):
            return await self._reader.readuntil(words)

    async def rest(self) -> tuple[bytes, bool]:
        """What comes to the end, and whether the end was one of HTTP's, a last chunk."""
        body = b""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while chunk := await self._reader.read(1 << 16):
                    body += chunk
                    if body.endswith(LAST_CHUNK):
                        return body, True
        return body, False


async def outcome(site: Site, shown: Shown | None, *, base: str = "", trust: Path | None = None) -> str:
    """What a client gets that submits a job: `nothing`, `403 …`, or `answered as <user>`."""
    try:
        async with Connection.open(site, shown, base=base, trust=trust) as connection:
            status, answer = await connection.ask("POST", "/jobs", {"script_name": "succeed.py"})
    except (ConnectionError, ssl.SSLError):
        return "nothing"
    if status == 202:
        return f"answered as {answer['owner']}"
    assert answer["type"] == "urn:ml-agent:problem:certificate-refused", answer
    return f"{status} {answer['detail']}"

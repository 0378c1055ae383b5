"""The calls of a front for members, over TLS and a real record; the rest of the front is in memory."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from agent.backend.fleet import FleetMembers
from agent.config_base import HttpSettings
from agent.fleet.front_client import Fronts
from agent.fleet.members import RecordMembers
from agent.fleet.record import Record
from agent.identity.authority import Authority
from agent.model.certificate import Role
from agent.model.fleet import FRONT_SERVER_NAME

from .api_client import Answer
from .fleet_pki import peer, put_into_fleet
from .openapi import Document
from .pki import save
from .served import Authorities, MemoryServed, served_from_memory


@dataclass(frozen=True)
class ServedFront:
    """A front, and the authority of its fleet."""

    served: MemoryServed
    fleet: Authority
    directory: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, directory: Path, record: Record, document: Document, *, members: FleetMembers | None = None
    ) -> AsyncIterator["ServedFront"]:
        """Serves until the context ends; by default what `RecordMembers` answers."""
        authorities = Authorities.make(directory / "front")
        fleet = Authority.make("the fleet")
        put_into_fleet(authorities.directory, fleet, FRONT_SERVER_NAME)
        answers = members or RecordMembers(record)
        http = HttpSettings(requests_per_second=1000, request_burst=20_000)
        async with served_from_memory(http, authorities, document, directory, answers) as served:
            yield cls(served, fleet, directory)

    def context(self, name: str, role: Role = Role.MEMBER) -> ssl.SSLContext:
        """What a program of the fleet shows: by default, the member of that host."""
        save(self.directory, name, peer(self.fleet, role, name))
        context = ssl.create_default_context(cadata=self.fleet.certificate_pem().decode())
        context.load_cert_chain(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        return context

    def member(self, host: str, *urls: str) -> contextlib.AbstractAsyncContextManager[Fronts]:
        """The member of a host, which asks this front, or those."""
        return Fronts.connected(urls or [self.served.base], self.context(host))

    async def ask(
        self, name: str, method: str, path: str, body: Any = None, role: Role = Role.MEMBER
    ) -> Answer:
        """Any request of a program of the fleet."""
        headers = {"Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(ssl=self.context(name, role))
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body)
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as session,
            session.request(
                method, self.served.base + path, data=sent, server_hostname=FRONT_SERVER_NAME
            ) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.read())

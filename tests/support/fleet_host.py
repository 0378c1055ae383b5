"""Hosts of a fleet: an agent's parts over TLS, a stand-in for Podman, and the member's side of secrets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from agent.config_fleet import FleetSettings
from agent.fleet.entries import HostReport
from agent.fleet.front_client import Fronts
from agent.fleet.host_agent import HostAgent
from agent.fleet.secret_sync import SecretSync
from agent.model.fleet import host_server_name

from .fleet_front import ServedFront
from .fleet_pki import put_into_fleet
from .fleet_record import HOST, NEED
from .openapi import Document
from .served import Authorities, Served, served_by_the_agent
from .small_site import make_settings
from .waiting import until


@dataclass
class FleetHost:
    """A host that has joined, and whose member follows the fleet's secrets."""

    name: str
    served: Served
    agent: HostAgent
    fronts: Fronts
    sync: SecretSync
    following: asyncio.Task[None] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, name: str, front: ServedFront, directory: Path, repository: Path, document: Document
    ) -> AsyncIterator["FleetHost"]:
        """A host with files in `directory`, which another one of that name may have left."""
        authorities = replace(Authorities.make(directory / "pki"), fleet=front.fleet)
        put_into_fleet(authorities.directory, front.fleet, host_server_name(name))
        site = make_settings(directory / "site", runtime=directory / "runtime", repository=repository)
        site = site.model_copy(update={"fleet": FleetSettings(host=name)})
        async with (
            served_by_the_agent(site, authorities, document, directory) as served,
            HostAgent.connected(served.base, front.context(name), host_server_name(name)) as agent,
            front.member(name) as fronts,
        ):
            host = cls(name, served, agent, fronts, SecretSync(name, fronts, agent))
            await host.restart()
            try:
                yield host
            finally:
                await host.stop()

    async def restart(self) -> None:
        """Another member in the place of the one before, if there was one."""
        await self.stop()
        self.sync = SecretSync(self.name, self.fronts, self.agent)
        await self.join()
        self.following = asyncio.create_task(self.sync.run())

    async def stop(self) -> None:
        """The member ends, and nobody follows any more."""
        if self.following is not None:
            self.following.cancel()
            await asyncio.wait([self.following])

    async def join(self) -> None:
        """Tells the record of the host, as its member does."""
        room = await self.agent.room()
        self.sync.noticed(room.secrets)
        key = room.secrets_key.model_dump_json() if room.secrets_key else ""
        await self.fronts.join(self.name, HostReport(capacity=HOST, networks=(NEED,), secrets_key=key))

    @property
    def values(self) -> dict[str, bytes]:
        """What Podman has, without what its names begin with."""
        return {name.removeprefix("ml-agent."): value for name, value in self.served.podman.values.items()}

    async def has(self, **values: bytes) -> None:
        """Waits until these are the values of alice's secrets, and all that there is."""
        expected = {f"{name}.alice": value for name, value in values.items()}
        await until(lambda: self.values == expected)

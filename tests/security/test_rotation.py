"""An agent that runs while its authority is replaced under it: nobody who renewed is cut off at any time."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest

from agent.identity import authority
from agent.identity.key_files import certificates
from agent.store.store import Store
from tests.support.jobs import old_job
from tests.support.waiting import until
from tests.test_service import Site, free_port, site  # noqa: F401

COMMAND = "from agent.cli.{}.main import main; main()"
ADMIN, CLIENT = COMMAND.format("admin"), COMMAND.format("job")


class Host:
    """A running agent, and the commands of its administrator and of alice, its client."""

    def __init__(self, site: Site, home: Path) -> None:  # noqa: F811
        self.site = site
        self.files = home / "ml-job"
        self.directory = site.settings.pki_directory
        server = {"ML_JOB_SERVER": f"https://localhost:{site.port}", "XDG_CONFIG_HOME": str(home)}
        self._environment = site.environment | server
        self.files.mkdir(parents=True)
        for name in ("ca.crt", "client.crt", "client.key"):
            (self.files / name.replace("client", "alice")).write_bytes((self.directory / name).read_bytes())

    async def run(self, program: str, *arguments: str) -> tuple[int | None, str]:
        """Exit status, and what was printed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, *arguments),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    async def administer(self, *arguments: str) -> str:
        status, output = await self.run(ADMIN, *arguments)
        assert status == 0, output
        return output

    async def ml_job(self, *arguments: str) -> str:
        status, output = await self.run(CLIENT, *arguments)
        assert status == 0, output
        return output


@pytest.fixture
async def host(site: Site, tmp_path: Path) -> Host:  # noqa: F811
    await site.start()
    return Host(site, tmp_path / "home")


async def test_connections_and_streams_outlive_a_rotation_and_who_renewed_is_answered_all_the_time(
    host: Host,
) -> None:
    site = host.site  # noqa: F811
    base = f"https://localhost:{site.port}"
    old = authority.authorities(host.directory)[0]
    connector = aiohttp.TCPConnector(ssl=site.context, limit=2, keepalive_timeout=300)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"{base}/events", headers={"Accept": "text/event-stream"}) as stream,
    ):
        assert stream.status == 200
        await stream.content.readuntil(b"event: current")

        await host.administer("rotate-ca")
        assert "alice has not renewed" in (await host.run(ADMIN, "rotate-ca", "--finish"))[1]
        await host.ml_job("renew")
        assert len(certificates(host.files / "ca.crt")) == 2
        await host.administer("rotate-ca", "--finish")
        assert authority.authorities(host.directory) != [old]

        # From here on the old one is of no use: neither to the server, nor to a client that comes with it.
        (host.files / "ca.crt").write_bytes((host.directory / "ca.crt").read_bytes())

        async def new_server() -> bool:
            return (await host.run(CLIENT, "list"))[0] == 0

        await until(new_server, seconds=60)

        async def old_client_is_refused() -> bool:
            try:
                await site.call("GET", "/jobs")
            except aiohttp.ClientError:
                return True
            return False

        await until(old_client_is_refused, seconds=60)
        # The stream was opened before it all, under the old certificate, and has missed nothing.
        job = old_job()
        async with Store.open(site.settings.database) as store:
            await store.jobs.add(job, max_waiting=10)
        async with asyncio.timeout(60):
            await stream.content.readuntil(job.job_id.encode())

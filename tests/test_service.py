"""The agent as a process: its sockets, its end, and that its death is none of the jobs' business."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from agent.audit.chain import Caller
from agent.config import Settings
from agent.host.files import write_file
from agent.identity.authority import Authority
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.store.store import Store
from tests.support.small_site import import_image, make_repository, make_settings
from tests.support.waiting import run, until

AGENT = (sys.executable, "-c", "from agent.cli.admin.main import main; main()", "serve")
# As systemd passes a socket (sd_listen_fds(3)): as descriptor 3, to the process that LISTEN_PID names.
PASS_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass
class Site:
    """Settings with a PKI and one analyst, and the agent that serves them."""

    settings: Settings
    port: int
    environment: dict[str, str]
    context: ssl.SSLContext
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self, **environment: str) -> None:
        """Starts an agent; returns when it answers."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *AGENT,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

        async def answers() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, self.log.read_text()
            with contextlib.suppress(aiohttp.ClientConnectionError):
                return (await self.call("GET", "/jobs"))[0] == 200
            return False

        await until(answers)

    async def end(self, number: int) -> int:
        """Sends a signal and returns the exit status."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer on a connection of its own."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"https://localhost:{self.port}{path}", json=body, ssl=self.context
            ) as response,
        ):
            return response.status, await response.json()


async def _record(settings: Settings, certificate: Certificate) -> None:
    async with Store.open(settings.database) as store:
        await store.certificates.add(certificate)


@pytest.fixture
async def site(tmp_path: Path, free_port: int) -> AsyncIterator[Site]:
    make_repository(tmp_path / "repository")
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", tmp_path / "runtime"))
    settings = make_settings(tmp_path, runtime=runtime)
    authority = Authority.create(settings.pki_directory, "test CA")
    server, client = authority.issue_server(["localhost"]), authority.issue_client("alice")
    for name, issued in (("server", server), ("client", client)):
        write_file(settings.pki_directory / f"{name}.crt", issued.certificate_pem(), mode=0o600)
        write_file(settings.pki_directory / f"{name}.key", issued.key_pem(), mode=0o600)
    expires = client.certificate.not_valid_after_utc.astimezone(UTC)
    known = {"serial": client.serial, "user": "alice", "role": Role.ANALYST}
    await _record(settings, Certificate(**known, issued_at=now(), expires_at=expires))
    context = ssl.create_default_context(cafile=settings.pki_directory / "ca.crt")
    context.load_cert_chain(settings.pki_directory / "client.crt", settings.pki_directory / "client.key")
    configuration = tmp_path / "config.toml"
    configuration.write_text(
        f"""state_directory = "{settings.state_directory}"
runtime_directory = "{runtime}"
policy_directories = ["{settings.policy_directories[0]}"]
[scripts]
repository = "{settings.scripts.repository}"
[jobs]
image = "{settings.jobs.image}"
[http]
port = {free_port}
"""
    )
    environment = os.environ | {"ML_AGENT_CONFIG": str(configuration)}
    made = Site(settings, free_port, environment, context, tmp_path / "agent.log")
    yield made
    if made.process is not None and made.process.returncode is None:
        await made.end(signal.SIGKILL)


async def test_the_agent_answers_and_ends_with_success_when_it_is_told_to(site: Site) -> None:
    await site.start()
    assert await site.call("GET", "/jobs") == (200, {"jobs": []})
    assert await site.end(signal.SIGTERM) == 0
    assert "Traceback" not in site.log.read_text()


async def test_the_agent_tells_the_audits_oldest_and_newest_row(site: Site) -> None:
    async with Store.open(site.settings.database) as store:
        for job in ("a", "b", "c"):
            await store.audit.append(
                Caller(actor="x", role="account", source="this host").did("cancelJob", job)
            )
        first, _, last = (row.link for row in await store.audit.rows(0, 3))
        epoch = (await store.changes.history()).epoch
    await site.start()
    await site.end(signal.SIGTERM)
    told = [line for line in site.log.read_text().splitlines() if "audit head" in line]
    assert [line[line.index("audit") :] for line in told] == [
        f"audit head {link} of record {epoch}" for link in (first, last)
    ]


async def test_the_agent_serves_the_socket_that_it_inherits(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port)) as listening:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PASS_SOCKET, str(listening.fileno()), *AGENT),
            env=site.environment,
            pass_fds=(listening.fileno(),),
        )
        assert (await site.call("GET", "/jobs"))[0] == 200
        process.terminate()
        assert await process.wait() == 0
        # systemd's own copy of the socket: who comes while there is no agent waits, and is not refused.
        waiting = asyncio.create_task(site.call("GET", "/jobs"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_the_agent_tells_systemd_that_it_is_ready_alive_and_stopping(
    site: Site, tmp_path: Path
) -> None:
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(10)
    await site.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
    told = [await asyncio.to_thread(notify.recv, 100) for _ in range(4)]
    assert sorted(set(told)) == [b"READY=1", b"WATCHDOG=1"]
    await site.end(signal.SIGTERM)
    while (last := await asyncio.to_thread(notify.recv, 100)) == b"WATCHDOG=1":
        pass
    assert last == b"STOPPING=1"
    notify.close()


async def test_an_agent_that_nobody_needs_leaves_with_success(site: Site) -> None:
    await site.start(ML_AGENT_HTTP__IDLE_EXIT_SECONDS="1")
    assert site.process is not None
    async with asyncio.timeout(20):
        assert await site.process.wait() == 0
    assert "idle" in site.log.read_text()


async def test_an_agent_without_its_certificate_says_what_makes_one(site: Site) -> None:
    (site.settings.pki_directory / "server.crt").unlink()
    process = await asyncio.create_subprocess_exec(
        *AGENT,
        env=site.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode != 0
    assert b"ml-agent init" in output
    assert b"Traceback" not in output


async def test_a_request_under_way_is_answered_before_the_agent_leaves(site: Site) -> None:
    await site.start()
    call = asyncio.create_task(site.call("GET", "/scripts"))
    await asyncio.sleep(0.02)
    assert await site.end(signal.SIGTERM) == 0
    with contextlib.suppress(aiohttp.ClientError):
        assert (await call)[0] == 200


async def test_the_servers_certificate_is_replaced_without_a_dropped_connection(site: Site) -> None:
    await site.start()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("localhost", site.port, ssl=site.context)

    async def is_new() -> bool:
        _, writer = await connect()
        shown = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return int(shown, 16) == issued.certificate.serial_number

    reader, writer = await connect()
    issued = Authority.load(site.settings.pki_directory).issue_server(["localhost"])
    for name, data in (("server.crt", issued.certificate_pem()), ("server.key", issued.key_pem())):
        write_file(site.settings.pki_directory / name, data, mode=0o600, replace=True)
    await until(is_new)
    writer.write(b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(20):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


async def test_peers_that_stall_keep_the_agent_neither_from_answering_nor_from_leaving(site: Site) -> None:
    await site.start(ML_AGENT_HTTP__HANDSHAKE_SECONDS="60", ML_AGENT_HTTP__MAX_HANDSHAKES="20")
    peers = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(40)]
    assert (await site.call("GET", "/jobs"))[0] == 200
    assert await site.end(signal.SIGTERM) == 0
    for _, writer in peers:
        writer.close()


# --- with real jobs -----------------------------------------------------------------------------------


@pytest.fixture
async def working(site: Site) -> AsyncIterator[Site]:
    await asyncio.to_thread(import_image)
    await run("systemctl", "--user", "start", "podman.socket")
    await site.start()
    yield site
    for state in (site.settings.state_directory / "jobs").glob("*"):
        unit = f"ml-job@{state.name}.service"
        await run("systemctl", "--user", "stop", unit, check=False)
        await run("systemctl", "--user", "reset-failed", unit, check=False)
        (site.settings.runtime_directory / "systemd/user" / unit).unlink(missing_ok=True)


async def _job_is(site: Site, job: Any, status: str) -> Any:
    async def look() -> Any:
        answer = (await site.call("GET", f"/jobs/{job['job_id']}"))[1]
        return answer if answer["status"] == status else None

    return await until(look)


async def _shown(job: Any, *properties: str) -> str:
    return await run(
        "systemctl", "--user", "show", job["unit"], *(f"--property={name}" for name in properties)
    )


@pytest.mark.host
async def test_a_job_does_not_notice_that_its_agent_is_killed_and_the_next_agent_tells_its_end(
    working: Site,
) -> None:
    body = {"script_name": "run.py", "limits": {"run_time_seconds": 4}}
    _, job = await working.call("POST", "/jobs", body)
    await _job_is(working, job, "RUNNING")
    before = await _shown(job, "MainPID", "InvocationID", "ActiveState")
    await working.end(signal.SIGKILL)
    assert await _shown(job, "MainPID", "InvocationID", "ActiveState") == before
    await working.start()
    assert (await _job_is(working, job, "RUNNING"))["invocation_id"] in before
    ended = await _job_is(working, job, "FAILED")
    assert ended["reason"] == "timeout"


@pytest.mark.host
async def test_a_job_that_ends_while_there_is_no_agent_is_known_to_the_next(working: Site) -> None:
    body = {"script_name": "run.py", "limits": {"run_time_seconds": 2}}
    _, job = await working.call("POST", "/jobs", body)
    await _job_is(working, job, "RUNNING")
    await working.end(signal.SIGKILL)

    async def gone() -> bool:
        return "ActiveState=active" not in await _shown(job, "ActiveState")

    await until(gone)
    await working.start()
    ended = await _job_is(working, job, "FAILED")
    assert (ended["reason"], ended["status"]) == ("timeout", "FAILED")


@pytest.mark.host
async def test_what_was_accepted_before_a_kill_runs_once_after_it(working: Site) -> None:
    jobs = []
    for _ in range(6):
        status, job = await working.call("POST", "/jobs", {"script_name": "count.py"})
        assert status == 202
        jobs.append(job)
    await working.end(signal.SIGKILL)
    await working.start()
    for job in jobs:
        await _job_is(working, job, "COMPLETED")
        artifacts = working.settings.state_directory / "jobs" / job["job_id"] / "attempts/1/artifacts"
        assert (artifacts / "runs").read_text() == "once\n"

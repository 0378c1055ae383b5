"""Redis with the files that `ml-fleet init` writes: what they let through, and how a replica takes over."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.fleet import main
from agent.cli.fleet.files import FleetFiles
from agent.config import user_file
from agent.config_files import load
from agent.errors import AgentError
from agent.fleet.record import Record
from agent.fleet.record_server import RecordServer
from agent.fleet.servers import record_server
from tests.support import ml_agent
from tests.support.fleet_record import HALF_LIFE, submitted
from tests.support.ml_agent import Run
from tests.support.redis_server import free_port

pytestmark = pytest.mark.host

PATIENCE = 10.0  # seconds


class Placed:
    """A Redis with the files of one machine, in a directory and on a port of the test."""

    def __init__(self, source: Path, directory: Path, ports: dict[str, int], name: str) -> None:
        self._source = source
        self._directory = directory
        self._ports = ports
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Puts the files in their places, as their script does, and starts Redis."""
        shutil.copytree(self._source, self._directory / "files", dirs_exist_ok=True)
        (self._directory / "data").mkdir(exist_ok=True)
        text = (self._source / "redis.conf").read_text()
        text = text.replace("/etc/redis/ml-fleet", f"{self._directory}/files")
        text = text.replace("/var/lib/redis", f"{self._directory}/data")
        text = text.replace("tls-port 6379", f"tls-port {self._ports[self._name]}")
        for name, port in self._ports.items():
            text = text.replace(f"replicaof {name} 6379", f"replicaof {name} {port}")
        configuration = self._directory / "redis.conf"
        configuration.write_text(text)
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", str(configuration)], stdout=log, stderr=log)

    def stop(self) -> None:
        """As `systemctl stop` does: it writes what it has before it ends.

        Redis ignores the signal while it writes the first file of a replica that was added a moment ago.
        """
        deadline = time.monotonic() + PATIENCE
        while self._process is not None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._end(signal.SIGTERM, 1.0)
        assert self._process is None

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int, seconds: float = PATIENCE) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(seconds)
            self._process = None


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    home = tmp_path / "home"
    home.mkdir()
    ml_agent.make_account(home, monkeypatch)
    return ml_agent.runner(monkeypatch, capsys, main.main)


@pytest.fixture
def site(run: Run, tmp_path: Path) -> Iterator[dict[str, Placed]]:
    """The primary, `localhost`, and its replica, 127.0.0.1."""
    assert run("init", "--san", "localhost", "--redis", "localhost", "--redis", "127.0.0.1").status == 0
    files, ports = FleetFiles(tmp_path / "home/.local/state/ml-fleet"), {}
    placed = {}
    for name in ("localhost", "127.0.0.1"):
        ports[name] = free_port()
        directory = tmp_path / name
        directory.mkdir()
        placed[name] = Placed(files.server("redis", name), directory, ports, name)
    with contextlib.ExitStack() as stack:
        for each in placed.values():
            each.start()
            stack.callback(each.kill)
        yield placed


def server(site: dict[str, Placed], *, replicas: int = 0) -> RecordServer:
    """Where the configuration says that the record is; on the test's port."""
    fleet = load().fleet
    assert fleet is not None
    known = record_server(fleet)
    name = known.url.partition("@")[2].partition(":")[0]
    url = f"rediss://front@{name}:{site[name]._ports[name]}"
    return RecordServer(
        url=url,
        password=known.password,
        authority=known.authority,
        certificate=known.certificate,
        key=known.key,
        replicas=replicas,
    )


async def ready(known: RecordServer) -> None:
    """Waits until it answers, and has its functions and replicas."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(AgentError):
                async with Record.connected(known, half_life=HALF_LIFE) as record:
                    await record.load()
                    await submitted(record)
                    return
            await asyncio.sleep(0.1)


async def test_a_front_does_its_work_and_nothing_else(site: dict[str, Placed]) -> None:
    known = server(site)
    await ready(known)
    async with Record.connected(known, half_life=HALF_LIFE) as record:
        facts = await record.facts()
        assert (facts["appendfsync"], facts["maxmemory-policy"], facts["library"]) == (
            "always",
            "noeviction",
            "current",
        )
        async with record.bell():
            pass
        for forbidden in (
            ("FLUSHALL",),
            ("CONFIG", "SET", "appendfsync", "no"),
            ("SET", "other", "1"),
            ("ACL", "LIST"),
            ("REPLICAOF", "NO", "ONE"),
            ("SHUTDOWN",),
            ("KEYS", "*"),
        ):
            with pytest.raises(Exception, match=r"(?i)no ?perm"):
                await record._client.execute_command(*forbidden)


async def test_nobody_else_is_answered(site: dict[str, Placed]) -> None:
    known = server(site)
    await ready(known)
    wrong = [
        {"password": "wrong"},
        {"password": None, "url": known.url.replace("front@", "")},
        {"certificate": None, "key": None},
    ]
    for change in wrong:
        parts = {name: getattr(known, name) for name in RecordServer.__dataclass_fields__}
        async with Record.connected(RecordServer(**{**parts, **change}), half_life=HALF_LIFE) as record:
            with pytest.raises(AgentError):
                await record.pending()


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_what_was_accepted_is_there_after_a_restart(site: dict[str, Placed], end: str) -> None:
    known = server(site)
    await ready(known)
    async with Record.connected(known, half_life=HALF_LIFE) as record:
        jobs = [await submitted(record) for _ in range(20)]
        assert await record.cancel(jobs[0])
    getattr(site["localhost"], end)()
    site["localhost"].start()
    await ready(known)
    async with Record.connected(known, half_life=HALF_LIFE) as record:
        found = await record.jobs(jobs)
    assert [found[job_id]["status"] for job_id in jobs] == ["CANCELLED", *["PENDING"] * 19]


async def test_a_replica_confirms_and_takes_over(site: dict[str, Placed], run: Run) -> None:
    known = server(site, replicas=1)
    await ready(known)
    async with Record.connected(known, half_life=HALF_LIFE) as record:
        job_id = await submitted(record)
    site["localhost"].kill()
    promoted = run("promote", "127.0.0.1")
    assert promoted.status == 0, promoted.err
    assert 'url = "rediss://front@127.0.0.1:6379"' in user_file().read_text()
    site["127.0.0.1"].stop()
    site["127.0.0.1"].start()
    taken_over = server(site)
    await ready(taken_over)
    async with Record.connected(taken_over, half_life=HALF_LIFE) as record:
        job = await record.job(job_id)
        assert job is not None
        assert job["status"] == "PENDING"
        assert (await record.facts())["role"] == "master"


async def test_without_its_replica_nothing_is_accepted(site: dict[str, Placed]) -> None:
    known = server(site, replicas=1)
    await ready(known)
    site["127.0.0.1"].kill()
    async with Record.connected(known, half_life=HALF_LIFE) as record:
        with pytest.raises(AgentError, match="0 of 1 replicas"):
            await submitted(record)

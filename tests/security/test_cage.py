"""A hostile job tries what it can think of, from within the cage that every job is in, and gets nowhere."""

import asyncio
import contextlib
import json
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli.job.profile import config_directory
from agent.config_files import load
from agent.errors import AgentError
from agent.jobs import guards
from agent.jobs.artifacts import open_artifact
from agent.logs.job_log import JobLogs
from agent.logs.journal import Journal
from agent.logs.lines import Line, LineNumbering, Position
from agent.logs.metrics_reader import MetricsReader
from agent.model.inputs import RequestedLimits
from agent.model.job import Job, JobState, Reason
from agent.model.log import LogSource
from tests.support import job_scene
from tests.support.artifacts import list_of
from tests.support.job_host import Host
from tests.support.waiting import run

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]

SECRET = "what no job may see"
METADATA = [
    "169.254.169.254:80",
    "169.254.170.2:80",
    "168.63.129.16:80",
    "100.100.100.200:80",
    "[fd00:ec2::254]:80",
]
ELSEWHERE = [
    "1.1.1.1:443",
    "8.8.8.8:53",
    "10.0.0.1:80",
    "192.168.0.1:80",
    "172.17.0.1:80",
    "[2606:4700::1111]:443",
]
# Where Podman and pasta may put the host into a container's network.
GATEWAYS = ["169.254.1.1", "169.254.1.2", "10.0.2.2", "10.0.2.3", "10.88.0.1", "192.168.127.254"]
LINK_LOCAL = ["169.254.0.1:80", "[fe80::1%1]:80", "[fe80::1%2]:80", "[ff02::1%1]:80"]


@contextlib.contextmanager
def listeners() -> Iterator[dict[str, Any]]:
    """What an attacker would like to reach, listening on the host: by TCP everywhere, and in the abstract."""
    everywhere = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    abstract = socket.socket(socket.AF_UNIX)
    name = f"ml-agent-test-{os.getpid()}"
    abstract.bind(f"\0{name}")
    abstract.listen()
    with everywhere, abstract:
        yield {"port": everywhere.getsockname()[1], "abstract": name}


def own_addresses() -> list[str]:
    """The host's addresses, besides the loopback's."""
    found = set()
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
            one.connect((far, 9))  # sends nothing; it is asked what the sender's address would be
            found.add(one.getsockname()[0])
    return sorted(f"[{address}]" if ":" in address else address for address in found)


def what_is_there(host: Host, heard: dict[str, Any], other: Job) -> dict[str, Any]:
    """Everything on this host that is worth an attempt, by its path, address or number."""
    runtime, state = host.settings.runtime_directory, host.settings.state_directory
    installed = load()
    ports = [heard["port"], installed.http.port]
    files = [
        host.attempt(other).artifacts / "private.txt",
        state / "jobs.db",
        installed.database,
        installed.pki_directory / "ca.key",
        config_directory() / "alice.key",
        Path.home() / ".local/share/containers/storage/secrets/filedriver/secretsdata.json",
        Path.home() / ".local/share/containers/storage/db.sql",
        runtime / "systemd/user" / other.unit,
        Path("/usr/bin/podman"),
    ]
    sockets = [
        runtime / "podman/podman.sock",
        runtime / "bus",
        runtime / "systemd/private",
        runtime / "systemd/notify",
        Path("/run/dbus/system_bus_socket"),
        Path("/run/systemd/journal/stdout"),
        Path("/run/systemd/journal/socket"),
        Path("/run/systemd/private"),
        Path("/run/systemd/notify"),
        *runtime.glob("libpod/tmp/socket/*/attach"),
    ]
    local = [f"{address}:{port}" for address in ("127.0.0.1", "[::1]", *own_addresses()) for port in ports]
    return {
        "files": [str(path) for path in files if path.exists()],
        "sockets": [str(path) for path in sockets if path.exists()],
        "abstract": [heard["abstract"]],
        "addresses": [
            *local,
            *(f"{address}:{port}" for address in GATEWAYS for port in ports),
            *(METADATA + LINK_LOCAL + ELSEWHERE),
        ],
        "datagrams": ["127.0.0.53:53", "169.254.1.1:53", "8.8.8.8:53", "[fe80::1%1]:53"],
        "pids": [os.getpid()],
        "names": [socket.gethostname(), *(address.strip("[]") for address in own_addresses())],
        "interfaces": ["lo"],
        "timeout": 2,
        "local": local,
    }


def are_worth_an_attempt(targets: dict[str, Any]) -> None:
    """On the host itself, what is tried is there: an attempt that nothing could answer would show nothing."""
    assert len(targets["files"]) >= 6
    assert len(targets["sockets"]) >= 5
    for address in targets["local"]:
        where, _, port = address.rpartition(":")
        socket.create_connection((where.strip("[]"), int(port)), timeout=10).close()
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\0" + targets["abstract"][0])


async def attempts_of(host: Host, job: Job, *, given: str = "") -> list[dict[str, str]]:
    """What the job said of each attempt, printed as a table; one of them is what it was `given`."""
    ended = await end_of(host, job)
    lines = [text for text, source in await host.whole_log(job) if source is LogSource.JOB]
    assert ended.status is JobState.COMPLETED, [line for line in lines if not line.startswith("{")]
    *rows, total = [json.loads(line) for line in lines if line.startswith("{")]
    assert total["attempts"] == len(rows) > 100
    for row in rows:
        if row["attempt"] == given and row["result"] == "SUCCEEDED":
            row["result"] = "given"
    width = max(len(row["attempt"]) for row in rows)
    print()
    for row in rows:
        print(f"{row['attempt']:{width}}  {row['result']:9}  {row['by']}")
    print(f"{len(rows)} attempts: {dict(Counter(row['result'] for row in rows))}")
    return rows


async def end_of(host: Host, job: Job) -> Job:
    return await job_scene.end_of(host.jobs, job, seconds=300)


@contextlib.asynccontextmanager
async def targets_of(host: Host) -> AsyncIterator[dict[str, Any]]:
    """What is there for an attacker, for as long as the body runs: another job's result is part of it."""
    other = await host.submit("harmless.py")
    assert (await end_of(host, other)).status is JobState.COMPLETED
    with listeners() as heard:
        targets = what_is_there(host, heard, other)
        are_worth_an_attempt(targets)
        yield targets


async def test_a_hostile_job_gets_nowhere(host: Host) -> None:
    async with targets_of(host) as targets:
        parameters = {"targets": json.dumps(targets)}
        limits = RequestedLimits(tasks=100, grace_seconds=1)
        rows = await attempts_of(
            host, await host.submit("escape.py", hyperparameters=parameters, limits=limits)
        )
    assert [row for row in rows if row["result"] == "SUCCEEDED"] == []
    # Where there are no controllers, as in a container, the bound on tasks is shown elsewhere.
    assert [row["attempt"] for row in rows if row["result"] == "not shown"] in ([], ["fork without bound"])


async def test_a_job_on_the_demos_network_reaches_the_demos_warehouse_alone(host: Host) -> None:
    (network,) = [options for options in host.settings.networks.values() if options.startswith("pasta:")]
    port = network.partition(",-T,")[2].partition(",")[0]
    async with targets_of(host) as targets:
        targets["interfaces"] = ["lo", "warehouse"]
        targets["addresses"] = [f"127.0.0.1:{port}", *targets["addresses"]]
        parameters = {"targets": json.dumps(targets)}
        job = await host.submit("escape-warehouse.py", hyperparameters=parameters)
        rows = await attempts_of(host, job, given=f"reach 127.0.0.1:{port}")
    results = Counter(row["result"] for row in rows)
    assert (results["SUCCEEDED"], results["given"]) == (0, 1)


@pytest.mark.parametrize("how", ["bytes", "files", "directories", "sparse", "hidden", "deep", "moving"])
async def test_a_job_that_takes_more_than_its_quota_is_ended(host: Host, how: str) -> None:
    job = await host.submit("fill.py", hyperparameters={"how": how})
    ended = await end_of(host, job)
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.ARTIFACT_QUOTA), ended
    assert "/artifacts" in (ended.message or "")
    await host.has_no_container(job)


async def test_a_job_that_has_ended_before_anybody_looked_is_over_its_quota_all_the_same(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "INTERVAL", 3600.0)
    ended = await end_of(host, await host.submit("fill.py", hyperparameters={"how": "and-ends"}))
    assert (ended.status, ended.reason, ended.exit_status) == (JobState.FAILED, Reason.ARTIFACT_QUOTA, 0)


async def test_forged_lines_are_the_jobs_own_and_floods_are_bounded(host: Host, tmp_path: Path) -> None:
    job = await host.submit("forge.py")
    ended = await end_of(host, job)
    assert (ended.status, ended.reason) == (JobState.COMPLETED, None)
    lines = [
        (item.text.decode("utf-8", "replace"), item.source)
        async for items in Journal().rest(job.unit, LineNumbering(Position()))
        for item in items
        if isinstance(item, Line)
    ]
    texts = Counter(lines)
    for forged in ("Ended: success, exited 0", "Error: the image is not there", "0123456789abcdef" * 4):
        assert texts[forged, LogSource.JOB] == 5, forged
    assert texts["Error: from a program of that name", LogSource.JOB] == 1
    assert texts["\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b[31mred", LogSource.JOB] == 5
    systems = [text for text, source in lines if source is LogSource.SYSTEM]
    assert systems.count("Ended: success, exited 0") == 1
    assert not any("aaaaaaaaaaaa" in text for text in systems)
    assert ("the last line", LogSource.JOB) in lines
    paths_of = host.settings.paths_of
    reader = MetricsReader(
        JobLogs(Journal(), host.jobs.registry.get, job_scene.Ends(host.jobs).ended, paths_of), paths_of
    )
    metrics = await reader.metrics(ended)
    assert len(metrics.series) <= 100
    assert metrics.refused > 0
    assert all(len(series.points) <= 2000 for series in metrics.series)


@pytest.mark.parametrize("stay", [False, True])
async def test_what_a_job_leaves_is_files_or_nothing_and_nobody_changes_it_after_the_end(
    host: Host, tmp_path: Path, stay: bool
) -> None:
    canary = tmp_path / "canary"
    canary.write_text(SECRET)
    parameters = {"secret": str(canary)} | ({"stay": "1"} if stay else {})
    job = await host.submit("leave.py", hyperparameters=parameters, limits=RequestedLimits(grace_seconds=1))
    if stay:
        await host.running(job)
        await host.jobs.registry.cancel(job.job_id)
    ended = await end_of(host, job)
    assert ended.status is (JobState.CANCELLED if stay else JobState.COMPLETED)
    directory = host.attempt(ended).artifacts
    size = (directory / "plain.txt").stat().st_size
    manifest = await list_of(host.jobs.results, ended)
    await asyncio.sleep(0.5)  # ten turns of what would go on writing
    assert (directory / "plain.txt").stat().st_size == size
    assert await run("systemctl", "--user", "show", "--value", "--property=ControlGroup", job.unit) == ""

    published = {artifact.path for artifact in manifest.artifacts}
    odd = {" ", "-rf", "..\\..\\x", "n" * 255, "a:b;c&d$(e)`f`"}
    escaped = {"new%0Aline", "%1B[31mred", "%FF%FE", "%E2%80%AEgnp.exe"}
    deep = "/".join(f"level-{level}" for level in range(40)) + "/bottom"
    assert published == {"plain.txt", deep, *odd, *escaped}
    for name in (
        "link",
        "environ",
        "secret",
        "root",
        "loop",
        "fifo",
        "socket",
        "new\nline",
        "closed/inside",
        "link/x",
    ):
        with pytest.raises(AgentError):
            await open_artifact(host.attempt(ended), name, complete=True)
    assert not (directory / "device").exists()
    (directory / "closed").chmod(0o700)


async def test_a_file_that_is_swapped_while_it_is_served_is_itself_or_not_found(
    host: Host, tmp_path: Path
) -> None:
    canary = tmp_path / "served"
    canary.write_text(SECRET)
    job = await host.submit("swap.py", hyperparameters={"secret": str(canary)})
    running = await host.running(job)
    attempt = host.attempt(running)
    seen = Counter[str]()
    for turn in range(1500):
        name = ("served", "inner/served", "good")[turn % 3]
        try:
            published = await open_artifact(attempt, name, complete=False)
        except AgentError:
            seen["not found"] += 1
            continue
        with contextlib.closing(published.file):
            seen[(await asyncio.to_thread(published.file.read)).decode()] += 1
        if turn % 100 == 0:
            for artifact in (await list_of(host.jobs.results, running)).artifacts:
                assert artifact.size in (0, 4), artifact
    print(dict(seen))
    assert seen.keys() == {"good", "not found"} or seen.keys() == {"good", "", "not found"}
    await host.jobs.registry.cancel(job.job_id)
    ended = await end_of(host, job)
    assert SECRET not in (await list_of(host.jobs.results, ended)).model_dump_json()


async def test_where_the_disk_is_about_to_be_full_who_writes_is_ended_and_who_does_not_goes_on(
    host: Host,
) -> None:
    patient = await host.submit("swap.py", hyperparameters={"secret": "/nowhere"})
    await host.running(patient)
    disk = os.statvfs(host.settings.state_directory)
    floor = disk.f_bavail * disk.f_frsize - 2**27
    host.settings.jobs.__dict__["min_free_bytes"] = floor
    ended = await end_of(host, await host.submit("grow.py"))
    assert (ended.status, ended.reason) == (JobState.FAILED, Reason.STORAGE_FULL), ended
    assert (await host.jobs.registry.get(patient.job_id)).status is JobState.RUNNING
    # There is too little room for another one to begin, until somebody makes room.
    waiting = await host.submit("harmless.py")
    await asyncio.sleep(3)
    assert (await host.jobs.registry.get(waiting.job_id)).status is JobState.PENDING
    host.settings.jobs.__dict__["min_free_bytes"] = 0
    assert (await end_of(host, waiting)).status is JobState.COMPLETED
    await host.jobs.registry.cancel(patient.job_id)
    await end_of(host, patient)

"""The bed itself: hosts that answer each other, a network that can be cut, and nothing left behind."""

import contextlib
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.systemd_host.nspawn import NETWORKS

from . import bed, layout
from .handle import SILENCE, Fleet, wait_for

ERRNO_UNREACHABLE = 101


def reaches(fleet: Fleet, source: str, target: str, port: int) -> str:
    """`yes` where a connection is made from a node to a name; else what was seen: `silence`, or an error."""
    program = (
        "import socket, sys\n"
        f"try: socket.create_connection(({target!r}, {port}), {SILENCE})\n"
        "except TimeoutError: print('silence')\n"
        "except OSError as error: print(error.errno)\n"
        "else: print('yes')"
    )
    return fleet.output(source, "python3", "-c", program)


def answers(fleet: Fleet, host: str) -> bool:
    """Whether a host's agent answers a user over mutual TLS, within the time that a partition is told by."""
    with contextlib.suppress(TimeoutError):
        context = fleet.identity(host, "alice")
        status, _ = fleet.ask(host, layout.AGENT_PORT, "/host", context, seconds=SILENCE)
        return status == 200
    return False


def test_agents_answer_users_over_mutual_tls(fleet: Fleet) -> None:
    for host in layout.HOSTS:
        context = fleet.identity(host, "alice")
        status, body = fleet.ask(host, layout.AGENT_PORT, "/host", context)
        assert (status, body["capacity"]["jobs"]) == (200, 3)


def test_hosts_reach_each_other_by_name_and_nothing_else(fleet: Fleet) -> None:
    for source in layout.HOSTS:
        for target in layout.HOSTS:
            assert reaches(fleet, source, target, layout.AGENT_PORT) == "yes"
        assert reaches(fleet, source, "192.0.2.1", 443) == str(ERRNO_UNREACHABLE)
    machine = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    assert layout.NETWORK not in machine


def test_a_partition_from_everything_is_silent_and_is_healed(fleet: Fleet) -> None:
    assert answers(fleet, "h2")
    fleet.partition("h2")
    assert reaches(fleet, "h1", "h2", layout.AGENT_PORT) != "yes"
    assert not answers(fleet, "h2")
    assert answers(fleet, "h3")
    fleet.heal("h2")
    wait_for(lambda: answers(fleet, "h2"), "h2 to answer again")


def test_a_partition_from_one_name_leaves_all_others(fleet: Fleet) -> None:
    fleet.partition("h2", "h1")
    assert reaches(fleet, "h2", "h1", layout.AGENT_PORT) == "silence"
    assert reaches(fleet, "h2", "h3", layout.AGENT_PORT) == "yes"
    assert answers(fleet, "h2")
    fleet.heal("h2")
    assert reaches(fleet, "h2", "h1", layout.AGENT_PORT) == "yes"


def test_a_host_without_power_boots_again_with_its_files(fleet: Fleet) -> None:
    fleet.output("h3", "sh", "-c", "echo kept > ~/file; sync ~/file")
    fleet.kill("h3")
    assert reaches(fleet, "h1", "h3", layout.AGENT_PORT) != "yes"
    assert fleet.verb("up").returncode == 0
    assert fleet.output("h3", "cat", "/home/ml/file") == "kept"
    assert answers(fleet, "h3")


def test_what_does_not_exist_is_named(fleet: Fleet) -> None:
    done = fleet.verb("partition", "h1", "from", "nowhere")
    assert (done.returncode, "nowhere" in done.stderr) == (1, True)
    done = fleet.verb("kill", "h2", "record")
    assert (done.returncode, "redis-server.service" in done.stderr) == (1, True)


def test_a_fleet_fits_on_a_small_disk(fleet: Fleet) -> None:
    assert bed.bytes_on_disk(fleet.name) < 1.5e9


@pytest.fixture
def another() -> Iterator[Fleet]:
    """Another bed, which is destroyed."""
    chosen = Fleet(f"test-{secrets.token_hex(3)}")
    yield chosen
    bed.destroy(chosen.name)


def traces(name: str) -> list[str]:
    """What of a bed is left on this machine: files, namespaces, control groups, mounts, processes."""
    folders = {Path("/var/lib/ml-agent-host"): "*", Path("/run/systemd/nspawn"): "*/*"}
    folders |= {NETWORKS: "*", Path("/sys/fs/cgroup"): "**/*"}
    found = [str(path) for folder, above in folders.items() for path in folder.glob(f"{above}{name}*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            alive = (process / "cmdline").read_bytes()
            found += [str(process)] if alive and name in (process / "cgroup").read_text() else []
    return found


@pytest.mark.parametrize("seconds", [0.3, 2.0, 5.0])
def test_destroy_leaves_nothing_of_a_fleet_whose_making_was_killed(another: Fleet, seconds: float) -> None:
    with subprocess.Popen([bed.PROGRAM, "up", "--name", another.name], stderr=subprocess.DEVNULL) as making:
        time.sleep(seconds)  # a time and no predicate: it may be anywhere
        making.send_signal(signal.SIGKILL)
    assert traces(another.name)
    assert another.verb("destroy").returncode == 0
    assert traces(another.name) == []
    assert another.verb("destroy").returncode == 0

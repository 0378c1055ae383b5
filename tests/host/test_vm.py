"""The disposable host as a virtual machine, from outside: minutes, run by `make faults VM=1` alone."""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator

import pytest
from test_host import HOST, STATE, host, inside, output, traces

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a host is booted as root"),
    pytest.mark.timeout(900),
]
BOOT_ID = "/proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    """A virtual machine that is up."""
    chosen = f"test-{secrets.token_hex(4)}"
    done = host("up", chosen, "--vm", timeout=840)
    try:
        assert done.returncode == 0, done.stderr.decode()
        yield chosen
    finally:
        host("destroy", chosen)
        assert traces(chosen) == []
        assert not (STATE / chosen).exists()


def test_it_is_a_machine_of_its_own_with_every_controller_for_the_service_user(name: str) -> None:
    assert output(name, "hostname") == name
    assert output(name, "systemd-detect-virt") == "qemu"
    assert output(name, "systemctl", "--user", "is-system-running") == "running"
    controllers = output(name, "podman", "info", "--format", "{{.Host.CgroupControllers}}")
    assert {"cpu", "memory", "pids"} <= set(controllers.strip("[]").split())


def test_its_clock_is_its_own(name: str) -> None:
    before = int(output(name, "date", "+%s"))
    assert host("run", name, "--root", "--", "date", "-s", "+1 hour").returncode == 0
    assert int(output(name, "date", "+%s")) >= before + 3600
    assert host("run", name, "--root", "--", "date", "-s", "-1 hour").returncode == 0


def test_input_output_and_status_are_the_commands(name: str) -> None:
    noise = os.urandom(1_000_000)
    done = inside(name, "sh", "-c", "cat; echo to stderr >&2; exit 255", stdin=noise)
    assert (done.stdout, done.stderr, done.returncode) == (noise, b"to stderr\n", 255)


def test_a_signal_to_run_reaches_the_command(name: str) -> None:
    script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    command = [HOST, "run", "--name", name, "--", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"told\n"
    assert process.returncode == 3


def test_a_power_cut_loses_what_was_not_synced_and_nothing_else(name: str) -> None:
    before = output(name, "cat", BOOT_ID)
    assert inside(name, "sh", "-c", "echo kept > kept; sync; echo lost > lost").returncode == 0
    assert host("down", name, "--power-cut").returncode == 0
    assert output(name, "cat", "kept") == "kept"
    assert output(name, "cat", BOOT_ID) != before
    assert inside(name, "test", "-s", "lost").returncode == 1


def test_a_reboot_keeps_files_and_starts_the_user_manager_again(name: str) -> None:
    before = output(name, "cat", BOOT_ID)
    assert inside(name, "sh", "-c", "echo kept > file").returncode == 0
    assert host("reboot", name).returncode == 0
    assert output(name, "cat", BOOT_ID) != before
    assert output(name, "cat", "file") == "kept"
    assert output(name, "systemctl", "--user", "is-system-running") == "running"

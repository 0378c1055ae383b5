"""The disposable host, from outside: these boot hosts of their own, as root."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HOST = Path(__file__).with_name("host")
STATE = Path("/var/lib/ml-agent-host")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a host is booted as root")


def host(verb: str, name: str, *options: str, **keywords: object) -> subprocess.CompletedProcess[bytes]:
    """Run one verb of `host` to its end."""
    command = [HOST, verb, "--name", name, *options]
    keywords = {"timeout": 240, **keywords}
    return subprocess.run(command, capture_output=True, check=False, **keywords)  # type: ignore[call-overload,no-any-return]


def inside(name: str, *command: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command as the service user."""
    return host("run", name, "--", *command, input=stdin)


def output(name: str, *command: str) -> str:
    """What a command prints as the service user; it must succeed."""
    done = inside(name, *command)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def traces(name: str) -> list[str]:
    """What of a host is left on this machine: files, control groups, mounts, processes."""
    patterns = {STATE: "*", Path("/run/systemd/nspawn"): "*/*", Path("/sys/fs/cgroup"): "**/*"}
    found = [str(path) for folder, above in patterns.items() for path in folder.glob(f"{above}{name}*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # One that has ended has no command line, even if its parent has not looked yet.
            alive = (process / "cmdline").read_bytes()
            found += [str(process)] if alive and name in (process / "cgroup").read_text() else []
    return found


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    """A host that is up."""
    yield from disposable()


@pytest.fixture(scope="module")
def second() -> Iterator[str]:
    """Another one, that tests may shut down and boot."""
    yield from disposable()


def disposable() -> Iterator[str]:
    """Yield the name of a host that is up, and destroy it."""
    chosen = f"test-{secrets.token_hex(4)}"
    done = host("up", chosen)
    try:
        assert done.returncode == 0, done.stderr.decode()
        yield chosen
    finally:
        host("destroy", chosen)


def test_the_service_user_has_a_manager_of_its_own_and_podman_with_quadlet(name: str) -> None:
    assert output(name, "id", "--user", "--name") == "ml"
    assert output(name, "systemctl", "--user", "is-system-running") == "running"
    assert output(name, "podman", "info", "--format", "{{.Host.CgroupsVersion}}") == "v2"
    assert output(name, "/usr/libexec/podman/quadlet", "-version").startswith("5.")


def test_two_hosts_are_up_at_a_time_and_do_not_see_each_other(name: str, second: str) -> None:
    for each in (name, second):
        assert output(each, "hostname") == each
        assert output(each, "systemctl", "--user", "is-system-running") == "running"
    assert inside(name, "touch", "/home/ml/here").returncode == 0
    assert inside(second, "test", "-e", "/home/ml/here").returncode == 1


def test_hosts_that_are_made_at_the_same_time_have_ports_of_their_own() -> None:
    names = [f"test-{secrets.token_hex(4)}" for _ in range(3)]
    try:
        made = [subprocess.Popen([HOST, "build", "--name", each], stderr=subprocess.PIPE) for each in names]
        for each in made:
            _, errors = each.communicate(timeout=240)
            assert each.returncode == 0, errors.decode()
        ports = {json.loads((STATE / each / "host.json").read_text())["port"] for each in names}
        assert len(ports) == len(names)
    finally:
        for each in names:
            host("destroy", each)


@pytest.mark.parametrize("status", [0, 1, 77, 255])
def test_the_exit_status_of_the_command_is_that_of_run(name: str, status: int) -> None:
    assert inside(name, "sh", "-c", f"exit {status}").returncode == status


def test_a_command_ended_by_a_signal_gives_128_plus_its_number(name: str) -> None:
    assert inside(name, "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


def test_a_missing_command_gives_127_and_its_name(name: str) -> None:
    done = inside(name, "no-such-command")
    assert done.returncode == 127
    assert b"no-such-command" in done.stderr


def test_a_signal_to_run_reaches_the_command(name: str) -> None:
    script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [HOST, "run", "--name", name, "--", "sh", "-c", script], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.stdout.read() == b"told\n"
    assert process.returncode == 3


def test_ctrl_c_on_a_terminal_reaches_the_command_once(name: str) -> None:
    script = "trap 'echo told' INT; echo ready; read line; echo $line"
    controller, terminal = os.openpty()
    command = ["setsid", "--ctty", HOST, "run", "--name", name, "--", "bash", "-c", script]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        read_until(controller, b"ready")
        os.write(controller, b"\x03")
        read_until(controller, b"told")
        os.write(controller, b"line\n")
        rest = read_until(controller, b"line\r\n")
    os.close(controller)
    assert process.returncode == 0
    assert b"told" not in rest


def read_until(descriptor: int, expected: bytes) -> bytes:
    """Read a terminal until `expected` has been printed; what came."""
    text, deadline = b"", time.monotonic() + 20
    while expected not in text:
        assert time.monotonic() < deadline, text
        text += os.read(descriptor, 4096)
    return text


def test_arguments_arrive_exactly(name: str) -> None:
    arguments = ["two words", "", "--", "--root", "'", '"', "a\nb", "$HOME", "*", "\\", "ü", "%s;|&"]
    done = inside(name, "printf", "%s\\0", *arguments)
    assert done.stdout.decode().split("\0")[:-1] == arguments


def test_input_and_output_are_passed_byte_by_byte(name: str) -> None:
    noise = os.urandom(3_000_000)
    done = inside(name, "sh", "-c", "cat; echo to stderr >&2", stdin=noise)
    assert done.stdout == noise
    assert done.stderr == b"to stderr\n"


def test_a_host_that_is_down_boots_when_a_command_is_run_and_keeps_its_files(second: str) -> None:
    assert inside(second, "sh", "-c", "echo kept > ~/file; sync").returncode == 0
    assert host("down", second).returncode == 0
    assert output(second, "cat", "/home/ml/file") == "kept"


def test_a_reboot_keeps_files_and_journal_and_starts_the_user_manager_again(second: str) -> None:
    boot_id = "/proc/sys/kernel/random/boot_id"
    before = output(second, "cat", boot_id)
    assert inside(second, "sh", "-c", "echo kept > ~/file").returncode == 0
    assert host("reboot", second).returncode == 0
    assert output(second, "cat", boot_id) != before
    assert output(second, "cat", "/home/ml/file") == "kept"
    assert output(second, "systemctl", "--user", "is-system-running") == "running"
    listed = host("run", second, "--root", "--", "journalctl", "--list-boots", "--quiet", "--no-pager")
    assert before.replace("-", "") in listed.stdout.decode()


def test_root_gets_in_while_the_user_manager_is_stopped(second: str) -> None:
    as_root = ("--root", "--", "systemctl")
    boot_id = ("--root", "--", "cat", "/proc/sys/kernel/random/boot_id")
    before = host("run", second, *boot_id).stdout
    assert host("run", second, *as_root, "stop", "user@1000.service").returncode == 0
    assert host("run", second, *as_root, "is-active", "user@1000.service").stdout == b"inactive\n"
    assert host("run", second, *as_root, "start", "user@1000.service").returncode == 0
    assert output(second, "systemctl", "--user", "is-system-running") == "running"
    assert host("run", second, *boot_id).stdout == before


def test_the_host_outlives_the_session_that_started_it(second: str) -> None:
    assert host("down", second).returncode == 0
    started = subprocess.run(["setsid", "--wait", HOST, "up", "--name", second], check=True, timeout=240)
    assert started.returncode == 0
    done = host("run", second, "--root", "--", "ps", "--no-headers", "-o", "args", "-p", "1")
    assert b"systemd" in done.stdout


def test_destroy_leaves_nothing_behind_and_may_be_repeated() -> None:
    chosen = f"test-{secrets.token_hex(4)}"
    assert host("up", chosen).returncode == 0
    root = STATE / chosen / "root"
    lock = Path(f"/run/systemd/nspawn/locks/inode-{root.stat().st_dev}:{root.stat().st_ino}")
    assert traces(chosen)
    assert lock.exists()
    assert host("destroy", chosen).returncode == 0
    assert traces(chosen) == []
    assert not lock.exists()
    assert host("destroy", chosen).returncode == 0


def test_an_unknown_host_is_named_with_the_remedy() -> None:
    done = host("reboot", "no-such-host")
    assert done.returncode == 1
    assert b"no host no-such-host" in done.stderr
    assert b"host up --name no-such-host" in done.stderr


def test_a_container_has_no_power_to_cut_and_is_no_virtual_machine(name: str) -> None:
    cut, vm = host("down", name, "--power-cut"), host("up", name, "--vm")
    assert (cut.returncode, vm.returncode) == (1, 1)
    assert b"--vm" in cut.stderr
    assert b"--name" in vm.stderr
    assert output(name, "hostname") == name


@pytest.mark.parametrize("bad", ["../x", "a b", "", "UPPER", "-x"])
def test_a_name_that_is_no_host_name_is_refused(bad: str) -> None:
    done = subprocess.run([HOST, "down", f"--name={bad}"], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"--name" in done.stderr


def test_a_port_of_another_host_is_refused(name: str, second: str) -> None:
    done = host("up", second, "--port", port_of(name))
    assert done.returncode == 1
    assert name.encode() in done.stderr


def port_of(name: str) -> str:
    """The port remembered for a host."""
    return str(json.loads((STATE / name / "host.json").read_text())["port"])

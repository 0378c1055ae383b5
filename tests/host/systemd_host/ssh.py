"""Run a command inside a virtual machine, through its sshd and the port that QEMU forwards to it.

ssh(1) passes input, output and a terminal, but neither arguments as they are, nor signals, nor the number of
the signal that ended the command: a few words of shell on the other side see to that.
"""

import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from . import disk, enter
from .errors import HostError
from .instance import Host
from .rootfs import USER

CONNECT_TIMEOUT = 20
ALIVE_INTERVAL, ALIVE_COUNT = 15, 8  # a machine that does not answer for two minutes is gone
CAPTURE_TIMEOUT = 60.0
FORWARD_TIMEOUT = 30.0

CONNECTION_FAILED = 255  # ssh's own exit status; a command may have the same


def run(host: Host, command: Sequence[str], *, root: bool, cwd: str | None = None) -> int:
    """Run `command` in `host` and return its exit status, 128 + N if signal N ended it.

    Signals sent to us are passed on. Raises HostError if the machine does not answer.
    """
    terminal = sys.stdin.isatty()
    pid_file = f"/tmp/host-run-{secrets.token_hex(8)}"
    words = [*connection(host, root=root), "-tt" if terminal else "-T", script(command, root, cwd, pid_file)]

    def start() -> int:
        # Without a terminal, a group of its own: what is sent to ours must not end the connection.
        process = subprocess.Popen(
            words,
            process_group=None if terminal else 0,
            preexec_fn=partial(signal.pthread_sigmask, signal.SIG_SETMASK, ()),
        )
        # attend() waits for the process by its number.
        process.returncode = 0
        return process.pid

    def forward(_: int, number: int) -> None:
        send = f'kill -s {signal.Signals(number).name[3:]} -- "$(cat {pid_file})"'
        subprocess.run(
            [*connection(host, root=root), "-n", send],
            capture_output=True,
            timeout=FORWARD_TIMEOUT,
            check=False,
        )

    status = enter.attend(start, forward)
    if status == CONNECTION_FAILED and not answers(host, root=root):
        raise HostError(f"host {host.name} does not answer", f"host up --name {host.name}")
    return status


def capture(host: Host, command: Sequence[str], *, root: bool) -> str:
    """Run `command` without input and return what it printed; its exit status and errors are not looked at.

    Returns nothing if the machine does not answer in time.
    """
    words = [*connection(host, root=root), "-n", script(command, root, None, None)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=CAPTURE_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def answers(host: Host, *, root: bool) -> bool:
    """Whether a command can be run, as the service user with its bus."""
    test = ["true"] if root else ["sh", "-c", 'test -S "$XDG_RUNTIME_DIR/bus"']
    return capture(host, ["sh", "-c", f"{shlex.join(test)} && echo yes"], root=root) == "yes\n"


def feed(host: Host, script: str, producer: Sequence[str]) -> None:
    """Run a shell script as root in `host` with the output of this machine's `producer` as its input.

    Raises HostError if either fails.
    """
    with subprocess.Popen(producer, stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            [*connection(host, root=True), script],
            stdin=source.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if source.returncode or done.returncode:
        raise HostError(f"cannot copy files into host {host.name}", done.stdout.strip())


def connection(host: Host, *, root: bool) -> list[str]:
    """The ssh command line up to the command."""
    return [
        "ssh", "-q", "-F", "none", "-p", str(host.ssh_port), "-i", str(disk.key(host)),
        # The port is forwarded by a QEMU of ours, on loopback: there is nobody else at its end.
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes",
        "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT}",
        "-o", f"ServerAliveInterval={ALIVE_INTERVAL}", "-o", f"ServerAliveCountMax={ALIVE_COUNT}",
        f"{'root' if root else USER}@127.0.0.1",
    ]  # fmt: skip


def script(command: Sequence[str], root: bool, cwd: str | None, pid_file: str | None) -> str:
    """What the login shell executes: `command` with a login's environment, and nothing of sshd's."""
    environment = [f"{name}={value}" for name, value in enter.login_environment(root=root).items()]
    words = shlex.join(["env", "--ignore-environment", *environment, *command])
    remember = f"echo $BASHPID > {pid_file}; " if pid_file else ""
    forget = f"rm -f {pid_file}; " if pid_file else ""
    change = ""
    if cwd:
        refusal = shlex.quote(f"host: --cwd {cwd}: no such directory")
        change = f"cd -- {shlex.quote(cwd)} 2>&- || {{ echo {refusal} >&2; exit {enter.CANNOT_ENTER}; }}; "
    # The command replaces the inner shell. The outer one makes a status of a signal, where ssh has only 255,
    # and would say so on standard error.
    inner = f"({remember}{change}exec {words})"
    return f"{{ {inner} 2>&3 3>&-; }} 3>&2 2>/dev/null; status=$?; {forget}exit $status"

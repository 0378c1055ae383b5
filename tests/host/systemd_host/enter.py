"""Run a command inside a booted host: its namespaces, its control groups, a login's environment.

The command becomes our child and stays in our session, so input, output, terminal and signals are the
caller's own. That is what `nsenter` does, except that the command's process is known here: signals can be
forwarded to it and its exit status is exact.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from . import machine
from .cgroups import ControlGroups
from .errors import HostError
from .instance import Host
from .rootfs import UID, USER

# From <linux/sched.h>; Python has os.setns() and these only since 3.12.
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# What logind would put a login of the user, or of root, into.
USER_GROUP = f"user.slice/user-{UID}.slice/host-run.scope"
ROOT_GROUP = "system.slice/host-run.scope"

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
INHERITED = ("TERM", "COLORTERM", "NO_COLOR", "COLUMNS", "LINES", "TZ")

CANNOT_ENTER = 125  # as podman-run(1): the host, not the command, failed


def run(host: Host, command: Sequence[str], *, root: bool, cwd: str | None = None) -> int:
    """Run `command` in `host` and return its exit status, 128 + N if signal N ended it.

    Signals sent to us are passed on. Raises HostError if the host is not running.
    """
    return attend(lambda: spawn(host, command, root=root, cwd=cwd), os.kill)


def attend(start: Callable[[], int], forward: Callable[[int, int], None]) -> int:
    """Return the exit status of the child that `start` makes, 128 + N if signal N ended it.

    `forward` is given the child's id and every signal that a process sends us.
    """
    waited = {signal.SIGCHLD, *FORWARDED}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        pid = start()
        while True:
            info = signal.sigwaitinfo(waited)
            if info.si_signo == signal.SIGCHLD:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
            elif info.si_code <= 0:
                # Sent by a process. Those of the terminal (positive code) have reached the command already.
                forward(pid, info.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited)


def capture(host: Host, command: Sequence[str], *, root: bool) -> str:
    """Run `command` without input and return what it printed; its exit status and errors are not looked at.

    Returns nothing if the host is not running.
    """
    read_end, write_end = os.pipe()
    with open(read_end) as output, open(os.devnull, "r+b") as null:
        try:
            pid = spawn(host, command, root=root, stdio=(null.fileno(), write_end, null.fileno()))
        except HostError:
            return ""
        finally:
            os.close(write_end)
        text = output.read()
        os.waitpid(pid, 0)
        return text


def spawn(
    host: Host,
    command: Sequence[str],
    *,
    root: bool,
    cwd: str | None = None,
    stdio: tuple[int, int, int] = (0, 1, 2),
) -> int:
    """Start `command` in `host` and return its process id. Raises HostError if the host is not running."""
    groups = ControlGroups(host.name)
    leader = groups.leader()
    if leader is None:
        raise HostError(f"host {host.name} is not running", f"host up --name {host.name}")
    try:
        namespaces = os.pidfd_open(leader)
    except ProcessLookupError as error:
        raise HostError(f"host {host.name} is shutting down", f"host up --name {host.name}") from error
    environment = login_environment(root=root)

    def become_the_command() -> None:
        groups.enter(ROOT_GROUP if root else USER_GROUP)
        setns(namespaces, CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
        os.umask(0o022)
        os.chdir(environment["HOME"])
        if cwd:
            change_directory(cwd)
        for target, source in enumerate(stdio):
            os.dup2(source, target)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        # setpriv(1) reads the host's own users and then executes the command in its own place.
        identity = [] if root else ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]
        arguments = [*identity, *command]
        os.execvpe(arguments[0], arguments, environment)

    try:
        return fork_into(namespaces, become_the_command)
    finally:
        os.close(namespaces)


def fork_into(namespaces: int, task: Callable[[], None]) -> int:
    """Fork a child that is in the PID namespace of `namespaces` (a pidfd) and runs `task`; return its id.

    `task` replaces the process. If it fails, it says why and exits with 125, 126 or 127, as podman does.
    """
    # setns(2) changes the PID namespace of the children to come, never of the caller, and can be undone.
    own = os.pidfd_open(os.getpid())
    try:
        setns(namespaces, CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            replace_process(task)
        setns(own, CLONE_NEWPID)
        return pid
    finally:
        os.close(own)


def replace_process(task: Callable[[], None]) -> NoReturn:
    """Run `task` with the signal handling of a fresh process."""
    status, reason = CANNOT_ENTER, "the command was not executed"
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        task()
    except HostError as error:
        reason = str(error)
    except OSError as error:
        status = {FileNotFoundError: 127, PermissionError: 126}.get(type(error), CANNOT_ENTER)
        reason = f"{os.fsdecode(error.filename or '')}: {error.strerror}".lstrip(": ")
    finally:
        print(f"host: {reason}", file=sys.stderr, flush=True)
        os._exit(status)


def change_directory(path: str) -> None:
    """chdir(2). Raises HostError naming the option."""
    try:
        os.chdir(path)
    except OSError as error:
        raise HostError(f"--cwd {path}: {error.strerror}") from error


def setns(descriptor: int, kinds: int) -> None:
    """setns(2): join the namespaces of `kinds` of the process of a pidfd. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, kinds) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def login_environment(*, root: bool) -> dict[str, str]:
    """The variables that a login of the service user or of root has, and the machine's for networks."""
    home, user, runtime = ("/root", "root", "/run") if root else (f"/home/{USER}", USER, f"/run/user/{UID}")
    path = ["/usr/local/sbin", "/usr/sbin", "/sbin"] if root else [f"{home}/.local/bin"]
    variables = {name: os.environ[name] for name in INHERITED if name in os.environ}
    variables |= machine.environment()
    variables |= {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": "/bin/bash", "LANG": "C.UTF-8"}
    variables["PATH"] = ":".join([*path, "/usr/local/bin", "/usr/bin", "/bin"])
    if not root:
        variables["XDG_RUNTIME_DIR"] = runtime
        variables["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return variables

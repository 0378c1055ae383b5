"""The cage of units/ml-agent.service, line by line, and attempts to do what each line forbids.

A probe is a small program that ends with status 0 where it could do it. `succeeded` runs them in a transient
service of the account's manager, with whichever lines.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.config import shipped

MARK = "# Sandbox."  # the lines of the unit behind this comment are the sandbox
FLEET_STATE = Path.home() / ".local/state/ml-fleet-cage-probe"  # of a front that a test made up
PATIENCE = 120.0  # seconds for a service that runs for a moment
PLANTED = Path("/tmp/ml-agent-cage-probe")  # a file of the test's own; holds the name of its UTS namespace
KEY = b"ml-agent-cage-probe"  # in the session keyring of the manager

# File system and capability settings of a user manager need a user namespace, which is the first line of the
# cage: a probe that is to be shown without its own line has this all the same.
NAMESPACE = ("PrivateUsers=true",)

X86 = platform.machine() == "x86_64"
ADD_KEY, KEYCTL, CLOCK_SETTIME = (248, 250, 227) if X86 else (217, 219, 112)  # unistd.h

STORAGE = Path.home() / ".local/share/containers/storage"
INACCESSIBLE = (
    "InaccessiblePaths=-%h/.local/share/containers/storage/secrets"
    " -%h/.local/share/containers/storage/overlay-containers"
)

LIBC = "import ctypes, errno, os, sys\nlibc = ctypes.CDLL(None, use_errno=True)\n"
# The kernel itself refuses a senseless argument, with another error than the filter before it does.
FILTERED = "ctypes.get_errno() == errno.EPERM"


FIND_KEY = f"{LIBC}key = libc.syscall({KEYCTL}, 10, ctypes.c_int(-3), b'user', {KEY!r}, ctypes.c_int(0))\n"
STATUS = """
import sys
def status(process, name):
    lines = open(f'/proc/{process}/status').read().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(name + ':'))
"""


@dataclass(frozen=True)
class Probe:
    """What the lines `by` forbid; `beside` is there in any case."""

    what: str
    by: tuple[str, ...]
    program: str
    beside: tuple[str, ...] = NAMESPACE


PROBES: tuple[Probe, ...] = (
    Probe(
        "see which files are root's",
        NAMESPACE,
        "import os, sys\nsys.exit(os.stat('/usr').st_uid != 0)",
        beside=(),
    ),
    Probe(
        "have capabilities within reach",
        ("CapabilityBoundingSet=",),
        "import sys\nsys.exit('CapBnd:\\t0000000000000000' in open('/proc/self/status').read())",
    ),
    Probe(
        "gain ids from a set-user-id program",
        ("NoNewPrivileges=true",),
        "import os\nos.execlp('unshare', 'unshare', '--user', '--map-auto', '--map-root-user', 'true')",
        beside=(),
    ),
    Probe(
        "write to the host's system, as far as it is its own",
        ("ProtectSystem=strict",),
        "import os, sys\nsys.exit(bool(os.statvfs('/etc').f_flag & os.ST_RDONLY))",
    ),
    Probe(
        "write in /run",
        ("ReadOnlyPaths=/run",),
        "import tempfile\ntempfile.TemporaryFile(dir='/run/lock')",
    ),
    Probe(
        "write in the home directory",
        ("ProtectHome=read-only",),
        "import pathlib, tempfile\ntempfile.TemporaryFile(dir=pathlib.Path.home())",
    ),
    Probe(
        "read the values of podman secrets",
        (INACCESSIBLE,),
        f"open('{STORAGE}/secrets/filedriver/secretsdata.json').read()",
    ),
    Probe(
        "read the copies that containers have of them",
        (INACCESSIBLE,),
        f"import os\nos.listdir('{STORAGE}/overlay-containers')",
    ),
    Probe(
        "leave its memory in a core dump",
        ("LimitCORE=0",),
        "import resource, sys\nsys.exit(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0)",
        beside=(),
    ),
    Probe("read others' files in /tmp", ("PrivateTmp=true",), f"open('{PLANTED}').read()"),
    Probe("open a device", ("PrivateDevices=true",), "open('/dev/fuse', 'rb')"),
    Probe(
        "make files that others can read",
        ("UMask=0077",),
        "import os, sys, tempfile\npath = tempfile.mkdtemp() + '/file'\nopen(path, 'w').close()\n"
        "sys.exit(not os.stat(path).st_mode & 0o044)",
    ),
    Probe(
        "see a network besides its own loopback",
        ("PrivateNetwork=true",),
        "import sys\nsys.exit(len(open('/proc/net/dev').readlines()) <= 3)",
    ),
    Probe(
        "open a socket of the network",
        ("RestrictAddressFamilies=AF_UNIX",),
        "import socket\nsocket.socket(socket.AF_INET)",
    ),
    Probe(
        "see others' semaphores",
        ("PrivateIPC=true",),
        "import sys\nsys.exit(len(open('/proc/sysvipc/sem').readlines()) <= 1)",
    ),
    Probe(
        "share the host's name",
        ("ProtectHostname=true",),
        "import os, sys\nsys.exit(os.readlink('/proc/self/ns/uts') != {uts!r})",
    ),
    Probe(
        "call the kernel to set the clock",
        ("ProtectClock=true",),
        f"{LIBC}libc.syscall({CLOCK_SETTIME}, 0, (ctypes.c_long * 2)(-1, 0))\nsys.exit({FILTERED})",
    ),
    Probe(
        # It refuses an account in any case: what can be seen is a filter more than the manager has.
        "call the kernel to load a module, unfiltered",
        ("ProtectKernelModules=true",),
        f"{STATUS}manager = status(status('self', 'PPid'), 'PPid')\n"
        "sys.exit(status('self', 'Seccomp_filters') != status(manager, 'Seccomp_filters'))",
    ),
    Probe(
        "write the kernel's settings, as far as they are its own",
        ("ProtectKernelTunables=true",),
        "import os, sys\nsys.exit(bool(os.statvfs('/proc/sys').f_flag & os.ST_RDONLY))",
    ),
    Probe(
        "make control groups",
        ("ProtectControlGroups=true",),
        "import os\nown = '/sys/fs/cgroup' + open('/proc/self/cgroup').read().strip().partition('::')[2]\n"
        "os.mkdir(own + '/probe')\nos.rmdir(own + '/probe')",
    ),
    Probe(
        "change its personality",
        ("LockPersonality=true",),
        f"{LIBC}sys.exit(libc.personality(0x0040000) == -1)",
    ),
    Probe(
        "map memory to write and to execute",
        ("MemoryDenyWriteExecute=true",),
        "import mmap\nmmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    ),
    Probe(
        "make a user namespace",
        ("RestrictNamespaces=true",),
        f"{LIBC}sys.exit(libc.unshare(0x10000000) != 0)",
    ),
    Probe(
        "call the kernel for real-time scheduling",
        ("RestrictRealtime=true",),
        f"{LIBC}libc.sched_setscheduler(0, 1, ctypes.byref(ctypes.c_int(1000)))\nsys.exit({FILTERED})",
    ),
    Probe(
        "set a file's set-user-id bit",
        ("RestrictSUIDSGID=true",),
        "import os, tempfile\nos.chmod(tempfile.mkdtemp(), 0o4755)",
    ),
    Probe(
        "find a key of the manager's session",
        ("KeyringMode=private",),
        f"{FIND_KEY}sys.exit(key < 0)",
    ),
    Probe(
        "trace a process",
        ("SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM"),
        f"{LIBC}sys.exit(libc.ptrace(0, 0, 0, 0) != 0)",
    ),
    Probe(
        "choose its processors",
        ("SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"),
        "import os\nos.sched_setaffinity(0, {0})",
    ),
)
if X86:
    PROBES += (
        Probe(
            "make calls of another architecture",
            ("SystemCallArchitectures=native",),
            "import ctypes, mmap, sys\n"
            "page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
            # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
            "page.write(bytes.fromhex('53b814000000cd805bc3'))\n"
            "where = ctypes.addressof(ctypes.c_char.from_buffer(page))\n"
            "sys.exit(ctypes.CFUNCTYPE(ctypes.c_int)(where)() <= 0)",
        ),
    )

# What no probe shows, and why.
NOT_SHOWN = {
    "AmbientCapabilities=": "an account has none to hand on",
    "ReadWritePaths=@STATE@ %t": "it gives: shown by what the agent must be able to do",
    "SystemCallFilter=setpriority": "it gives: shown by what the agent may lower, and not raise",
    "SystemCallArchitectures=native": "shown on x86-64 alone, which has calls of another architecture",
}

PLANT_KEY = (
    f"{LIBC}size = ctypes.c_size_t(1)\n"
    f"sys.exit(libc.syscall({ADD_KEY}, b'user', {KEY!r}, b'x', size, ctypes.c_int(-3)) < 0)"
)
REMOVE_KEY = f"{FIND_KEY}sys.exit(libc.syscall({KEYCTL}, 9, ctypes.c_int(key), ctypes.c_int(-3)) < 0)"

# Each program in a child of its own: one that is killed for what it tries is refused too.
RUN_ALL = """
import json, os, sys
found = []
for program in json.load(sys.stdin):
    child = os.fork()
    if child == 0:
        try:
            exec(compile(program, 'probe', 'exec'), {})
        except SystemExit as end:
            os._exit(int(end.code or 0) and 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    found.append(os.waitpid(child, 0)[1] == 0)
print(json.dumps(found))
"""


def lines(unit: str = "ml-agent.service") -> list[str]:
    """The cage as a shipped unit has it."""
    text = (shipped("units") / unit).read_text("utf-8")
    cage = text.partition(MARK)[2].partition("[Install]")[0].splitlines()
    return [line for line in cage if "=" in line and not line.startswith("#")]


def succeeded(programs: Iterable[str], properties: Sequence[str]) -> list[bool]:
    """Which of the programs did what they tried, in one service with these properties."""
    uts = os.readlink("/proc/self/ns/uts")
    done = subprocess.run(
        [
            *("systemd-run", "--user", "--pipe", "--wait", "--collect", "--quiet"),
            *(f"--property={_expanded(each)}" for each in properties),
            *("/usr/bin/python3", "-I", "-c", RUN_ALL),
        ],
        input=json.dumps([program.replace("{uts!r}", repr(uts)) for program in programs]),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"a service with {properties} ended with {done.returncode}: {done.stderr}")
    found: list[bool] = json.loads(done.stdout)
    return found


def _expanded(line: str) -> str:
    """A line as the installed unit's: a transient unit knows no specifiers."""
    values = {
        "@STATE@": str(Path.home() / ".local/state/ml-agent"),
        "@FLEET_STATE@": str(FLEET_STATE),
        "%h": str(Path.home()),
        "%t": os.environ["XDG_RUNTIME_DIR"],
    }
    for name, value in values.items():
        line = line.replace(name, value)
    return line

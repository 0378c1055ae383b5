# /// ml-job
# description = "Tries what a job must not be able to do, and says what came of it"
# [[parameters]]
# name = "targets"
# required = true
# ///
"""Runs as a job. Each attempt either raises what stopped it or returns what it got; one JSON line for each.

`HP_TARGETS` has what an attacker may know: paths of the host, ports, names of sockets, other jobs.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path

TARGETS = json.loads(os.environ["HP_TARGETS"])
LIBC = ctypes.CDLL(None, use_errno=True)
X86_64 = platform.machine() == "x86_64"
# Numbers of system calls: of x86_64, and the generic table that aarch64 and riscv64 have.
CALLS = {
    "ptrace": (101, 117), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142),
    "swapon": (167, 224), "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "adjtimex": (159, 171), "sethostname": (170, 161), "userfaultfd": (323, 282), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438), "kcmp": (312, 272), "fsopen": (430, 430), "move_mount": (429, 429),
    "open_tree": (428, 428), "mount_setattr": (442, 442), "acct": (163, 89), "quotactl": (179, 60),
    "fanotify_init": (300, 262), "clone3": (435, 435), "vhangup": (153, 58), "move_pages": (279, 239),
}  # fmt: skip
ATTEMPTS = []


def attempt(what, *arguments):
    def register(function):
        ATTEMPTS.append((what, function, arguments))
        return function

    return register


def each(what, values):
    def register(function):
        for value in values:
            ATTEMPTS.append((what.format(value), function, (value,)))
        return function

    return register


def call(name, *arguments):
    """A raw system call. Raises OSError."""
    ctypes.set_errno(0)
    result = LIBC.syscall(ctypes.c_long(CALLS[name][0 if X86_64 else 1]), *map(ctypes.c_long, arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return f"{name} returned {result}"


def text(value):
    buffer = ctypes.create_string_buffer(value.encode())
    KEPT.append(buffer)
    return ctypes.addressof(buffer)


KEPT = []
ZEROES = ctypes.create_string_buffer(4096)
ZERO = ctypes.addressof(ZEROES)


# --- system calls -------------------------------------------------------------------------------------

FLAGS = {
    "CLONE_NEWUSER": 0x10000000, "CLONE_NEWNS": 0x00020000, "CLONE_NEWNET": 0x40000000, "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWIPC": 0x08000000, "CLONE_NEWUTS": 0x04000000, "CLONE_NEWCGROUP": 0x02000000,
}  # fmt: skip


@each("unshare({})", FLAGS)
def unshare(flag):
    return call("unshare", FLAGS[flag])


@each("clone({})", FLAGS)
def clone(flag):
    number = 56 if X86_64 else 220
    ctypes.set_errno(0)
    pid = LIBC.syscall(
        ctypes.c_long(number), ctypes.c_long(FLAGS[flag] | signal.SIGCHLD), *[ctypes.c_long(0)] * 4
    )
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(pid, 0)
    return f"a process in a namespace of its own, {pid}"


@attempt("clone3(CLONE_NEWUSER)")
def clone3():
    arguments = (ctypes.c_uint64 * 11)(FLAGS["CLONE_NEWUSER"], 0, 0, 0, signal.SIGCHLD)
    KEPT.append(arguments)
    ctypes.set_errno(0)
    pid = LIBC.syscall(
        ctypes.c_long(CALLS["clone3"][0]), ctypes.c_long(ctypes.addressof(arguments)), ctypes.c_long(88)
    )
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(pid, 0)
    return f"a user namespace of its own, {pid}"


@attempt("setns to process 1's namespaces")
def setns():
    with open("/proc/1/ns/mnt", "rb") as namespace:
        return call("setns", namespace.fileno(), 0)


@attempt("mount a tmpfs")
def mount_tmpfs():
    return call("mount", text("tmpfs"), text("/tmp"), text("tmpfs"), 0, 0)


@attempt("mount a fresh proc")
def mount_proc():
    return call("mount", text("proc"), text("/tmp"), text("proc"), 0, 0)


@each("make {} writable by a remount", ["/", "/scripts", "/sys", "/proc/sys"])
def remount(place):
    return call("mount", text("none"), text(place), 0, 0x20 | 0x1000, 0)


@attempt("bind a directory over another")
def bind():
    return call("mount", text("/artifacts"), text("/tmp"), 0, 4096, 0)


@each("unmount {}", ["/proc/kcore", "/proc/sys", "/sys/firmware", "/run/ml-job"])
def unmount(place):
    return call("umount2", text(place), 2)


@attempt("pivot_root")
def pivot():
    return call("pivot_root", text("/tmp"), text("/tmp"))


@attempt("chroot")
def chroot():
    return call("chroot", text("/tmp"))


@attempt("ptrace of the init")
def ptrace_init():
    return call("ptrace", 16, 1, 0, 0)


@attempt("ptrace of a child of its own")
def ptrace_child():
    child = subprocess.Popen(["sleep", "60"])
    try:
        return call("ptrace", 16, child.pid, 0, 0)
    finally:
        child.kill()
        child.wait()


SIMPLE = {
    "bpf": (0, ZERO, 72), "keyctl": (0, -3, 0), "add_key": (text("user"), text("x"), text("y"), 1, -3),
    "request_key": (text("user"), text("x"), 0, -3), "perf_event_open": (ZERO, 0, -1, -1, 0),
    "io_uring_setup": (1, ZERO), "init_module": (ZERO, 0, ZERO), "finit_module": (0, ZERO, 0),
    "delete_module": (text("tun"), 0), "kexec_load": (0, 0, 0, 0), "reboot": (0xFEE1DEAD, 672274793, 0, 0),
    "swapon": (text("/artifacts/swap"), 0), "syslog": (3, ZERO, 4096), "settimeofday": (ZERO, 0),
    "clock_settime": (0, ZERO), "sethostname": (text("x"), 1), "userfaultfd": (0,),
    "open_by_handle_at": (3, ZERO, 0), "name_to_handle_at": (-100, text("/"), ZERO, ZERO, 0),
    "process_vm_readv": (1, ZERO, 1, ZERO, 1, 0), "process_vm_writev": (1, ZERO, 1, ZERO, 1, 0),
    "pidfd_getfd": (0, 0, 0), "kcmp": (1, os.getpid(), 0, 0, 0), "fsopen": (text("tmpfs"), 0),
    "open_tree": (-100, text("/"), 1), "move_mount": (-100, text("/"), -100, text("/tmp"), 0),
    "mount_setattr": (-100, text("/"), 0, ZERO, 32), "acct": (text("/artifacts/x"),),
    "quotactl": (0, 0, 0, 0), "fanotify_init": (0, 0), "vhangup": (), "adjtimex": (ZERO,),
}  # fmt: skip


@each("{}", SIMPLE)
def simple(name):
    return call(name, *SIMPLE[name])


@attempt("32-bit system calls (int 0x80)")
def compatibility():
    """Runs machine code that asks for its process id as an i386 program would; the filter knows no such calls."""
    if not X86_64:
        raise OSError(errno.ENOSYS, "this machine has none")
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        import mmap

        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0 else 1)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise OSError(errno.EPERM, f"the process ended with status {status}")
    return "a system call past the filter's architecture"


SOCKETS = {
    "AF_PACKET": (17, socket.SOCK_RAW), "AF_INET raw": (2, socket.SOCK_RAW), "AF_VSOCK": (40, socket.SOCK_STREAM),
    "AF_ALG": (38, 5), "AF_NETLINK audit": (16, socket.SOCK_RAW), "AF_BLUETOOTH": (31, 3), "AF_XDP": (44, 3),
    "AF_CAN": (29, 3), "AF_TIPC": (30, 1), "AF_KEY": (15, 3), "AF_RDS": (21, 5), "AF_NFC": (39, 3),
}  # fmt: skip


@each("a socket of {}", SOCKETS)
def sockets(name):
    family, kind = SOCKETS[name]
    protocol = {"AF_NETLINK audit": 9, "AF_INET raw": 1, "AF_BLUETOOTH": 1, "AF_CAN": 1, "AF_KEY": 2}.get(
        name, 0
    )
    socket.socket(family, kind, protocol).close()
    return "it was made"


# --- who the job is -----------------------------------------------------------------------------------


def status():
    return dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )


@each("hold a capability ({})", ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
def capabilities(which):
    if int(status()[which], 16):
        return f"{which} is {status()[which]}"
    raise OSError(errno.EPERM, f"{which} is empty")


@attempt("run without a filter of system calls")
def seccomp():
    if status()["Seccomp"] != "2":
        return f"Seccomp is {status()['Seccomp']}"
    raise OSError(errno.EPERM, "Seccomp is 2, a filter")


@attempt("gain privileges by execve")
def no_new_privileges():
    if status()["NoNewPrivs"] != "1":
        return f"NoNewPrivs is {status()['NoNewPrivs']}"
    raise OSError(errno.EPERM, "NoNewPrivs is 1")


@attempt("become root by setuid")
def setuid():
    os.setuid(0)
    return "uid 0"


@attempt("become another user of the mapping by setresuid")
def setresuid():
    os.setresuid(999, 999, 999)
    return "uid 999"


@attempt("become root by a set-user-id program")
def set_user_id():
    programs = [
        str(path)
        for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
        for path in Path(directory).glob("*")
        if path.is_file() and path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    ]
    for program in programs:
        ran = subprocess.run([program, "--help"], capture_output=True, check=False)
        if ran.returncode == 0 and os.geteuid() == 0:
            return f"{program} made it root"
    copy = Path("/tmp/set-user-id")
    copy.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
    copy.chmod(0o4755)
    ran = subprocess.run(
        [copy, "-c", "import os; print(os.geteuid())"], capture_output=True, text=True, check=False
    )
    copy.unlink()
    if ran.stdout.strip() == "0":
        return "a copy of its own made it root"
    raise OSError(errno.EPERM, f"{len(programs)} programs in the image, none made it root")


@attempt("belong to one of the host's groups")
def groups():
    if extra := [group for group in os.getgroups() if group not in (1000, 65534)]:
        return f"groups {extra}"
    raise OSError(errno.EPERM, "its only group is its own")


@attempt("raise a limit above what it was given")
def raise_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard == resource.RLIM_INFINITY:
        return "files may be of any size"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard + 1, hard + 1))
    except ValueError as error:  # what Python makes of EPERM
        raise OSError(errno.EPERM, str(error)) from error
    return "the limit on files is above its own"


@attempt("leave a core dump")
def core_dump():
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        return "RLIMIT_CORE is not 0"
    raise OSError(errno.EPERM, "RLIMIT_CORE is 0")


@attempt("be favoured by the out-of-memory killer")
def oom_score():
    Path("/proc/self/oom_score_adj").write_text("-1000")
    return "it would be killed last"


@attempt("get a real-time schedule")
def real_time():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    return "SCHED_FIFO"


@attempt("raise its priority")
def priority():
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "nice -10"


# --- files of the host --------------------------------------------------------------------------------


def read(path):
    with open(path, "rb") as file:
        data = file.read(64)
    return f"read {len(data)} bytes of {path}" if data else None


@each("read {}", TARGETS["files"])
def host_files(path):
    return read(path)


@each("read {} through /proc/1/root", TARGETS["files"])
def through_init(path):
    return read(f"/proc/1/root{path}")


@each("read {} by climbing out of /artifacts", TARGETS["files"])
def climb(path):
    directory = os.open("/artifacts", os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = os.open("../" * 40 + path.lstrip("/"), os.O_RDONLY, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            return f"read {len(file.read(64))} bytes"
    finally:
        os.close(directory)


@each("read {} by a link in /artifacts", TARGETS["files"])
def by_link(path):
    link = f"/artifacts/link-{abs(hash(path))}"
    os.symlink(path, link)
    return read(link)


@each(
    "hard-link {} into /artifacts",
    ["/run/ml-job/job.json", "/scripts/escape.py", "/etc/passwd", "/proc/self/environ"],
)
def hard_link(path):
    os.link(path, "/artifacts/hard-link")
    return "linked"


@each("write to {}", [
    "/scripts/planted.py", "/scripts/escape.py", "/run/ml-job/job.json", "/run/ml-job/started", "/run/ml-job/planted",
    "/run/planted", "/run/secrets/planted", "/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/usr/bin/planted", "/planted",
    "/opt/ml/launch.py", "/opt/ml/bin/planted", "/var/planted", "/dev/planted", "/home/planted", "/root/planted",
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
    "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger", "/proc/irq/0/smp_affinity", "/proc/bus/planted",
    "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup/planted", "/sys/module/planted",
    "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cgroup.subtree_control",
    "/proc/self/uid_map", "/proc/self/setgroups", "/dev/kmsg", "/dev/mem",
])  # fmt: skip
def write_to(path):
    with open(path, "r+b" if os.path.exists(path) else "xb", buffering=0) as file:
        file.write(b"1")
    return f"wrote to {path}"


@each(
    "remove or rename {}", ["/run/ml-job/job.json", "/run/ml-job/started", "/scripts/escape.py", "/artifacts"]
)
def remove(path):
    os.rename(path, path + ".gone")
    return "renamed"


@each("make a cgroup below {}", ["/sys/fs/cgroup", "/sys/fs/cgroup/.."])
def make_cgroup(path):
    os.mkdir(f"{path}/escape")
    return "made"


@attempt("see other cgroups")
def other_cgroups():
    line = Path("/proc/self/cgroup").read_text().strip()
    if line.partition("::")[2] != "/":
        return f"its cgroup is seen from outside: {line}"
    found = [path.name for path in Path("/sys/fs/cgroup").glob("*.slice")]
    if found:
        return f"sees {found}"
    raise OSError(errno.ENOENT, "its cgroup is the root of its namespace")


@each("read {}", ["/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/scsi/scsi", "/dev/mem", "/dev/kmsg", "/sys/firmware/dmi/tables/DMI"])  # fmt: skip
def read_masked(path):
    return read(path)


@attempt("see a secret that it did not declare")
def secrets():
    if found := os.listdir("/run/secrets"):
        return f"sees {found}"
    raise OSError(errno.ENOENT, "none is mounted")


@attempt("find a device that is not harmless")
def devices():
    harmless = set(
        "null zero full random urandom tty console ptmx pts shm mqueue fd stdin stdout stderr core".split()
    )
    if found := [path.name for path in Path("/dev").iterdir() if path.name not in harmless]:
        return f"/dev has {found}"
    raise OSError(errno.ENOENT, "/dev has the harmless ones alone")


@each("make a {} device", ["block", "character"])
def make_device(kind):
    mode = stat.S_IFBLK if kind == "block" else stat.S_IFCHR
    for directory in ("/artifacts", "/tmp"):
        with contextlib.suppress(PermissionError):
            os.mknod(
                f"{directory}/device", mode | 0o666, os.makedev(8, 0) if kind == "block" else os.makedev(1, 1)
            )
            with open(f"{directory}/device", "rb") as file:
                return f"read {len(file.read(16))} bytes of it"
    raise OSError(errno.EPERM, "mknod")


@attempt("find a mount that leads to the host's files")
def mounts():
    expected = ("/", "/proc", "/sys", "/dev", "/tmp", "/scripts", "/artifacts", "/run/ml-job", "/run/ml-egress", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/run/podman-init", "/run/secrets", "/run/catatonit", "/catatonit")  # fmt: skip
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        place, options = fields[4], fields[5].split(",")
        known = place in expected or place.startswith(("/proc/", "/sys/", "/dev/", "/run/secrets/"))
        writable = "rw" in options and place not in (
            "/artifacts",
            "/tmp",
            "/proc",
            "/dev",
            "/dev/shm",
            "/dev/pts",
            "/dev/mqueue",
        )
        device = place in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/latency_stats")  # fmt: skip
        if not known or (writable and not device):
            found.append(f"{place} ({fields[5]})")
    if found:
        return f"sees {found}"
    raise OSError(errno.ENOENT, "what is mounted is its own")


@attempt("inherit a file descriptor of the host's")
def descriptors():
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            where, mode = os.readlink(f"/proc/self/fd/{number}"), os.fstat(number).st_mode
            own = where.startswith(("pipe:", "/proc/", "anon_inode:")) or where in (
                "/dev/null",
                "/dev/urandom",
            )
            stream = number in (1, 2) and stat.S_ISSOCK(mode)
            if not own and not stream:
                found.append(f"{number}: {where}")
    if found:
        return f"has {found}"
    raise OSError(errno.EBADF, "none but the two ends of its log")


@attempt("speak to journald's protocol over its own log")
def log_stream():
    """Its stdout is a stream to journald: whatever comes over it is lines, and descriptors are not taken."""
    if not stat.S_ISSOCK(os.fstat(1).st_mode):
        raise OSError(errno.ENOTSOCK, "stdout is no socket")
    with socket.socket(fileno=os.dup(1)) as stream:
        stream.sendmsg(
            [b"with a descriptor\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))]
        )
        stream.setblocking(False)
        answer = stream.recv(16)
    if answer:
        return f"it answered {answer!r}"
    raise OSError(errno.ENODATA, "nothing comes back: it takes lines and no more")


# --- other processes ----------------------------------------------------------------------------------


@attempt("see a process that is not its own")
def processes():
    mine = {os.getpid(), 1}
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if pid not in mine and not name.startswith(("python", "catatonit", "podman-init", "sleep")):
            found.append(f"{pid} {name}")
    if found:
        return f"sees {found}"
    raise OSError(errno.ESRCH, "a process namespace of its own")


@each("signal the host's process {}", TARGETS["pids"])
def signal_host(pid):
    if os.path.exists(f"/proc/{pid}/comm"):
        raise OSError(errno.ESRCH, "that number is one of its own")
    os.kill(pid, 0)
    return "it can be signalled"


@attempt("find the host in its environment")
def environment():
    known = "PATH LANG HOME HOSTNAME MPLCONFIGDIR MPLBACKEND PYTHONDONTWRITEBYTECODE JOB_ID container TERM LC_CTYPE PWD HTTPS_PROXY https_proxy NO_PROXY no_proxy".split()  # fmt: skip
    if found := [name for name in os.environ if name not in known and not name.startswith("HP_")]:
        return f"has {found}"
    raise OSError(errno.ENOENT, "nothing of the host's: no NOTIFY_SOCKET, GOGC, XDG_RUNTIME_DIR, proxy")


@each("find {} in /etc/hosts", TARGETS["names"])
def hosts(name):
    if name in Path("/etc/hosts").read_text().split():
        return "it is there"
    raise OSError(errno.ENOENT, "the container's own names alone")


# --- sockets and networks -----------------------------------------------------------------------------


@each("open the host's socket {}", TARGETS["sockets"])
def unix_socket(path):
    kind = socket.SOCK_DGRAM if path.endswith(("journal/socket", "notify", "syslog")) else socket.SOCK_STREAM
    with socket.socket(socket.AF_UNIX, kind) as one:
        one.connect(path)
    return "connected"


@each("open the host's abstract socket {}", TARGETS["abstract"])
def abstract_socket(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.connect("\0" + name)
    return "connected"


@each("reach {}", TARGETS["addresses"])
def reach(address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=TARGETS["timeout"]):
        return "connected"


@each("send a packet to {}", TARGETS["datagrams"])
def send_packet(address):
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(TARGETS["timeout"])
        one.connect((host.strip("[]"), int(port)))
        one.send(b"\0" * 16)
        return f"got {len(one.recv(16))} bytes"


@each("resolve {}", ["example.com", "metadata.google.internal"])
def resolve(name):
    return str(socket.getaddrinfo(name, 80)[0][4])


@attempt("have an interface besides what its network gives it")
def interfaces():
    found = [name for _, name in socket.if_nameindex() if name not in TARGETS["interfaces"]]
    if found:
        return f"has {found}"
    raise OSError(errno.ENODEV, f"has {TARGETS['interfaces']}")


@attempt("configure its network")
def configure():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sh22x", b"lo", 0))
    return "took an interface down"


# --- resources ----------------------------------------------------------------------------------------


@attempt("fork without bound")
def fork_bomb():
    """At the most 600 processes, which do nothing and end."""
    if not Path("/sys/fs/cgroup/pids.max").exists():
        raise NotImplementedError("no controller here")
    children = []
    try:
        for _ in range(600):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        return f"{len(children)} processes"
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@each("fill {}", ["/tmp", "/dev/shm"])
def fill(directory):
    limit = {"/tmp": 2**30, "/dev/shm": 2**28}[directory]
    status = os.statvfs(directory)
    if status.f_blocks * status.f_frsize > limit:
        return f"it has {status.f_blocks * status.f_frsize} bytes"
    path = Path(directory, "filler")
    try:
        with path.open("wb") as file:
            # Reserved, not written: memory is taken by blocks that are.
            os.posix_fallocate(file.fileno(), 0, limit + 1)
    finally:
        path.unlink()
    return "more than its size"


@attempt("make a sparse file of a terabyte")
def sparse():
    path = Path("/artifacts/sparse")
    try:
        with path.open("wb") as file:
            os.ftruncate(file.fileno(), 2**40)
    finally:
        path.unlink()
    return "made"


@attempt("write behind the end of what a file may be")
def write_behind():
    path = Path("/artifacts/behind")
    try:
        with path.open("wb", buffering=0) as file:
            file.seek(2**40)
            file.write(b"x")
    finally:
        path.unlink()
    return "written"


@attempt("open files without bound")
def open_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard > 65536:
        return f"{hard} at a time"
    raise OSError(errno.EMFILE, f"{hard} at the most")


def main():
    successes = 0
    for what, function, arguments in ATTEMPTS:
        try:
            got = function(*arguments)
            result, by = ("SUCCEEDED", got) if got else ("stopped", "nothing was there")
        except NotImplementedError as error:
            result, by = "not shown", str(error)
        except (OSError, subprocess.SubprocessError) as error:
            name = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
            by = f"{name} {getattr(error, 'strerror', None) or error}".strip()
            result = "stopped"
        successes += result == "SUCCEEDED"
        print(json.dumps({"attempt": what, "result": result, "by": by}))
    print(json.dumps({"attempts": len(ATTEMPTS), "successes": successes}))


if __name__ == "__main__":
    main()

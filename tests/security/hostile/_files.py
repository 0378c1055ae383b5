"""Attempts on the host's files, on what is mounted, and on descriptors."""

import contextlib
import errno
import os
import socket
import stat
import struct
from pathlib import Path

from _attempts import TARGETS, attempt, each, read


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


@each(
    "write to {}",
    [
        "/scripts/planted.py",
        "/scripts/escape.py",
        "/run/ml-job/job.json",
        "/run/ml-job/started",
        "/run/ml-job/planted",
        "/run/planted",
        "/run/secrets/planted",
        "/etc/passwd",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/usr/bin/planted",
        "/planted",
        "/opt/ml/launch.py",
        "/opt/ml/bin/planted",
        "/var/planted",
        "/dev/planted",
        "/home/planted",
        "/root/planted",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/proc/irq/0/smp_affinity",
        "/proc/bus/planted",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
        "/sys/fs/cgroup/planted",
        "/sys/module/planted",
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/pids.max",
        "/sys/fs/cgroup/cgroup.subtree_control",
        "/proc/self/uid_map",
        "/proc/self/setgroups",
        "/dev/kmsg",
        "/dev/mem",
    ],
)
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


@each(
    "read {}",
    [
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/scsi/scsi",
        "/dev/mem",
        "/dev/kmsg",
        "/sys/firmware/dmi/tables/DMI",
    ],
)
def read_masked(path):
    return read(path)


@attempt("see a secret that it did not declare")
def secrets():
    if found := os.listdir("/run/secrets"):
        return f"sees {found}"
    raise OSError(errno.ENOENT, "none is mounted")


@attempt("find a device that is not harmless")
def devices():
    harmless = {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "console",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "fd",
        "stdin",
        "stdout",
        "stderr",
        "core",
    }
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
    expected = (
        "/",
        "/proc",
        "/sys",
        "/dev",
        "/tmp",
        "/scripts",
        "/artifacts",
        "/run/ml-job",
        "/run/ml-egress",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/run/.containerenv",
        "/run/podman-init",
        "/run/secrets",
        "/run/catatonit",
        "/catatonit",
    )
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
        device = place in (
            "/dev/null",
            "/dev/zero",
            "/dev/full",
            "/dev/random",
            "/dev/urandom",
            "/dev/tty",
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/interrupts",
            "/proc/latency_stats",
        )
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

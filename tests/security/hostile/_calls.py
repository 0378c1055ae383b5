"""Attempts by system calls: namespaces, mounts, tracing, the kernel itself, sockets of odd families."""

import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import subprocess

from _attempts import attempt, each

LIBC = ctypes.CDLL(None, use_errno=True)
X86_64 = platform.machine() == "x86_64"
# Numbers of system calls: of x86_64, and the generic table that aarch64 and riscv64 have.
CALLS = {
    "ptrace": (101, 117),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "fsopen": (430, 430),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "mount_setattr": (442, 442),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "fanotify_init": (300, 262),
    "clone3": (435, 435),
    "vhangup": (153, 58),
    "move_pages": (279, 239),
}


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


FLAGS = {
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWNET": 0x40000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWCGROUP": 0x02000000,
}


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
    "bpf": (0, ZERO, 72),
    "keyctl": (0, -3, 0),
    "add_key": (text("user"), text("x"), text("y"), 1, -3),
    "request_key": (text("user"), text("x"), 0, -3),
    "perf_event_open": (ZERO, 0, -1, -1, 0),
    "io_uring_setup": (1, ZERO),
    "init_module": (ZERO, 0, ZERO),
    "finit_module": (0, ZERO, 0),
    "delete_module": (text("tun"), 0),
    "kexec_load": (0, 0, 0, 0),
    "reboot": (0xFEE1DEAD, 672274793, 0, 0),
    "swapon": (text("/artifacts/swap"), 0),
    "syslog": (3, ZERO, 4096),
    "settimeofday": (ZERO, 0),
    "clock_settime": (0, ZERO),
    "sethostname": (text("x"), 1),
    "userfaultfd": (0,),
    "open_by_handle_at": (3, ZERO, 0),
    "name_to_handle_at": (-100, text("/"), ZERO, ZERO, 0),
    "process_vm_readv": (1, ZERO, 1, ZERO, 1, 0),
    "process_vm_writev": (1, ZERO, 1, ZERO, 1, 0),
    "pidfd_getfd": (0, 0, 0),
    "kcmp": (1, os.getpid(), 0, 0, 0),
    "fsopen": (text("tmpfs"), 0),
    "open_tree": (-100, text("/"), 1),
    "move_mount": (-100, text("/"), -100, text("/tmp"), 0),
    "mount_setattr": (-100, text("/"), 0, ZERO, 32),
    "acct": (text("/artifacts/x"),),
    "quotactl": (0, 0, 0, 0),
    "fanotify_init": (0, 0),
    "vhangup": (),
    "adjtimex": (ZERO,),
}


@each("{}", SIMPLE)
def simple(name):
    return call(name, *SIMPLE[name])


@attempt("32-bit system calls (int 0x80)")
def compatibility():
    """Machine code that asks for its process id as an i386 program does; the filter knows no such calls."""
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
    "AF_PACKET": (17, socket.SOCK_RAW),
    "AF_INET raw": (2, socket.SOCK_RAW),
    "AF_VSOCK": (40, socket.SOCK_STREAM),
    "AF_ALG": (38, 5),
    "AF_NETLINK audit": (16, socket.SOCK_RAW),
    "AF_BLUETOOTH": (31, 3),
    "AF_XDP": (44, 3),
    "AF_CAN": (29, 3),
    "AF_TIPC": (30, 1),
    "AF_KEY": (15, 3),
    "AF_RDS": (21, 5),
    "AF_NFC": (39, 3),
}


@each("a socket of {}", SOCKETS)
def sockets(name):
    family, kind = SOCKETS[name]
    protocol = {"AF_NETLINK audit": 9, "AF_INET raw": 1, "AF_BLUETOOTH": 1, "AF_CAN": 1, "AF_KEY": 2}.get(
        name, 0
    )
    socket.socket(family, kind, protocol).close()
    return "it was made"

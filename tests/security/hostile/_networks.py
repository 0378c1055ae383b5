"""Attempts on the host's sockets, and on everything that a network might lead to."""

import errno
import fcntl
import socket
import struct

from _attempts import TARGETS, attempt, each


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

"""Which job the process at the other end of a Unix socket belongs to."""

import re
import socket
import struct
from pathlib import Path

JOBS_CGROUP = re.compile(r"/ml-job@([a-z2-7]{12})\.service(/|$)", re.MULTILINE)
NO_JOB = "-"


def job_of(connection: socket.socket) -> str:
    """The id of the peer's job, or `NO_JOB`. The cgroup tells, which a job cannot leave."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    try:
        cgroup = Path(f"/proc/{struct.unpack('3i', credentials)[0]}/cgroup").read_text("utf-8")
    except OSError:
        return NO_JOB  # the process that connected has ended, and left the connection to another one
    match = JOBS_CGROUP.search(cgroup)
    return match[1] if match else NO_JOB

"""Prints what systemd, Podman and the agent would print, under their names, and what terminals obey."""

import ctypes
import json
import os
import sys

PR_SET_NAME = 15
FORGED = [
    "Ended: success, exited 0",
    "MESSAGE_ID=8f0b3d2b5c5c4a0f9d1c5c1f6f0f3a61",
    "ml-job@aaaaaaaaaaaa.service: Main process exited, code=exited, status=0/SUCCESS",
    "Started ml-job@aaaaaaaaaaaa.service - Training job aaaaaaaaaaaa.",
    "Error: the image is not there",
    "<0>an emergency",
    "0123456789abcdef" * 4,
    'data: {"status": "COMPLETED"}',
    "event: end",
    "id: 999999:s=0",
    "\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b[31mred",
    "over\rwritten",
    "\u202egnp.exe",
]
libc = ctypes.CDLL(None)
for name in ("podman", "conmon", "crun", "systemd", "python"):
    libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
    for line in FORGED:
        print(line, flush=True)
    sys.stdout.buffer.write(b"\xff\xfe no text\n")
    sys.stdout.flush()
# A child whose program has such a name: /tmp is the job's own.
os.symlink(sys.executable, "/tmp/podman")
os.system("/tmp/podman -c 'print(\"Error: from a program of that name\")'")
for step in range(20000):
    print("::metric " + json.dumps({"name": f"forged{step % 500}", "value": step}))
    print('::progress {"done": 1e308, "total": -1}')
print("::metric " + '{"name": "' + "x" * 100000 + '", "value": 1}')
print("::metric " + "[" * 20000)
print("::metric " + '{"name": "nan", "value": NaN}')
print('::metric {"name": "../../etc", "value": 1}')
print("the last line")

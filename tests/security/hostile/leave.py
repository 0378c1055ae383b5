"""Leaves everything in /artifacts that is no plain file, and processes that are to go on after its end."""

import os
import socket
import sys
import time
from pathlib import Path

os.chdir("/artifacts")
Path("plain.txt").write_text("plain")
os.symlink("/etc/passwd", "link")
os.symlink("/proc/self/environ", "environ")
os.symlink(os.environ.get("HP_SECRET", "/"), "secret")
os.symlink("/", "root")
os.symlink("loop", "loop")
os.mkfifo("fifo")
with socket.socket(socket.AF_UNIX) as one:
    one.bind("socket")
for kind, device in ((0o020666, os.makedev(1, 5)), (0o060666, os.makedev(7, 0))):
    try:
        os.mknod("device", kind, device)
    except OSError as error:
        print(f"mknod: {error.strerror}")
for name in (
    b"new\nline",
    b"..\\..\\x",
    b"\x1b[31mred",
    b"\xff\xfe",
    b"n" * 255,
    b"\xe2\x80\xaegnp.exe",
    b" ",
    b"-rf",
    b"a:b;c&d$(e)`f`",
):
    Path(os.fsdecode(name)).write_bytes(b"odd")
os.mkdir("closed")
Path("closed/inside").write_text("inside")
os.chmod("closed", 0)
directory = Path("/artifacts")
for level in range(40):
    directory = directory / f"level-{level}"
    directory.mkdir()
directory.joinpath("bottom").write_text("bottom")

# A process of its own session, whose parent has gone, with the log closed: nobody waits for it.
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3):
            os.close(number)
        while True:
            with Path("/artifacts/plain.txt").open("a") as file:
                file.write("changed after the end")
            time.sleep(0.05)
    os._exit(0)
os.wait()
print("begun", flush=True)
if "HP_STAY" in os.environ:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)
sys.exit(0)

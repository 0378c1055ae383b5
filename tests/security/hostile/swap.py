"""Swaps a file of its artifacts for links, FIFOs and directories, as fast as it can, until it is stopped."""

import os
from pathlib import Path

os.chdir("/artifacts")
os.mkdir("inner")
Path("good").write_text("good")
Path("inner/served").write_text("good")
SECRET = os.environ["HP_SECRET"]
print("begun", flush=True)
turn = 0
while True:
    turn += 1
    match turn % 5:
        case 0:
            os.symlink(SECRET, "new")
        case 1:
            os.mkfifo("new")
        case 2:
            os.symlink("/proc/self/environ", "new")
        case 3:
            os.mkdir("new")
        case 4:
            Path("new").write_text("good")
    if turn % 5 == 3:
        try:
            os.unlink("served")
        except OSError:
            pass
    try:
        if os.path.isdir("served") and not os.path.islink("served"):
            os.rmdir("served")
        os.rename("new", "served")
    except OSError:
        pass
    # The directory above it becomes a link to another one, and a directory again.
    os.rename("inner", "kept")
    os.symlink(os.path.dirname(SECRET), "inner")
    os.unlink("inner")
    os.rename("kept", "inner")
    # As inside, a file that other rounds look for has the secret's own name.
    for name in ("new",):
        try:
            os.rmdir(name) if os.path.isdir(name) and not os.path.islink(name) else os.unlink(name)
        except OSError:
            pass

"""Swaps a file of its artifacts for links, FIFOs and directories, as fast as it can, until it is stopped."""

import os
from contextlib import suppress
from pathlib import Path

os.chdir("/artifacts")
os.mkdir("inner")
Path("good").write_text("good")
Path("inner/served").write_text("good")
SECRET = os.environ["HP_SECRET"]
MAKE = (
    lambda: os.symlink(SECRET, "new"),
    lambda: os.mkfifo("new"),
    lambda: os.symlink("/proc/self/environ", "new"),
    lambda: os.mkdir("new"),
    lambda: Path("new").write_text("good"),
)


def remove(name):
    """Whatever it is."""
    with suppress(OSError):
        os.unlink(name)
    with suppress(OSError):
        os.rmdir(name)


print("begun", flush=True)
while True:
    for make in MAKE:
        make()
        if os.path.isdir("new") or os.path.isdir("served"):
            remove("served")  # a directory takes no file's place, nor a file a directory's
        with suppress(OSError):
            os.rename("new", "served")
        remove("new")
        # The directory above a file becomes a link to where the secret is, and a directory again.
        os.rename("inner", "kept")
        os.symlink(os.path.dirname(SECRET), "inner")
        os.unlink("inner")
        os.rename("kept", "inner")

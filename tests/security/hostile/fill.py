# /// ml-job
# [limits]
# artifact_bytes = 8388608
# artifact_files = 50
# grace_seconds = 60
# [[parameters]]
# name = "how"
# choices = ["bytes", "files", "directories", "sparse", "hidden", "deep", "moving", "and-ends"]
# required = true
# ///
"""Takes more of /artifacts than it may, in one of several ways, and ignores SIGTERM."""

import os
import signal
import time
from pathlib import Path

HOW = os.environ["HP_HOW"]
ARTIFACTS = Path("/artifacts")
signal.signal(signal.SIGTERM, signal.SIG_IGN)


def write(directory, number, size=2**20):
    with Path(directory, f"file-{number}").open("wb") as file:
        file.write(b"x" * size)


print("begun", flush=True)
if HOW in ("bytes", "and-ends"):
    for number in range(12):
        write(ARTIFACTS, number)
elif HOW == "files":
    for number in range(60):
        write(ARTIFACTS, number, 1)
elif HOW == "directories":
    for number in range(60):
        ARTIFACTS.joinpath(f"directory-{number}").mkdir()
elif HOW == "sparse":
    for number in range(4):
        with ARTIFACTS.joinpath(f"sparse-{number}").open("wb") as file:
            file.truncate(4 * 2**20)
elif HOW == "hidden":
    ARTIFACTS.joinpath("closed").mkdir()
    for number in range(12):
        write(ARTIFACTS / "closed", number)
    ARTIFACTS.joinpath("closed").chmod(0)
elif HOW == "deep":
    for _ in range(40):
        os.chdir("/artifacts")
        for level in range(1000):
            os.makedirs(f"d{level}", exist_ok=True)
            os.chdir(f"d{level}")
elif HOW == "moving":
    # A directory is never where it was when its parent was looked at.
    ARTIFACTS.joinpath("a").mkdir()
    for number in range(12):
        write(ARTIFACTS / "a", number)
    while True:
        ARTIFACTS.joinpath("a").rename(ARTIFACTS / "b")
        ARTIFACTS.joinpath("b").rename(ARTIFACTS / "a")
        time.sleep(0.001)
if HOW != "and-ends":
    while True:
        time.sleep(1)

"""Takes the disk, file by file."""

import os
import time
from pathlib import Path

print("begun", flush=True)
for number in range(40):
    with Path(f"/artifacts/file-{number}").open("wb") as file:
        file.write(b"x" * 2**23)
        os.fsync(file.fileno())
    time.sleep(0.05)
while True:
    time.sleep(1)

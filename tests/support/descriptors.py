"""What this process holds open."""

import os
from contextlib import suppress
from pathlib import Path


def opened_below(directory: Path) -> list[Path]:
    """The files and directories that this process has open in a directory, or the directory itself."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
    return [path for path in found if path.is_relative_to(directory)]

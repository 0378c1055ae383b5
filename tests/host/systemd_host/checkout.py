"""Put this checkout into a host as it is in the work tree, as a git repository of its own."""

import os
import shutil
import subprocess
from pathlib import Path

from .errors import HostError
from .rootfs import UID, USER

CHECKOUT = Path(__file__).resolve().parents[3]
INSIDE = f"/home/{USER}/src"


def export(target: Path) -> None:
    """Make the folder `target` anew: the history, and the tracked and unignored files as they are now.

    All of it belongs to the service user. Raises HostError if this is no git repository.
    """
    shutil.rmtree(target, ignore_errors=True)
    git(CHECKOUT.parent, "clone", "--quiet", "--no-hardlinks", "--no-checkout", str(CHECKOUT), str(target))
    listed = git(CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        source, destination = CHECKOUT / name, target / name
        if source.is_symlink() or source.is_file():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination, follow_symlinks=False)
    git(target, "reset", "--quiet")
    chown(target)


def chown(tree: Path) -> None:
    """Give `tree` and all in it to the service user."""
    for path, folders, files in os.walk(tree):
        for name in [".", *folders, *files]:
            os.chown(Path(path) / name, UID, UID, follow_symlinks=False)


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder` and return its output. Raises HostError."""
    # The checkout may belong to another user than root, which git refuses unless told otherwise; clone's
    # second process reads this from a file only.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CONFIG_GLOBAL"] = str(CHECKOUT / "tests/host/gitconfig")
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise HostError(f"git {arguments[0]} failed in {folder}", done.stderr.strip())
    return done.stdout

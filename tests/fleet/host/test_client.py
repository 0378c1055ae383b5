"""The app's live test against a front: its Kit in real use, over mutual TLS, with connections that are cut.

The program is built in the host of `make client`, where Swift is, and runs on the machine of the first front,
which has no Swift: so what it is linked with comes along.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.systemd_host import instance

from .handle import Fleet

pytestmark = pytest.mark.timeout(400)

BUILDER = os.environ.get("CLIENT_HOST", "ml-host")
BUILT = "home/ml/.cache/ml-client-build/debug/mljob-live"
PLACE = "opt/mljob-live"


def linked(root: Path, program: str) -> list[Path]:
    """The libraries of a program, as paths in the file system below `root`."""
    listed = subprocess.run(
        ["chroot", str(root), "ldd", f"/{program}"], capture_output=True, text=True, check=True
    )
    words = [line.split() for line in listed.stdout.splitlines()]
    return [root / each[2].lstrip("/") for each in words if len(each) > 2 and each[1] == "=>"]


@pytest.fixture
def program(fleet: Fleet) -> Iterator[str]:
    """A command on the machine of the first front that starts `mljob-live`."""
    builder = instance.load(BUILDER)
    assert builder, f"there is no host {BUILDER}: `make fleet-client` makes it"
    assert (builder.root / BUILT).exists(), "`make fleet-client` builds mljob-live"
    target = fleet.root("servers") / PLACE
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(builder.root / BUILT, target)
    for library in linked(builder.root, BUILT):
        # What every program has, the loader finds where it was started from.
        if not (fleet.root("servers") / library.relative_to(builder.root)).exists():
            shutil.copy(library, target)
    start = target / "start"
    start.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH=/{PLACE} exec /{PLACE}/mljob-live "$@"\n')
    start.chmod(0o755)
    yield f"/{PLACE}/start"
    shutil.rmtree(target)


def test_the_app_meets_an_agent(fleet: Fleet, program: str) -> None:
    """From its enrolment to the renewal of its certificate; and the first client's calls."""
    done = fleet.ran("servers", "/opt/ml-agent/bin/python3", "client/live", program)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "FAIL" not in done.stdout

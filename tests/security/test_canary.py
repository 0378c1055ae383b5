"""Values of secrets are nowhere but where they belong, whatever becomes of the jobs that use them."""

import base64
import gzip
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.job.profile import config_directory

from .canary import Canaries, look, watch
from .search import BYTES, Search, shapes


@pytest.mark.host
@pytest.mark.timeout(900)
def test_a_canary_is_nowhere_while_a_job_has_it_and_after_it_has_crashed() -> None:
    """`python -m tests.security.canary` does it for every way to end, and as root."""
    if not (config_directory() / "alice.crt").exists():
        pytest.skip("no agent is installed (tests/host/host install)")
    watched = []
    for what, places, looked_at in watch(Canaries(), look, ["crash"]):
        assert places == [], what
        # The search itself: Podman, units, processes, the journal and files were all there to be looked at.
        assert {"file", "process", "systemd", "journal", "podman"} <= looked_at.keys()
        assert looked_at["journal" + BYTES] > 10_000
        watched.append(what)
    assert watched == ["crash, during", "crash, after"]


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[tuple[bytes, set[str]]]:
    """A value, and the places that it was put into."""
    value = secrets.token_hex(16).encode()
    (tmp_path / "plain").write_bytes(b"x" * (2**20 - 5) + value)
    (tmp_path / "encoded").write_bytes(base64.b64encode(b"ab" + value + b"c"))
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"first\n") + gzip.compress(value))
    (tmp_path / value.decode()).touch()
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    environment = os.environ | {"PLANTED": value.decode()}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        places = {f"file: {tmp_path}/{name}" for name in ("plain", "encoded")}
        places |= {f"file, unpacked: {tmp_path}/log.gz", f"file's name: {tmp_path}/{value.decode()}"}
        yield value, places | {f"process: /proc/{process.pid}/environ"}
        process.communicate()


def test_the_search_finds_what_was_planted(planted: tuple[bytes, set[str]], tmp_path: Path) -> None:
    """A search that cannot find anything would prove nothing."""
    value, places = planted
    search = Search([value], since=time.time() - 60, uid=os.getuid(), root=tmp_path)
    search.files()
    search.processes()
    assert set(search.found.hits) == places


@pytest.mark.host
def test_the_search_finds_what_is_in_the_journal_and_in_a_unit() -> None:
    value, since = secrets.token_hex(16), time.time() - 1
    subprocess.run(["systemd-cat", "--identifier=planted"], input=value, text=True, check=True)
    unit = f"planted-{secrets.token_hex(4)}.service"
    run = ["systemd-run", "--user", "--quiet", f"--unit={unit}", f"--setenv=PLANTED={value}", "sleep", "600"]
    subprocess.run(run, check=True)
    try:
        subprocess.run(["journalctl", "--sync"], check=False)
        hits = Search([value.encode()], since=since, uid=os.getuid()).everywhere().hits
    finally:
        subprocess.run(["systemctl", "--user", "stop", unit], check=True)
    assert {hit.partition(":")[0] for hit in hits} >= {"file", "process", "systemd", "journal"}


def test_a_value_is_known_in_every_shape() -> None:
    value = b"0123456789abcdef0123456789abcdef"
    for before in (b"", b"a", b"ab", b"abc"):
        encoded = base64.b64encode(before + value + b"tail")
        assert any(shape in encoded for shape in shapes(value)[3:])

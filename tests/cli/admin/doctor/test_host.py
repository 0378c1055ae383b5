"""The doctor's checks of the host."""

import asyncio
from pathlib import Path

import pytest

from agent.cli.admin.doctor import host
from agent.config_files import load
from agent.host.machine import Room
from tests.support.ml_agent import Run, put_on_path


@pytest.mark.parametrize(
    ("listen", "level"),
    [
        ("Listen=[::]:8443 (Stream)", "ok"),
        ("Listen=127.0.0.1:9000 (Stream)\nListen=[::]:8443 (Stream)", "ok"),
        ("Listen=/run/user/1000/agent (Stream)", "ok"),
        ("Listen=[::]:18443 (Stream)", "fail"),
    ],
)
def test_a_socket_on_another_port_than_the_configured_one_is_found(
    ready: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str, level: str
) -> None:
    script = f'case "$*" in *is-active*) echo active;; *) echo "{listen}";; esac'
    put_on_path(tmp_path / "bin", "systemctl", script, monkeypatch)
    finding = asyncio.run(host.socket(load()))
    assert finding.level == level
    if level == "fail":
        assert finding.seen == "ml-agent.socket is active on port 18443, but http.port is 8443"
        assert "`ml-agent install`" in finding.remedy


@pytest.mark.parametrize(
    ("left", "level", "told"),
    [
        (Room(2**30, 10**6), "ok", "1024.0 MiB and 1000000 inodes free at"),
        (Room(2**30, None), "ok", "1024.0 MiB free at"),
        (Room(32 * 2**20, 10**6), "warn", "32.0 MiB"),
        (Room(2**30, 3000), "warn", "3000 inodes"),
        (Room(0, 10**6), "fail", "no job starts"),
        (Room(2**30, 0), "fail", "no job starts"),
    ],
)
def test_a_runtime_directory_that_is_almost_full_is_found(
    ready: Run, monkeypatch: pytest.MonkeyPatch, left: Room, level: str, told: str
) -> None:
    monkeypatch.setattr(host, "room", lambda _: left)
    finding = host.runtime_directory(load())
    assert finding.level == level
    assert told in finding.seen
    assert str(load().runtime_directory) in finding.seen
    assert bool(finding.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("left", "level", "told"),
    [
        (Room(2**40, 10**6), "ok", "1000000 inodes free at"),
        (Room(2**40, None), "ok", "MiB free at"),
        (Room(3 * 2**29, 10**6), "warn", "1536.0 MiB"),
        (Room(2**40, 1500), "warn", "1500 inodes"),
        (Room(2**30 - 1, 10**6), "fail", "no job starts"),
        (Room(2**40, 999), "fail", "no job starts"),
    ],
)
def test_a_state_directory_is_found_that_runs_short_of_bytes_or_inodes(
    ready: Run, monkeypatch: pytest.MonkeyPatch, left: Room, level: str, told: str
) -> None:
    settings = load()
    jobs = settings.jobs.model_copy(update={"min_free_bytes": 2**30, "min_free_inodes": 1000})
    monkeypatch.setattr(host, "room", lambda _: left)
    finding = host.disk(settings.model_copy(update={"jobs": jobs}))
    assert (finding.level, told in finding.seen) == (level, True)
    assert bool(finding.remedy) == (level != "ok")

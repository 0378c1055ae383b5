"""What a service tells systemd, and when it must."""

import ctypes
import socket
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.host import libsystemd
from agent.host.libsystemd import notify, watchdog_seconds


def test_systemd_hears_of_each_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        for state in ("READY=1", "STOPPING=1"):
            notify(state)
            assert listening.recv(100) == state.encode()


def test_nobody_hears_of_a_state_where_systemd_does_not_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(libsystemd, "library", lambda: pytest.fail("no library is needed"))
    notify("READY=1")
    assert caplog.messages == []


def test_a_state_that_cannot_be_told_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")
    assert caplog.messages == ["systemd cannot be told READY=1: No such file or directory"]


@pytest.mark.parametrize(("microseconds", "seconds"), [(None, 0), ("30000000", 30)])
def test_the_watchdog_waits_as_long_as_systemd_says(
    monkeypatch: pytest.MonkeyPatch, microseconds: str | None, seconds: float
) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if microseconds:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    assert watchdog_seconds() == seconds


def test_a_host_without_the_library_is_told_which_package_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    libsystemd.library.cache_clear()
    with pytest.raises(AgentError, match="Install libsystemd0") as caught:
        libsystemd.library()
    assert caught.value.problem is Problem.HOST

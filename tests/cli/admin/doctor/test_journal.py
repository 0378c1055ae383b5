"""The doctor's checks of the journal."""

import asyncio
import time
from pathlib import Path

import pytest

from agent.cli.admin.doctor import journal
from agent.cli.checks import Finding, Level
from tests.support.ml_agent import put_on_path

FILE = "/etc/systemd/journald.conf.d/99-site.conf"
GOOD = (
    "# /etc/systemd/journald.conf.d/50-ml-agent.conf\n[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n"
)


def configured(*lines: str) -> str:
    """What `systemd-analyze cat-config` prints where a file adds lines to those of the installation."""
    return "\n".join([f"{GOOD}\n# {FILE}", "[Journal]", *lines, ""])


@pytest.mark.parametrize(
    ("configuration", "off"),
    [
        ("[Journal]\n#RateLimitIntervalSec=30s\n", False),
        ("[Journal]\nRateLimitIntervalSec=0\n", True),
        ("[Journal]\nRateLimitIntervalSec = 0s\n", True),
        ("[Journal]\nRateLimitBurst=0\n", True),
        ("[Journal]\nRateLimitIntervalSec=0\n[Journal]\nRateLimitIntervalSec=30s\n", False),
        ("", False),
    ],
)
def test_the_last_setting_of_journalds_rate_limit_counts(configuration: str, off: bool) -> None:
    told = any("rate limit" in each for each in journal.faults(configuration))
    assert told is not off


def test_the_settings_that_are_installed_break_nothing() -> None:
    shipped = Path(__file__).parents[4] / "units/journald.conf.d/50-ml-agent.conf"
    assert journal.faults(f"# {shipped}\n{shipped.read_text()}") == []
    assert journal.faults(GOOD) == []


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("Storage=volatile", "lost at a reboot"),
        ("Storage=none", "lost at a reboot"),
        ("SplitMode=none", "only the group systemd-journal reads"),
        ("MaxLevelStore=warning", "jobs' lines are dropped"),
        ("MaxLevelStore=5", "jobs' lines are dropped"),
        ("SystemMaxUse=8M", "the journal is full"),
        ("MaxRetentionSec=1h", "lose their first lines"),
        ("MaxRetentionSec=2day", "lose their first lines"),
        ("LineMax=512", "marks in them are not found"),
        ("ForwardToSyslog=yes", "retention does not remove"),
        ("ForwardToConsole=1", "retention does not remove"),
        ("ForwardToSocket=vsock:2:1234", "retention does not remove"),
        ("RateLimitIntervalSec=30s", "rate limit"),
        ("RateLimitIntervalSec=", "rate limit"),
    ],
)
def test_a_setting_that_breaks_a_promise_is_told_with_its_file(
    line: str, effect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SYSLOG_SOCKET", Path(__file__))
    (fault,) = journal.faults(configured(line))
    assert effect in fault
    if not line.endswith("="):
        assert FILE in fault
    if "rate limit" not in effect:
        assert line in fault


@pytest.mark.parametrize(
    "line",
    [
        "Storage=auto",
        "#Storage=volatile",
        "SplitMode=uid",
        "MaxLevelStore=debug",
        "MaxLevelStore=6",
        "SystemMaxUse=4G",
        "SystemMaxUse=plenty",
        "MaxRetentionSec=0",
        "MaxRetentionSec=1month",
        "MaxRetentionSec=1M",
        "LineMax=48K",
        "ForwardToSyslog=no",
        "RateLimitBurst=0",
        "Storage=volatile\nStorage=persistent",
        "Storage=volatile\nStorage=",
    ],
)
def test_a_setting_that_breaks_nothing_is_no_fault(line: str) -> None:
    assert journal.faults(configured(line)) == []


def test_lines_that_are_forwarded_to_no_syslog_daemon_go_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SYSLOG_SOCKET", tmp_path / "none")
    assert journal.faults(configured("ForwardToSyslog=yes")) == []


def examined(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    configuration: str = GOOD,
    writes: str = 'shift; "$@" > $0.line',
    reads: str = "cat $(dirname $0)/systemd-cat.line",
) -> dict[str, Finding]:
    """The findings where programs of systemd are shell scripts."""
    places = tmp_path / "bin"
    put_on_path(places, "systemd-cat", writes, monkeypatch)
    put_on_path(places, "journalctl", reads, monkeypatch)
    put_on_path(places, "systemd-analyze", f"cat <<'END'\n{configuration}\nEND", monkeypatch)
    put_on_path(places, "systemctl", f"echo @{int(time.time()) - 60}", monkeypatch)
    monkeypatch.setattr(journal, "ARRIVES_WITHIN", 0.5)

    async def work() -> dict[str, Finding]:
        return {each.subject: each async for each in journal.journal()}

    return asyncio.run(work())


def test_a_line_that_can_be_read_back_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(tmp_path, monkeypatch)["journal"].level is Level.OK


@pytest.mark.parametrize(
    "broken",
    [
        {"writes": "echo 'Failed to create stream fd: Connection refused' >&2; exit 1"},
        {"reads": "true"},
        {"reads": "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1"},
        {"reads": "echo an earlier line"},
    ],
)
def test_a_line_that_does_not_arrive_fails_although_there_are_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: dict[str, str]
) -> None:
    finding = examined(tmp_path, monkeypatch, **broken)["journal"]
    assert (finding.level, finding.seen) == (Level.FAIL, "the account cannot read its own new entries")
    assert "systemd-journald" in finding.remedy


def test_every_fault_of_the_settings_is_told_in_one_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = examined(tmp_path, monkeypatch, configuration=configured("Storage=volatile", "LineMax=80"))
    retention = finding["log retention"]
    assert retention.level is Level.WARN
    assert f"Storage=volatile ({FILE})" in retention.seen
    assert f"LineMax=80 ({FILE})" in retention.seen
    assert "systemctl restart systemd-journald" in retention.remedy


def test_settings_that_journald_has_not_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "99-site.conf"
    file.touch()
    finding = examined(tmp_path, monkeypatch, configuration=f"{GOOD}# {file}\n")["log retention"]
    assert f"journald has not read {file} since it was changed" in finding.seen

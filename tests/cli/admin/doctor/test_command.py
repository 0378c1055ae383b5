"""`ml-agent doctor`: what it prints, and its exit status."""

import json
from typing import Any

import pytest

from agent.config_files import load
from tests.support.ml_agent import Run, issue


def test_every_finding_that_is_not_ok_has_a_remedy(ready: Run) -> None:
    examined = ready("doctor", "--json")
    lines = json.loads(examined.out)
    assert examined.status == (1 if any(one["level"] == "fail" for one in lines) else 0)
    assert {"systemd", "podman", "journal", "clock", "disk", "authority"} <= {one["subject"] for one in lines}
    for finding in lines:
        assert finding["seen"], finding
        assert bool(finding["remedy"]) == (finding["level"] != "ok"), finding


def test_a_person_gets_a_line_for_each_finding(ready: Run) -> None:
    assert "ok    authority           valid until" in ready("doctor").out


def test_a_rotation_is_a_finding_until_it_is_finished(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def finding(subject: str) -> Any:
        found = [one for one in json.loads(ready("doctor", "--json").out) if one["subject"] == subject]
        return found[0] if found else None

    monkeypatch.chdir(load().state_directory)
    serial = issue(ready, "alice")
    assert finding("rotation") is None
    ready("rotate-ca")
    assert finding("rotation")["level"] == "ok"
    assert "not renewed yet: alice" in finding("rotation")["seen"]
    ready("revoke", serial)
    assert finding("rotation")["level"] == "warn"
    assert "--finish" in finding("rotation")["remedy"]
    ready("rotate-ca", "--finish")
    assert finding("rotation") is None
    assert finding("authority")["level"] == finding("server certificate")["level"] == "ok"
    (load().pki_directory / "server.key").write_bytes((load().pki_directory / "ca.key").read_bytes())
    assert finding("server certificate")["level"] == "fail"

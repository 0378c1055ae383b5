"""Versions have bounds, bounds have reasons, locks have hashes; and an audit is read as it is meant."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from . import dependencies
from .dependencies import Audit, broken_bounds, outside, project, understood


def test_every_bound_has_a_reason_and_holds_here_and_in_the_images() -> None:
    assert broken_bounds() == []


def test_a_dependency_without_a_bound_or_a_reason_is_seen() -> None:
    text = '[project]\ndependencies = [\n  "a",  # why\n  "b>=1",\n  "c>=1",  # why\n]\n'
    assert [(each.bounded, bool(each.reason)) for each in project(text)] == [
        (False, True),
        (True, False),
        (True, True),
    ]


def test_a_version_outside_of_its_bounds_is_seen() -> None:
    wanted = [Requirement("a>=2"), Requirement("b<3"), Requirement("c")]
    assert outside(wanted, {"a": "1.9", "b": "2", "c": "1"}) == ["a>=2: 1.9"]
    assert outside(wanted, {"a": "2", "b": "3"}) == ["b<3: 3", "c: missing"]


def test_a_lock_without_a_hash_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "images/x").mkdir(parents=True)
    (tmp_path / "images/x/requirements.txt").write_text("a==1 \\\n  --hash=sha256:0\nb==2\n")
    monkeypatch.setattr(dependencies, "CHECKOUT", tmp_path)
    assert dependencies.unhashed("images/x") == ["b==2"]
    assert dependencies.locked("images/x") == {"a": "1", "b": "2"}


def test_a_package_that_a_service_does_not_know_was_not_audited() -> None:
    bug = {"id": "CVE-1", "fix_versions": ["1.1"]}
    report = {
        "dependencies": [
            {"name": "a", "skip_reason": "not found"},
            {"name": "b", "version": "1", "vulns": []},
            {"name": "c", "version": "1", "vulns": [bug]},
        ]
    }
    assert understood(report) == Audit(2, ["c 1: CVE-1, fixed in 1.1"])
    assert understood({"dependencies": [{"name": "a", "skip_reason": "not found"}]}).known == 0

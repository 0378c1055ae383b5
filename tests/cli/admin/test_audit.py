"""`ml-agent audit`, and the rows that other commands leave."""

# ruff: noqa: F811  (fixtures are arguments of the same name)

import asyncio
import json
import os
import pwd
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.audit.chain import Caller
from agent.cli.admin import install, main
from agent.config import load
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.model.secret import SecretChange
from agent.store.store import Store
from tests.cli.admin.test_main import home, ready, run  # noqa: F401 (fixtures)

Run = Callable[..., SimpleNamespace]

JOURNALCTL = """#!/bin/sh
printf '%s\\n' "$@" > "$0.arguments"
cat "$0.output"
"""


def rows(run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("audit", "--json", "-n", "1000").out)
    return found


def tamper(*statements: str) -> None:
    with closing(sqlite3.connect(load().database)) as database, database:
        for name in ("audit_unchanged", "audit_kept"):
            database.execute(f"DROP TRIGGER IF EXISTS {name}")
        for statement in statements:
            database.execute(statement)


def head(run: Run) -> str:
    verified = run("audit", "--verify", "--no-journal")
    assert verified.status == 0, verified.err
    return str(verified.out.splitlines()[-1].removeprefix("head "))


def test_what_commands_do_is_audited_with_the_account(ready: Run, home: Path) -> None:
    ready("issue", "oscar", "--operator", "--output", str(home / "ids"))
    first, issued = rows(ready)
    account = pwd.getpwuid(os.getuid()).pw_name
    assert (first["actor"], first["role"], first["source"]) == (account, "account", "this host")
    assert (first["action"], len(first["details"]["made"])) == ("init", 3)
    assert issued["action"] == "issueCertificate"
    assert issued["details"]["role"] == "operator"
    (certificate,) = asyncio.run(_certificates())
    assert (certificate.role, certificate.serial) == (Role.OPERATOR, issued["subject"])


async def _certificates() -> list[Certificate]:
    async with Store.open(load().database) as store:
        return await store.certificates.all()


def test_who_came_by_sudo_is_named(ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "bob\x1b[31m" + "x" * 100)
    ready("issue", "alice", "--output", str(home / "ids"))
    source = rows(ready)[-1]["source"]
    assert source.startswith("sudo of bob[31mxxx")
    assert len(source) < 80


def test_a_certificate_has_one_role(ready: Run, home: Path) -> None:
    refused = ready("issue", "alice", "--operator", "--admin", "--output", str(home / "ids"))
    assert refused.status == 2
    assert not (home / "ids").exists()


def test_a_dry_run_leaves_no_row_and_an_installation_one(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.Plan, "carry_out", lambda _: None)
    for command in (("install", "--dry-run"), ("uninstall", "--dry-run"), ("prune", "--dry-run")):
        ready(*command)
    assert [row["action"] for row in rows(ready)] == ["init"]
    ready("install")
    ready("uninstall")
    assert [row["action"] for row in rows(ready)] == ["init", "install", "uninstall"]


def test_a_secret_leaves_its_name_and_never_its_value(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = SecretChange(
        name="api-key",
        user="alice",
        created_at=now(),
        updated_at=now(),
        age_seconds=0,
        rotated=False,
        earlier_value_in=[],
    )
    monkeypatch.setattr(main, "_with_credentials", lambda _: change)
    (home / "value").write_text("canary-value")
    ready("secret", "set", "api-key", "--user", "alice", "--file", str(home / "value"))
    ready("secret", "rm", "api-key")
    set_it, removed = rows(ready)[1:]
    assert (set_it["action"], set_it["subject"], set_it["details"]) == (
        "setSecret",
        "api-key",
        {"owner": "alice"},
    )
    assert (removed["action"], removed["details"]) == ("removeSecret", {"owner": ""})
    assert b"canary" not in load().database.read_bytes()
    for file in load().database.parent.glob("jobs.db*"):
        assert b"canary" not in file.read_bytes()


def test_rows_are_shown_by_user_and_time(ready: Run, home: Path) -> None:
    asyncio.run(_write(Caller(actor="alice", role="analyst", source="192.0.2.7")))
    assert [row["actor"] for row in json.loads(ready("audit", "--user", "alice", "--json").out)] == ["alice"]
    assert len(json.loads(ready("audit", "--since", "1h", "--json").out)) == 2
    assert json.loads(ready("audit", "--since", "2100-01-01T00:00:00Z", "--json").out) == []
    line = ready("audit", "--user", "alice").out.split("\t")
    assert (line[0], line[2:8]) == ("2", ["alice", "analyst", "192.0.2.7", "cancelJob", "x^[y", "done"])
    assert ready("audit", "--since", "yesterday").status == 2


async def _write(caller: Caller) -> None:
    async with Store.open(load().database) as store:
        await store.audit.append(caller.did("cancelJob", "x\x1by"))


def test_a_whole_chain_is_verified_and_has_a_head(ready: Run) -> None:
    verified = ready("audit", "--verify", "--no-journal")
    assert verified.status == 0
    assert verified.out.startswith(
        "1 rows, each as it was written; 0 remembered heads are among them.\nhead 1:"
    )


def test_a_broken_chain_names_its_first_row_and_ends_with_1(ready: Run, home: Path) -> None:
    for user in ("alice", "bob", "carol"):
        ready("issue", user, "--output", str(home / "ids"))
    tamper("UPDATE audit SET entry = replace(entry, 'bob', 'eve') WHERE seq = 3")
    verified = ready("audit", "--verify", "--no-journal")
    assert verified.status == 1
    assert "row 3: it was changed" in verified.err
    assert verified.out == ""
    assert len(rows(ready)) == 4  # what is there can still be looked at


def test_a_lost_end_is_found_by_a_head_that_was_kept(ready: Run, home: Path) -> None:
    first = head(ready)
    ready("issue", "alice", "--output", str(home / "ids"))
    second = head(ready)
    both = ready("audit", "--verify", "--no-journal", "--head", first, "--head", second)
    assert "2 remembered heads" in both.out
    tamper("DELETE FROM audit WHERE seq = 2")
    assert ready("audit", "--verify", "--no-journal").status == 0  # the chain alone cannot know
    lost = ready("audit", "--verify", "--no-journal", "--head", second)
    assert lost.status == 1
    assert "row 2: it is missing" in lost.err
    ready("issue", "bob", "--output", str(home / "ids"))
    anew = ready("audit", "--verify", "--no-journal", "--head", second)
    assert "row 2: its hash is not the one that is remembered" in anew.err
    assert ready("audit", "--verify", "--head", "2").status == 2


@pytest.fixture
def journalctl(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for journalctl: prints FILE.output, and leaves its arguments in FILE.arguments."""
    (home / "bin").mkdir()
    file = home / "bin/journalctl"
    file.write_text(JOURNALCTL)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/bin:{os.environ['PATH']}")
    return file


def told(run: Run) -> str:
    """What the agent would tell journald now."""
    with closing(sqlite3.connect(load().database)) as database:
        (epoch,) = database.execute("SELECT epoch FROM change_history").fetchone()
    return f"audit head {head(run)} of record {epoch}"


def test_heads_that_journald_has_count_and_those_of_another_record_are_told(
    ready: Run, journalctl: Path
) -> None:
    other = f"audit head 900:{'0' * 64} of record 00000000"
    lines = ["job x: COMPLETED", told(ready), other]
    Path(f"{journalctl}.output").write_text("\n".join(lines) + "\n")
    verified = ready("audit", "--verify")
    assert "1 remembered heads" in verified.out
    assert "another record, 00000000; the last is 900:" in verified.err
    assert "_SYSTEMD_USER_UNIT=ml-agent.service" in Path(f"{journalctl}.arguments").read_text()
    tamper("DELETE FROM audit")
    lost = ready("audit", "--verify")
    assert lost.status == 1
    assert "row 1: it is missing" in lost.err


def test_a_lost_end_is_found_though_the_record_was_given_another_name(
    ready: Run, home: Path, journalctl: Path
) -> None:
    lines = [told(ready)]
    ready("issue", "alice", "--output", str(home / "ids"))
    lines.append(told(ready))
    Path(f"{journalctl}.output").write_text("\n".join(lines) + "\n")
    assert ready("audit", "--verify").status == 0
    tamper("DELETE FROM audit WHERE seq = 2", "UPDATE change_history SET epoch = 'abcdef01'")
    lost = ready("audit", "--verify")
    assert lost.status == 1
    assert "row 1: the journal has it of record" in lost.err
    assert f"the last is {lines[-1].split()[2]}" in lost.err


def test_two_records_of_an_account_are_whole_each_by_itself(
    ready: Run, home: Path, journalctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [told(ready)]
    with monkeypatch.context() as patch:
        patch.setenv("ML_AGENT_STATE_DIRECTORY", str(home / "other"))
        ready("init")
        # An agent that found no row any more has told this.
        lines += [told(ready), f"audit head 0:{'0' * 64} of record 00000000"]
    ready("issue", "alice", "--output", str(home / "ids"))
    lines.append(told(ready))
    Path(f"{journalctl}.output").write_text("\n".join(lines) + "\n")
    assert ready("audit", "--verify").status == 0
    monkeypatch.setenv("ML_AGENT_STATE_DIRECTORY", str(home / "other"))
    verified = ready("audit", "--verify")
    assert verified.status == 0
    assert "1 remembered heads" in verified.out
    assert "heads of another record" in verified.err


def test_what_is_archived_verifies_with_what_is_left(ready: Run, home: Path) -> None:
    ready("issue", "alice", "--output", str(home / "ids"))
    before = head(ready)
    kept = ready("audit", "--archive", str(home / "old.jsonl"), "--before", "0s")
    assert "has 2 rows" in kept.out
    assert (home / "old.jsonl").stat().st_mode & 0o777 == 0o600
    assert [row["action"] for row in rows(ready)] == ["archiveAudit"]
    assert ready("audit", "--verify", "--no-journal").out.startswith("1 rows")
    arguments = ("audit", "--verify", "--no-journal", "--archived", str(home / "old.jsonl"), "--head", before)
    assert ready(*arguments).out.startswith("3 rows, each as it was written; 1 remembered")
    refused = ready("audit", "--archive", str(home / "old.jsonl"), "--before", "0s")
    assert refused.status == main.EXIT_CONFIGURATION
    assert "exists" in refused.err
    assert len(rows(ready)) == 1
    text = (home / "old.jsonl").read_text()
    (home / "old.jsonl").write_text(text.replace("alice", "mallory"))
    assert "row 2: it was changed" in ready(*arguments).err
    (home / "old.jsonl").write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert "what is archived ends with row 1" in ready(*arguments).err
    assert ready("audit", "--verify", "--archived", str(home / "none")).status == 1
    assert "no rows from before" in ready("audit", "--archive", str(home / "x"), "--before", "365d").out

"""`ml-agent audit --verify`: a changed, missing, rewritten or renamed record is found."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.cli.failure import EXIT_CONFIGURATION
from agent.config_files import load
from tests.support.ml_agent import Run, audit_rows, put_on_path

JOURNALCTL = """printf '%s\\n' "$@" > "$0.arguments"
cat "$0.output"
"""


def tamper(*statements: str) -> None:
    """Changes the database behind the agent's back."""
    with closing(sqlite3.connect(load().database)) as database, database:
        for name in ("audit_unchanged", "audit_kept"):
            database.execute(f"DROP TRIGGER IF EXISTS {name}")
        for statement in statements:
            database.execute(statement)


def head(run: Run) -> str:
    """The head of the chain now."""
    verified = run("audit", "--verify", "--no-journal")
    assert verified.status == 0, verified.err
    return verified.out.splitlines()[-1].removeprefix("head ")


@pytest.fixture
def journalctl(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for journalctl: prints FILE.output, and leaves its arguments in FILE.arguments."""
    return put_on_path(home / "bin", "journalctl", JOURNALCTL, monkeypatch)


def logged(run: Run) -> str:
    """What the agent would log to journald now."""
    with closing(sqlite3.connect(load().database)) as database:
        (epoch,) = database.execute("SELECT epoch FROM change_history").fetchone()
    return f"audit head {head(run)} of record {epoch}"


def test_a_complete_chain_is_verified_and_has_a_head(ready: Run) -> None:
    verified = ready("audit", "--verify", "--no-journal")
    assert verified.status == 0
    assert verified.out.startswith("1 rows, each as it was written; 0 remembered heads match.\nhead 1:")


def test_a_chain_without_a_head_to_compare_with_is_not_proven(ready: Run, journalctl: Path) -> None:
    # The head of an empty record is the same for all, and proves nothing.
    empty = logged(ready).replace(head(ready), "0:" + "0" * 64)
    for output in ("", f"{empty}\n"):
        Path(f"{journalctl}.output").write_text(output)
        for arguments, status in (([], 0), (["--strict"], 1)):
            verified = ready("audit", "--verify", *arguments)
            assert (verified.status, "0 remembered heads match" in verified.out) == (status, True)
            assert "NOT PROVEN: there is no remembered head to compare with." in verified.err


def test_a_chain_that_meets_a_remembered_head_is_proven(ready: Run, home: Path, journalctl: Path) -> None:
    Path(f"{journalctl}.output").write_text(logged(ready) + "\n")
    kept = ["--no-journal", "--head", head(ready)]
    ready("issue", "alice", "--output", str(home / "ids"))
    for arguments in ([], kept):
        verified = ready("audit", "--verify", "--strict", *arguments)
        assert (verified.status, verified.err) == (0, "")
        assert "1 remembered heads match" in verified.out


def test_a_broken_chain_names_its_first_row_and_exits_with_1(ready: Run, home: Path) -> None:
    for user in ("alice", "bob", "carol"):
        ready("issue", user, "--output", str(home / "ids"))
    tamper("UPDATE audit SET entry = replace(entry, 'bob', 'eve') WHERE seq = 3")
    verified = ready("audit", "--verify", "--no-journal")
    assert verified.status == 1
    assert "row 3: it was changed" in verified.err
    assert verified.out == ""
    assert len(audit_rows(ready)) == 4  # the rows can still be read


def test_missing_last_rows_are_found_by_a_head_that_was_kept(ready: Run, home: Path) -> None:
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
    assert "row 2: its hash differs from the remembered one: the chain was rewritten" in anew.err
    assert ready("audit", "--verify", "--head", "2").status == 2


def test_heads_in_the_journal_count_and_those_of_another_record_are_reported(
    ready: Run, journalctl: Path
) -> None:
    other = f"audit head 900:{'0' * 64} of record 00000000"
    lines = ["job x: COMPLETED", logged(ready), other]
    Path(f"{journalctl}.output").write_text("\n".join(lines) + "\n")
    verified = ready("audit", "--verify")
    assert "1 remembered heads" in verified.out
    assert "another record, 00000000; the last is 900:" in verified.err
    assert "_SYSTEMD_USER_UNIT=ml-agent.service" in Path(f"{journalctl}.arguments").read_text()
    tamper("DELETE FROM audit")
    lost = ready("audit", "--verify")
    assert lost.status == 1
    assert "row 1: it is missing" in lost.err


def test_missing_last_rows_of_a_renamed_record_are_found(ready: Run, home: Path, journalctl: Path) -> None:
    lines = [logged(ready)]
    ready("issue", "alice", "--output", str(home / "ids"))
    lines.append(logged(ready))
    Path(f"{journalctl}.output").write_text("\n".join(lines) + "\n")
    assert ready("audit", "--verify").status == 0
    tamper("DELETE FROM audit WHERE seq = 2", "UPDATE change_history SET epoch = 'abcdef01'")
    lost = ready("audit", "--verify")
    assert lost.status == 1
    assert "row 1: the journal has its head under record" in lost.err
    assert f"the last is {lines[-1].split()[2]}" in lost.err


def test_two_records_of_an_account_are_verified_independently(
    ready: Run, home: Path, journalctl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [logged(ready)]
    with monkeypatch.context() as patch:
        patch.setenv("ML_AGENT_STATE_DIRECTORY", str(home / "other"))
        ready("init")
        # The second line is what an agent logs whose rows are all gone.
        lines += [logged(ready), f"audit head 0:{'0' * 64} of record 00000000"]
    ready("issue", "alice", "--output", str(home / "ids"))
    lines.append(logged(ready))
    Path(f"{journalctl}.output").write_text("\n".join(lines) + "\n")
    assert ready("audit", "--verify").status == 0
    monkeypatch.setenv("ML_AGENT_STATE_DIRECTORY", str(home / "other"))
    verified = ready("audit", "--verify")
    assert verified.status == 0
    assert "1 remembered heads" in verified.out
    assert "heads of another record" in verified.err


def test_archived_rows_verify_together_with_the_rows_that_stayed(ready: Run, home: Path) -> None:
    ready("issue", "alice", "--output", str(home / "ids"))
    before = head(ready)
    kept = ready("audit", "--archive", str(home / "old.jsonl"), "--before", "0s")
    assert "has 2 rows" in kept.out
    assert (home / "old.jsonl").stat().st_mode & 0o777 == 0o600
    assert [row["action"] for row in audit_rows(ready)] == ["archiveAudit"]
    assert ready("audit", "--verify", "--no-journal").out.startswith("1 rows")
    arguments = ("audit", "--verify", "--no-journal", "--archived", str(home / "old.jsonl"), "--head", before)
    assert ready(*arguments).out.startswith("3 rows, each as it was written; 1 remembered")
    refused = ready("audit", "--archive", str(home / "old.jsonl"), "--before", "0s")
    assert refused.status == EXIT_CONFIGURATION
    assert "exists" in refused.err
    assert len(audit_rows(ready)) == 1
    text = (home / "old.jsonl").read_text()
    (home / "old.jsonl").write_text(text.replace("alice", "mallory"))
    assert "row 2: it was changed" in ready(*arguments).err
    (home / "old.jsonl").write_text("".join(text.splitlines(keepends=True)[:-1]))
    assert "does not follow the archive, which ends with row 1" in ready(*arguments).err
    assert ready("audit", "--verify", "--archived", str(home / "none")).status == 1
    assert "no rows from before" in ready("audit", "--archive", str(home / "x"), "--before", "365d").out


def test_without_journalctl_the_other_heads_still_count(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = head(ready)
    monkeypatch.setenv("PATH", str(home / "nothing"))
    verified = ready("audit", "--verify", "--head", known)
    assert verified.status == 0
    assert "1 remembered heads" in verified.out
    assert "journalctl cannot be run" in verified.err


def restored(run: Run, home: Path) -> tuple[str, str]:
    """Restores a backup of one row on a record that has grown since; the heads of both moments, as logged."""
    assert run("backup", str(home / "backup")).status == 0
    first = logged(run)
    assert run("issue", "alice", "--output", str(home / "ids")).status == 0
    last = logged(run)
    assert run("restore", str(home / "backup"), "--replace").status == 0
    return first, last


def test_a_restore_is_told_with_the_rows_that_are_missing_since(
    ready: Run, home: Path, journalctl: Path
) -> None:
    first, last = restored(ready, home)
    Path(f"{journalctl}.output").write_text(f"{first}\n{last}\n")
    verified = ready("audit", "--verify", "--strict")
    # The row about the backup itself was written after it.
    assert "from a backup of " in verified.err
    assert "The rows from 2 to 3 of the replaced record are not in this one." in " ".join(
        verified.err.split()
    )
    assert verified.status == 1  # neither head is of the rows that the backup has
    assert ready("audit", "--verify", "--no-journal").status == 0


def test_what_was_changed_before_a_restored_backup_is_found(ready: Run, home: Path, journalctl: Path) -> None:
    of_the_backup = logged(ready)
    restored(ready, home)
    Path(f"{journalctl}.output").write_text(f"{of_the_backup}\n")
    assert ready("audit", "--verify", "--strict").status == 0
    changed = of_the_backup.replace(of_the_backup.split(":")[1][:64], "0" * 64)
    Path(f"{journalctl}.output").write_text(f"{changed}\n")
    verified = ready("audit", "--verify")
    assert (verified.status, "the chain was rewritten" in verified.err) == (1, True)

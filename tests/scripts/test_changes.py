"""What lies between two commits: their log, and a script's diff; bounded, and without running anything."""

import os
import subprocess
from pathlib import Path

import pytest

from agent.scripts import changes
from agent.scripts.changes import MAX_LOG, Changes

MISSING = "0" * 40


def git(path: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    command = ["git", "-C", str(path), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(path: Path, text: str, subject: str) -> str:
    (path / "scripts").mkdir(exist_ok=True)
    (path / "scripts/train.py").write_text(text)
    git(path, "add", ".")
    git(path, "commit", "--quiet", "--allow-empty", f"--message={subject}")
    return git(path, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    return path


def between(path: Path, a: str, b: str) -> changes.CommitDifference:
    return Changes(path, "scripts").between(a, b, "train.py")


def test_both_sides_of_a_fork_are_told_apart(repository: Path) -> None:
    base = commit(repository, "depth = 3\n", "Base")
    ours = commit(repository, "depth = 5\n", "Ours")
    git(repository, "checkout", "--quiet", "-b", "other", base)
    theirs = commit(repository, "depth = 9\n", "Theirs: ü")
    found = between(repository, ours, theirs)
    assert {(each.of, each.commit, each.author, each.subject) for each in found.log} == {
        ("a", ours, "Ada", "Ours"),
        ("b", theirs, "Ada", "Theirs: ü"),
    }
    assert found.diff.splitlines()[-2:] == ["-depth = 5", "+depth = 9"]
    assert "scripts/train.py" in found.diff
    assert (found.cut, found.unknown) == (False, None)


def test_odd_commits_are_told_in_one_line_each(repository: Path) -> None:
    base = commit(repository, "a\n", "Base")
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    people = "author A\u2028\x1cB <x> 1 +0000\ncommitter C <x> 9999999999999 +0000"
    text = f"tree {tree}\nparent {base}\n{people}\n\nOdd\x85"
    command = ["git", "-C", str(repository), "hash-object", "-t", "commit", "-w", "--literally", "--stdin"]
    made = subprocess.run(command, input=text.encode(), check=True, capture_output=True)
    (found,) = between(repository, base, made.stdout.decode().strip()).log
    assert (found.subject, found.author) == ("Odd", "A B")


def test_a_commit_that_is_gone_is_not_known(repository: Path) -> None:
    found = between(repository, commit(repository, "", "Base"), MISSING)
    assert (found.log, found.diff) == ([], "")
    assert found.unknown == f"The repository no longer has {MISSING}."


def test_the_log_and_the_diff_are_bounded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = commit(repository, "", "First")
    for number in range(MAX_LOG + 1):
        last = commit(repository, "x" * 1000, f"Number {number}")
    found = between(repository, first, last)
    assert (len(found.log), found.cut) == (MAX_LOG, True)
    assert found.log[0].subject == f"Number {MAX_LOG}"
    monkeypatch.setattr(changes, "MAX_DIFF", 500)
    cut = between(repository, git(repository, "rev-parse", "HEAD~1"), first)
    assert len(cut.diff) == 500
    assert cut.cut


def test_nothing_that_the_repository_names_is_run(repository: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\ntouch {ran}\ncat "$1"\n')
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("*.py diff=evil\n")
    for key in ("diff.external", "diff.evil.command", "diff.evil.textconv", "core.pager"):
        git(repository, "config", key, str(program))
    a = commit(repository, "a\n", "A\x1b[2J")
    b = commit(repository, "b\0\n", "B")
    found = between(repository, a, b)
    assert not os.path.lexists(ran)
    assert "+b\0" in found.diff


def test_only_the_script_itself_is_in_the_diff(repository: Path) -> None:
    a = commit(repository, "a\n", "A")
    (repository / "scripts/other.py").write_text("secret\n")
    b = commit(repository, "b\n", "B")
    assert "secret" not in between(repository, a, b).diff
    assert Changes(repository, "scripts").between(a, b, "*.py").diff == ""

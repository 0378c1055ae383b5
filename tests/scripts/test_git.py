import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.scripts.git import Repository
from tests.support.git_repository import commit, git


@pytest.fixture
def work_tree(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    (path / "scripts").mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    (path / "scripts/train.py").write_bytes(b"print(1)\n")
    commit(path)
    return path


def unreadable(repository: Repository) -> str:
    with pytest.raises(AgentError) as caught:
        repository.commit("HEAD")
    assert caught.value.problem is Problem.HOST
    assert "scripts.repository" in caught.value.hint
    return caught.value.message


def test_branches_tags_and_short_ids_are_refs(work_tree: Path) -> None:
    first = git(work_tree, "rev-parse", "HEAD")
    git(work_tree, "tag", "-a", "v1.0", "-m", "annotated")
    git(work_tree, "branch", "feature/one-two_3")
    second = commit(work_tree)
    repository = Repository(work_tree)
    assert [repository.commit(ref) for ref in ("v1.0", "feature/one-two_3", first[:8], first)] == [first] * 4
    assert [repository.commit(ref) for ref in ("HEAD", "main", "refs/heads/main")] == [second] * 3


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "nothing",
        "0" * 40,
        "--help",
        "-h",
        "--output=/tmp/x",
        "main..main",
        "main...HEAD",
        "main^",
        "main~0",
        "main@{0}",
        "@",
        "HEAD:scripts",
        ":/change",
        "^main",
        "main\n",
        "main\0",
        "../HEAD",
        "refs/../HEAD",
        "config",
        "mäin",
        "a" * 256,
    ],
)
def test_only_plain_names_of_commits_are_refs(work_tree: Path, ref: str) -> None:
    assert Repository(work_tree).commit(ref) is None


def put_before_git(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Makes a shell script the first git of the PATH; it finds the real one as $GIT."""
    git_program = shutil.which("git")
    directory.mkdir()
    wrapper = directory / "git"
    wrapper.touch(mode=0o755)
    wrapper.write_text(f"#!/bin/sh\nGIT={git_program}\n{script}\n")
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


class ResolvedRefs:
    """The refs that git itself was asked to resolve, in a file that the wrapper appends to."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()

    def take(self) -> list[str]:
        """Those since the last call."""
        lines = [line for line in self.file.read_text().splitlines() if "rev-parse --verify" in line]
        self.file.write_text("")
        return [line.rpartition(" ")[2].removesuffix("^{commit}") for line in lines]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResolvedRefs:
    refs = ResolvedRefs(tmp_path / "asked")
    put_before_git(tmp_path / "bin", monkeypatch, f'echo "$*" >> {refs.file}\nexec "$GIT" "$@"')
    return refs


@pytest.mark.parametrize("bare", [False, True])
def test_git_resolves_the_head_once_for_each_commit(
    work_tree: Path, tmp_path: Path, asked: ResolvedRefs, *, bare: bool
) -> None:
    first = git(work_tree, "rev-parse", "HEAD")
    path = work_tree
    if bare:
        path = tmp_path / "bare.git"
        git(tmp_path, "init", "-q", "--bare", "-b", "main", str(path))
        git(work_tree, "push", "-q", str(path), "main")
    repository = Repository(path)
    assert [repository.commit("HEAD") for _ in range(3)] == [first] * 3
    assert asked.take() == ["HEAD"]
    second = commit(work_tree)
    if bare:
        git(work_tree, "push", "-q", str(path), "main")
    assert [repository.commit("HEAD") for _ in range(3)] == [second] * 3
    assert asked.take() == ["HEAD"]


def test_the_head_is_found_however_it_is_stored(work_tree: Path, tmp_path: Path, asked: ResolvedRefs) -> None:
    first = git(work_tree, "rev-parse", "HEAD")
    second = commit(work_tree)
    repository = Repository(work_tree)
    assert repository.commit("HEAD") == second
    git(work_tree, "branch", "feature/one", first)
    git(work_tree, "checkout", "-q", "feature/one")
    assert repository.commit("HEAD") == first
    git(work_tree, "checkout", "-q", "--detach", second)
    assert repository.commit("HEAD") == second
    # The branch has no file of its own any more: git resolves it each time.
    git(work_tree, "checkout", "-q", "main")
    git(work_tree, "pack-refs", "--all")
    asked.take()
    assert [repository.commit("HEAD") for _ in range(2)] == [second] * 2
    assert asked.take() == ["HEAD"] * 2
    git(work_tree, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(work_tree, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert repository.commit("HEAD") == second
    git(work_tree, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), first)
    assert Repository(tmp_path / "linked").commit("HEAD") == first


@pytest.mark.parametrize("head", ["ref: refs/heads/nothing\n", "ref: refs/heads/../../main\n"])
def test_a_head_without_a_commit_is_none(work_tree: Path, head: str) -> None:
    (work_tree / "main").write_text("0" * 40 + "\n")
    repository = Repository(work_tree)
    assert repository.commit("HEAD") is not None
    (work_tree / ".git/HEAD").write_text(head)
    assert repository.commit("HEAD") is None


@pytest.mark.parametrize("head", ["ref: HEAD\n", ""])
def test_a_repository_without_a_head_is_unreadable(work_tree: Path, head: str) -> None:
    repository = Repository(work_tree)
    assert repository.commit("HEAD") is not None
    (work_tree / ".git/HEAD").write_text(head)
    assert "not a git repository" in unreadable(repository)


def test_a_branch_that_is_a_pipe_or_a_link_is_not_read(work_tree: Path) -> None:
    assert Repository(work_tree).checked_out().commit == git(work_tree, "rev-parse", "HEAD")
    branch = work_tree / ".git/refs/heads/main"
    branch.unlink()
    os.mkfifo(branch)
    assert Repository(work_tree).checked_out().commit is None
    branch.unlink()
    branch.symlink_to(work_tree / "commit")
    (work_tree / "commit").write_text("0" * 40 + "\n")
    assert Repository(work_tree).checked_out().commit is None


def test_a_tag_of_a_tree_is_no_commit(work_tree: Path) -> None:
    git(work_tree, "tag", "tree", "HEAD^{tree}")
    assert Repository(work_tree).commit("tree") is None


def test_a_bare_repository_works_too(work_tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(work_tree), "bare.git")
    assert Repository(tmp_path / "bare.git").commit("HEAD") == git(work_tree, "rev-parse", "HEAD")


def test_a_directory_inside_a_repository_is_no_repository(work_tree: Path, tmp_path: Path) -> None:
    assert "not a git repository" in unreadable(Repository(work_tree / "scripts"))
    assert "No such file" in unreadable(Repository(tmp_path / "nowhere"))


def test_without_git_the_hint_is_to_install_it(work_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(work_tree))
    with pytest.raises(AgentError, match="Install the package git"):
        Repository(work_tree).commit("HEAD")


def test_a_repository_of_another_user_is_read(
    work_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Git's own switch for its tests: it then takes every repository for another user's.
    foreign = "GIT_TEST_ASSUME_DIFFERENT_OWNER=1"
    put_before_git(tmp_path / "bin", monkeypatch, f'{foreign} exec "$GIT" "$@"')
    assert Repository(work_tree).commit("HEAD")
    without_consent = subprocess.run(
        ["git", "-C", str(work_tree), "rev-parse", "HEAD"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "dubious ownership" in without_consent.stderr


def test_the_callers_git_environment_does_not_apply(
    work_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git(work_tree, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "nowhere"))
    assert Repository(work_tree).commit("HEAD") == expected


def test_a_replaced_commit_is_read_as_it_was_committed(work_tree: Path) -> None:
    first = git(work_tree, "rev-parse", "HEAD")
    (work_tree / "scripts/train.py").write_bytes(b"print('replaced')\n")
    git(work_tree, "replace", first, commit(work_tree))
    repository = Repository(work_tree)
    entries = repository.entries(first, "scripts")
    assert entries is not None
    assert list(repository.blobs(entry.oid for entry in entries)) == [b"print(1)\n"]


def test_entries_are_everything_below_a_directory(work_tree: Path) -> None:
    (work_tree / "scripts/sub").mkdir()
    (work_tree / "scripts/sub/run").write_bytes(b"12345")
    (work_tree / "scripts/sub/run").chmod(0o755)
    (work_tree / "scripts/sub/tab\tnew\nline").write_bytes(b"")
    (work_tree / "scripts/link").symlink_to("train.py")
    git(work_tree, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},scripts/module")
    entries = Repository(work_tree).entries(commit(work_tree), "scripts/")
    assert entries is not None
    assert [(entry.path, entry.mode, entry.size) for entry in entries] == [
        ("link", "120000", 8),
        ("sub/run", "100755", 5),
        ("sub/tab\tnew\nline", "100644", 0),
        ("train.py", "100644", 9),
    ]


def test_a_submodule_is_an_entry_without_a_size(work_tree: Path) -> None:
    git(work_tree, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},scripts/module")
    git(work_tree, "commit", "-q", "-m", "submodule")
    entries = Repository(work_tree).entries(git(work_tree, "rev-parse", "HEAD"), "scripts")
    assert entries is not None
    assert ("module", "160000", 0) in [(entry.path, entry.mode, entry.size) for entry in entries]


@pytest.mark.parametrize("directory", ["nothing", "scripts/train.py", "../scripts", "scripts/../scripts"])
def test_only_a_directory_of_a_commit_has_entries(work_tree: Path, directory: str) -> None:
    repository = Repository(work_tree)
    assert repository.entries(git(work_tree, "rev-parse", "HEAD"), directory) is None
    assert repository.entries("0" * 40, "scripts") is None
    assert repository.entries("HEAD", "scripts") is None


def test_a_repository_that_lacks_a_blob_is_unreadable(work_tree: Path) -> None:
    with pytest.raises(AgentError) as caught:
        list(Repository(work_tree).blobs(["1" * 40]))
    assert caught.value.problem is Problem.HOST


def test_git_ends_when_only_some_blobs_are_read(work_tree: Path) -> None:
    blob = git(work_tree, "rev-parse", "HEAD:scripts/train.py")
    blobs = Repository(work_tree).blobs([blob] * 3)
    assert next(blobs) == b"print(1)\n"
    before = len(os.listdir("/proc/self/fd"))
    blobs.close()
    assert len(os.listdir("/proc/self/fd")) < before


def test_the_timeout_does_not_count_while_the_caller_uses_a_blob(
    work_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.scripts.git.TIMEOUT", 3)
    blob = git(work_tree, "rev-parse", "HEAD:scripts/train.py")
    for _ in Repository(work_tree).blobs([blob] * 3):
        # Waits out whatever part of git's timeout still runs.
        for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
            timer.join()


@pytest.fixture
def false_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first git of the PATH, for the test to write."""
    path = tmp_path / "bin/git"
    path.parent.mkdir()
    path.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def test_a_git_that_does_not_answer_times_out(
    work_tree: Path, false_git: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false_git.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("agent.scripts.git.TIMEOUT", 0.1)
    repository = Repository(work_tree)
    with pytest.raises(AgentError, match="longer than"):
        list(repository.blobs(["1" * 40]))
    with pytest.raises(AgentError, match="longer than"):
        repository.entries("1" * 40, "scripts")


def test_a_git_that_exits_before_the_next_blob_ended_early(work_tree: Path, false_git: Path) -> None:
    false_git.write_text("#!/bin/sh\nread oid\nexec <&-\nprintf '%s blob 1\\nx\\n' $oid\n")
    blobs = Repository(work_tree).blobs(["1" * 40] * 2)
    assert next(blobs) == b"x"
    with pytest.raises(AgentError, match="ended early"):
        next(blobs)

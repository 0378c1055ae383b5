import contextlib
import os
import threading
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.scripts import git as git_module
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
def test_what_is_no_plain_name_of_a_commit_is_no_ref(work_tree: Path, ref: str) -> None:
    assert Repository(work_tree).commit(ref) is None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What git itself was asked to name."""
    refs = []
    ask = Repository._named

    def noted(self: Repository, ref: str) -> str | None:
        refs.append(ref)
        return ask(self, ref)

    monkeypatch.setattr(Repository, "_named", noted)
    return refs


@pytest.mark.parametrize("bare", [False, True])
def test_the_head_is_looked_up_by_git_once_for_each_commit(
    work_tree: Path, tmp_path: Path, asked: list[str], *, bare: bool
) -> None:
    first = git(work_tree, "rev-parse", "HEAD")
    path = work_tree
    if bare:
        path = tmp_path / "bare.git"
        git(tmp_path, "init", "-q", "--bare", "-b", "main", str(path))
        git(work_tree, "push", "-q", str(path), "main")
    repository = Repository(path)
    assert [repository.commit("HEAD") for _ in range(3)] == [first] * 3
    assert asked == ["HEAD"]
    second = commit(work_tree)
    if bare:
        git(work_tree, "push", "-q", str(path), "main")
    assert [repository.commit("HEAD") for _ in range(3)] == [second] * 3
    assert asked == ["HEAD"] * 2


def test_the_head_follows_each_way_to_say_it(work_tree: Path, tmp_path: Path, asked: list[str]) -> None:
    first = git(work_tree, "rev-parse", "HEAD")
    second = commit(work_tree)
    repository = Repository(work_tree)
    assert repository.commit("HEAD") == second
    git(work_tree, "branch", "feature/one", first)
    git(work_tree, "checkout", "-q", "feature/one")
    assert repository.commit("HEAD") == first
    git(work_tree, "checkout", "-q", "--detach", second)
    assert repository.commit("HEAD") == second
    # Not a file of its own any more: git says it each time.
    git(work_tree, "checkout", "-q", "main")
    git(work_tree, "pack-refs", "--all")
    asked.clear()
    assert [repository.commit("HEAD") for _ in range(2)] == [second] * 2
    assert asked == ["HEAD"] * 2
    git(work_tree, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(work_tree, "symbolic-ref", "HEAD", "refs/heads/alias")
    assert repository.commit("HEAD") == second
    git(work_tree, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), first)
    assert Repository(tmp_path / "linked").commit("HEAD") == first


@pytest.mark.parametrize(
    "head", ["ref: refs/heads/nothing\n", "ref: refs/heads/../../main\n", "ref: HEAD\n", ""]
)
def test_a_head_that_names_no_commit_is_gits_to_judge(work_tree: Path, head: str) -> None:
    (work_tree / "main").write_text("0" * 40 + "\n")
    repository = Repository(work_tree)
    assert repository.commit("HEAD") is not None
    (work_tree / ".git/HEAD").write_text(head)
    with contextlib.suppress(AgentError):
        assert repository.commit("HEAD") is None


def test_a_branch_that_is_a_pipe_is_not_waited_for(work_tree: Path) -> None:
    assert Repository(work_tree)._plain_head() == git(work_tree, "rev-parse", "HEAD")
    branch = work_tree / ".git/refs/heads/main"
    branch.unlink()
    os.mkfifo(branch)
    assert Repository(work_tree)._plain_head() is None
    branch.unlink()
    branch.symlink_to(work_tree / "commit")
    (work_tree / "commit").write_text("0" * 40 + "\n")
    assert Repository(work_tree)._plain_head() is None


def test_a_tag_of_a_tree_is_no_commit(work_tree: Path) -> None:
    git(work_tree, "tag", "tree", "HEAD^{tree}")
    assert Repository(work_tree).commit("tree") is None


def test_a_bare_repository_serves_as_well(work_tree: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(work_tree), "bare.git")
    assert Repository(tmp_path / "bare.git").commit("HEAD") == git(work_tree, "rev-parse", "HEAD")


def test_a_directory_inside_another_repository_is_none(work_tree: Path, tmp_path: Path) -> None:
    assert "not a git repository" in unreadable(Repository(work_tree / "scripts"))
    assert "No such file" in unreadable(Repository(tmp_path / "nowhere"))


def test_a_host_without_git_is_told_to_install_it(work_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(work_tree))
    with pytest.raises(AgentError, match="Install the package git"):
        Repository(work_tree).commit("HEAD")


def test_a_repository_of_another_user_is_read(work_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Git's own switch for its tests: it then believes that whatever it sees is somebody else's.
    foreign = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    environment = Repository._environment
    monkeypatch.setattr(Repository, "_environment", lambda self: environment(self) | foreign)
    assert Repository(work_tree).commit("HEAD")
    with monkeypatch.context() as patched:
        patched.setattr(Repository, "_environment", lambda self: foreign | {"PATH": os.environ["PATH"]})
        assert "dubious ownership" in unreadable(Repository(work_tree))


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
def test_what_is_no_directory_of_the_commit_has_no_entries(work_tree: Path, directory: str) -> None:
    repository = Repository(work_tree)
    assert repository.entries(git(work_tree, "rev-parse", "HEAD"), directory) is None
    assert repository.entries("0" * 40, "scripts") is None
    assert repository.entries("HEAD", "scripts") is None


def test_a_repository_that_lacks_a_blob_is_unreadable(work_tree: Path) -> None:
    with pytest.raises(AgentError) as caught:
        list(Repository(work_tree).blobs(["1" * 40]))
    assert caught.value.problem is Problem.HOST


def test_git_is_gone_when_only_some_blobs_are_read(work_tree: Path) -> None:
    blob = git(work_tree, "rev-parse", "HEAD:scripts/train.py")
    blobs = Repository(work_tree).blobs([blob] * 3)
    assert next(blobs) == b"print(1)\n"
    before = len(os.listdir("/proc/self/fd"))
    blobs.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) < before


def test_git_is_not_given_up_while_a_blob_that_it_gave_is_put_to_use(
    work_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "TIMEOUT", 3)
    blob = git(work_tree, "rev-parse", "HEAD:scripts/train.py")
    for _ in Repository(work_tree).blobs([blob] * 3):
        # Longer than git's own time, if any of it is still counted.
        for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
            timer.join()


@pytest.fixture
def false_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that is taken for git, for the test to write."""
    path = tmp_path / "bin/git"
    path.parent.mkdir()
    path.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def test_a_git_that_does_not_answer_is_given_up(
    work_tree: Path, false_git: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false_git.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(git_module, "TIMEOUT", 0.1)
    repository = Repository(work_tree)
    with pytest.raises(AgentError, match="ended early"):
        list(repository.blobs(["1" * 40]))
    with pytest.raises(AgentError, match="longer than"):
        repository.entries("1" * 40, "scripts")


def test_a_git_that_is_gone_before_the_next_question_ended_early(work_tree: Path, false_git: Path) -> None:
    false_git.write_text("#!/bin/sh\nread oid\nexec <&-\nprintf '%s blob 1\\nx\\n' $oid\n")
    blobs = Repository(work_tree).blobs(["1" * 40] * 2)
    assert next(blobs) == b"x"
    with pytest.raises(AgentError, match="ended early"):
        next(blobs)

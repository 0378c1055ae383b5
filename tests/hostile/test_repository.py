"""Hostile names in the scripts' repository, and hostile names for it."""

import subprocess
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.model.ref import is_object_id, is_ref_name
from agent.scripts.git import Repository
from agent.scripts.snapshots import MAX_LEFT_OUT, Snapshots
from tests.support.git_repository import IDENTITY, git

from .corpus import VALUES


def as_name(text: str) -> bytes | None:
    """The text as the name of one file, or None where Linux has no such file."""
    data = text.encode("utf-8", "surrogatepass")
    return None if b"\0" in data or b"/" in data or not 0 < len(data) <= 255 else data


def committed(repository: Path, names: list[bytes]) -> str:
    """A commit with files of these names in its scripts' directory, as no `git add` would make it."""
    blob = git(repository, "hash-object", "-w", "--stdin", stdin=b"print('hello')\n")
    entries = b"".join(f"100644 blob {blob}\t".encode() + name + b"\0" for name in sorted(names))
    scripts = git(repository, "mktree", "-z", stdin=entries)
    tree = git(repository, "mktree", stdin=f"040000 tree {scripts}\tscripts\n".encode())
    return git(repository, "commit-tree", "-m", "hostile", tree)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    return path


async def test_files_of_any_name_stay_in_the_snapshot_and_few_are_scripts(
    repository: Path, tmp_path: Path
) -> None:
    names = {name for text in VALUES if (name := as_name(text))} - {b".", b".."}
    commit = committed(repository, list(names))
    root = tmp_path / "snapshots"
    snapshots = Snapshots(repository, "scripts", root)
    tree = await snapshots.tree(commit)
    assert {bytes(path).rpartition(b"/")[2] for path in tree.iterdir()} == names
    assert [path.name for path in root.iterdir()] == [commit]
    offered = {script.script_name for script in (await snapshots.catalogue(commit)).scripts}
    assert offered == {"succeed.py", "aux.py"}


@pytest.mark.parametrize("name", [b".", b".."])
async def test_a_name_that_leads_out_of_a_snapshot_makes_its_commit_useless(
    repository: Path, tmp_path: Path, name: bytes
) -> None:
    snapshots = Snapshots(repository, "scripts", tmp_path / "snapshots")
    commit = committed(repository, [name, b"succeed.py"])
    with pytest.raises(AgentError) as caught:
        await snapshots.tree(commit)
    assert (caught.value.problem, caught.value.fields[0].field) == (Problem.INVALID_REQUEST, "ref")
    assert snapshots.commits() == []


def test_a_ref_of_any_name_is_the_one_that_has_it_or_none(repository: Path) -> None:
    head, other = committed(repository, [b"a.py"]), committed(repository, [b"b.py"])
    git(repository, "update-ref", "refs/heads/main", head)
    branches = {text for text in VALUES if text not in ("main", "HEAD") and made(repository, text, other)}
    assert len(branches) > 100
    reader = Repository(repository)
    found = {text: reader.commit(text) for text in VALUES}
    assert found["main"] == found["HEAD"] == head
    for text, commit in found.items():
        assert commit in (None, other if text in branches else head), text
        if text in branches and is_ref_name(text) and not is_object_id(text):  # which is an id first
            assert commit == other, text
        if commit is None:
            assert reader.why_no_commit(text)


async def test_a_link_to_any_place_stays_in_the_snapshot_or_is_left_out(
    repository: Path, tmp_path: Path
) -> None:
    places = [
        data for text in VALUES if (data := text.encode("utf-8", "surrogatepass")) and b"\0" not in data
    ]
    names = [f"{number:04}.py".encode() for number in range(len(places))]
    blobs = [git(repository, "hash-object", "-w", "--stdin", stdin=place) for place in places]
    entries = b"".join(
        f"120000 blob {blob}\t".encode() + name + b"\0" for blob, name in zip(blobs, names, strict=True)
    )
    scripts = git(repository, "mktree", "-z", stdin=entries)
    tree = git(repository, "mktree", stdin=f"040000 tree {scripts}\tscripts\n".encode())
    commit = git(repository, "commit-tree", "-m", "hostile", tree)
    snapshots = Snapshots(repository, "scripts", tmp_path / "snapshots")
    snapshot = await snapshots.tree(commit)
    assert list(snapshot.iterdir()) == []
    left_out = (await snapshots.catalogue(commit)).left_out
    assert len(left_out) == MAX_LEFT_OUT
    assert all(each.reason.startswith("is a link to ") and each.reason.isprintable() for each in left_out)
    assert len(await snapshots.left_out(commit)) == len(places)


def made(repository: Path, name: str, commit: str) -> bool:
    """Makes a branch of the name, where git takes it for one."""
    data = name.encode("utf-8", "surrogatepass")
    if b"\0" in data or len(data) > 200:
        return False
    command = [b"git", b"update-ref", b"refs/heads/" + data, commit.encode()]
    ran = subprocess.run(command, cwd=repository, env=IDENTITY, capture_output=True, check=False)
    return ran.returncode == 0

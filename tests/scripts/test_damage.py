"""Repositories that lack something: partial and shallow clones, lost and damaged objects, broken names."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.scripts.snapshots import Snapshots
from tests.support.git_repository import commit, git


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    path = tmp_path / "upstream"
    (path / "scripts/team").mkdir(parents=True)
    (path / "scripts/a.py").write_text("print(1)\n")
    (path / "scripts/team/b.py").write_text("print(2)\n")
    git(path, "init", "-q", "-b", "main")
    git(path, "config", "uploadpack.allowFilter", "true")
    commit(path)
    return path


@pytest.fixture
def repository(upstream: Path, tmp_path: Path) -> Path:
    """A repository whose objects are a file each."""
    return Path(shutil.copytree(upstream, tmp_path / "repository"))


def object_file(repository: Path, name: str) -> Path:
    oid = git(repository, "rev-parse", name)
    return repository / ".git/objects" / oid[:2] / oid[2:]


async def fault(repository: Path, tmp_path: Path) -> AgentError:
    """What both readers of the current commit say, who start without having seen it."""
    said = []
    for read in (Snapshots.catalogue, Snapshots.tree):
        snapshots = Snapshots(repository, "scripts", tmp_path / "state")
        with pytest.raises(AgentError) as caught:
            await read(snapshots, await snapshots.resolve())
        said.append(caught.value)
    assert {error.problem for error in said} == {Problem.HOST}
    assert not any((tmp_path / "state").glob("[!.]*"))
    return said[0]


DAMAGED = {
    "commit": "HEAD",
    "root tree": "HEAD^{tree}",
    "tree of the scripts": "HEAD:scripts",
    "tree below it": "HEAD:scripts/team",
    "script": "HEAD:scripts/a.py",
    "script below it": "HEAD:scripts/team/b.py",
}


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-6] + bytes(byte ^ 0xFF for byte in data[-6:]))


@pytest.mark.parametrize("harm", [lose, empty, garble])
@pytest.mark.parametrize("name", DAMAGED.values(), ids=list(DAMAGED))
async def test_a_lost_or_damaged_object_is_the_hosts_fault_and_says_how_to_find_it(
    repository: Path, tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(object_file(repository, name))
    error = await fault(repository, tmp_path)
    assert "damaged or incomplete" in error.message
    assert f"git -C {repository} fsck" in error.hint


@pytest.mark.parametrize("kept", ["blob:none", "tree:0"])
async def test_a_partial_clone_says_how_to_fetch_what_it_lacks(
    upstream: Path, tmp_path: Path, kept: str
) -> None:
    git(tmp_path, "clone", "-q", f"--filter={kept}", "--no-checkout", f"file://{upstream}", "partial")
    partial = tmp_path / "partial"
    error = await fault(partial, tmp_path)
    assert "It is a partial clone" in error.hint
    # The remedy is the one that works.
    for command in error.hint.split("`")[1::2]:
        assert command.startswith(f"git -C {partial} ")
        git(partial, *command.split()[3:])
    snapshots = Snapshots(partial, "scripts", tmp_path / "state")
    found = await snapshots.catalogue(await snapshots.resolve())
    assert [script.script_name for script in found.scripts] == ["a.py", "team/b.py"]


async def test_a_partial_clone_that_is_whole_today_lacks_what_comes_next(
    upstream: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{upstream}", "partial")
    (upstream / "scripts/c.py").write_text("print(3)\n")
    commit(upstream)
    git(tmp_path / "partial", "fetch", "-q")
    snapshots = Snapshots(tmp_path / "partial", "scripts", tmp_path / "state")
    assert (await snapshots.catalogue(await snapshots.resolve())).scripts
    with pytest.raises(AgentError, match="partial clone") as caught:
        await snapshots.catalogue(await snapshots.resolve("origin/main"))
    assert caught.value.problem is Problem.HOST


async def test_a_commit_beyond_the_end_of_a_shallow_clone_says_so(upstream: Path, tmp_path: Path) -> None:
    first = git(upstream, "rev-parse", "HEAD")
    commit(upstream)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{upstream}", "shallow")
    snapshots = Snapshots(tmp_path / "shallow", "scripts", tmp_path / "state")
    assert (await snapshots.catalogue(await snapshots.resolve())).scripts
    with pytest.raises(AgentError, match="shallow clone") as caught:
        await snapshots.resolve(first)
    assert caught.value.problem is Problem.REF_NOT_FOUND


async def test_a_branch_that_is_checked_out_and_gone_is_named(repository: Path, tmp_path: Path) -> None:
    git(repository, "symbolic-ref", "HEAD", "refs/heads/gone")
    with pytest.raises(
        AgentError, match="has checked out refs/heads/gone, which is no branch of it"
    ) as caught:
        await Snapshots(repository, "scripts", tmp_path / "state").resolve()
    assert caught.value.problem is Problem.HOST


@pytest.mark.parametrize("text", ["", "junk\n", "0" * 40 + "\n"])
async def test_a_broken_file_of_a_branch_is_the_hosts_fault(
    repository: Path, tmp_path: Path, text: str
) -> None:
    git(repository, "branch", "other")
    (repository / ".git/refs/heads/main").write_text(text)
    for ref in (None, "main"):
        with pytest.raises(AgentError, match=r"refs/heads/main|0{40}") as caught:
            await Snapshots(repository, "scripts", tmp_path / "state").resolve(ref)
        assert caught.value.problem is Problem.HOST


async def test_damaged_packed_refs_are_the_hosts_fault(repository: Path, tmp_path: Path) -> None:
    git(repository, "pack-refs", "--all")
    with (repository / ".git/packed-refs").open("a") as file:
        file.write("junk\n")
    for ref in ("main", "nothing", "0" * 40):
        with pytest.raises(AgentError, match="packed-refs") as caught:
            await Snapshots(repository, "scripts", tmp_path / "state").resolve(ref)
        assert caught.value.problem is Problem.HOST


async def test_a_tag_whose_commit_is_lost_is_the_hosts_fault(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "-a", "v1", "-m", "v1")
    commit(repository)
    object_file(repository, first).unlink()
    with pytest.raises(AgentError, match=f"lacks the object {first} of v1") as caught:
        await Snapshots(repository, "scripts", tmp_path / "state").resolve("v1")
    assert caught.value.problem is Problem.HOST


async def test_a_pack_that_is_cut_short_is_the_hosts_fault(upstream: Path, tmp_path: Path) -> None:
    git(upstream, "gc", "-q")
    (pack,) = (upstream / ".git/objects/pack").glob("*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[: pack.stat().st_size // 2])
    snapshots = Snapshots(upstream, "scripts", tmp_path / "state")
    with pytest.raises(AgentError) as caught:
        await snapshots.catalogue(await snapshots.resolve())
    assert caught.value.problem is Problem.HOST


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nothing", "has no directory scripts"),
        ("file", "has a file where a directory scripts is expected"),
        ("link", "has a link where a directory scripts is expected"),
        ("submodule", "has a submodule where a directory scripts is expected"),
    ],
)
async def test_what_is_no_directory_of_scripts_is_named(tmp_path: Path, kind: str, told: str) -> None:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    (path / "README").touch()
    match kind:
        case "file":
            (path / "scripts").touch()
        case "link":
            (path / "elsewhere").mkdir()
            (path / "elsewhere/a.py").touch()
            (path / "scripts").symlink_to("elsewhere")
    git(path, "add", ".")
    if kind == "submodule":
        git(path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},scripts")
    git(path, "commit", "-q", "-m", "first")
    snapshots = Snapshots(path, "scripts", tmp_path / "state")
    current = await snapshots.resolve()
    with pytest.raises(AgentError, match=told) as caught:
        await snapshots.catalogue(current)
    assert (caught.value.problem, caught.value.fields[0].field) == (Problem.REF_NOT_FOUND, "ref")
    assert current[:12] in caught.value.message
    assert "scripts.directory" in caught.value.hint

import asyncio
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.host.files import sync
from agent.scripts import layout
from agent.scripts import snapshots as snapshots_module
from agent.scripts.git import Repository
from agent.scripts.snapshots import PARTIAL, Snapshots
from tests.support.git_repository import commit, drop_last_commit, git
from tests.support.waiting import until

BLOCK = '# /// ml-job\n# description = "Trains."\n# ///\n'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    (path / "scripts/churn").mkdir(parents=True)
    (path / "README.md").write_text("outside")
    (path / "scripts/train_churn_model.py").write_text(BLOCK)
    (path / "scripts/churn/explore.py").write_text("print(1)\n")
    (path / "scripts/_common.py").write_text("")
    git(path, "init", "-q", "-b", "main")
    commit(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "state/snapshots"


@pytest.fixture
def snapshots(repository: Path, root: Path) -> Snapshots:
    return Snapshots(repository, "scripts", root)


def contents(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


async def names(snapshots: Snapshots) -> list[str]:
    found = await snapshots.catalogue(await snapshots.resolve())
    return [script.script_name for script in found.scripts]


async def test_a_ref_resolves_to_a_commit_and_no_ref_to_the_current_one(
    snapshots: Snapshots, repository: Path
) -> None:
    first = await snapshots.resolve()
    second = commit(repository)
    assert await snapshots.resolve() == second
    assert await snapshots.resolve("main") == second
    assert await snapshots.resolve(first) == first


@pytest.mark.parametrize("ref", ["nothing", "", "--help", "main..main"])
async def test_a_ref_that_is_no_commit_is_refused_with_its_field(snapshots: Snapshots, ref: str) -> None:
    with pytest.raises(AgentError) as caught:
        await snapshots.resolve(ref)
    assert caught.value.problem is Problem.REF_NOT_FOUND
    assert [field.field for field in caught.value.fields] == ["ref"]


async def test_a_repository_without_a_commit_is_the_hosts_fault(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(AgentError) as caught:
        await Snapshots(tmp_path, "scripts", tmp_path / "state").resolve()
    assert caught.value.problem is Problem.HOST


async def test_a_tree_has_the_directory_at_the_commit_and_nothing_else(
    snapshots: Snapshots, repository: Path, root: Path
) -> None:
    first = await snapshots.resolve()
    (repository / "scripts/train_churn_model.py").write_text("changed")
    commit(repository)
    tree = await snapshots.tree(first)
    assert tree == root / first
    assert contents(tree) == {
        "train_churn_model.py": BLOCK.encode(),
        "churn/explore.py": b"print(1)\n",
        "_common.py": b"",
    }
    assert [path.name for path in root.iterdir()] == [first]


async def test_a_tree_is_read_only_and_keeps_executable_modes(snapshots: Snapshots, repository: Path) -> None:
    (repository / "scripts/run").touch(0o755)
    commit(repository)
    tree = await snapshots.tree(await snapshots.resolve())
    modes = {str(path.relative_to(tree)): stat.S_IMODE(path.stat().st_mode) for path in tree.rglob("*")}
    assert modes == {
        "run": 0o555,
        "churn": 0o555,
        "churn/explore.py": 0o444,
        "_common.py": 0o444,
        "train_churn_model.py": 0o444,
    }
    assert stat.S_IMODE(tree.stat().st_mode) == 0o555


async def test_files_have_the_committed_bytes_despite_attributes_and_filters(
    snapshots: Snapshots, repository: Path
) -> None:
    (repository / "scripts/.gitattributes").write_text(
        "a.py export-subst\nb.py export-ignore\nc.py eol=crlf filter=evil\nd.py ident\n"
    )
    expected = {}
    for name in "abcd":
        expected[f"{name}.py"] = b"$Format:%H$ $Id$\nx\n"
        (repository / f"scripts/{name}.py").write_bytes(expected[f"{name}.py"])
    git(repository, "config", "filter.evil.clean", "cat")
    commit(repository)
    git(repository, "config", "filter.evil.smudge", "tr a-z A-Z")
    tree = await snapshots.tree(await snapshots.resolve())
    assert contents(tree).items() >= expected.items()


async def test_links_within_the_directory_are_copies_and_others_are_left_out_with_the_reason(
    snapshots: Snapshots, repository: Path
) -> None:
    links = {
        "copy.py": "train_churn_model.py",
        "churn/up.py": "../train_churn_model.py",
        "absolute.py": "/etc/passwd",
        "outside.py": "../README.md",
        "around.py": "../scripts/train_churn_model.py",
        "chain.py": "copy.py",
        "itself.py": "itself.py",
        "directory": "churn",
        "dangling.py": "nothing.py",
    }
    for name, target in links.items():
        (repository / "scripts" / name).symlink_to(target)
    current = commit(repository)
    tree = await snapshots.tree(current)
    assert contents(tree).keys() == {
        "_common.py",
        "train_churn_model.py",
        "churn/explore.py",
        "chain.py",
        "copy.py",
        "churn/up.py",
        "directory/explore.py",
        "directory/up.py",
    }
    assert not [path for path in tree.rglob("*") if path.is_symlink()]
    assert {"chain.py", "copy.py", "directory/up.py"} <= set(await names(snapshots))
    assert await snapshots.left_out(current) == {
        "absolute.py": "is a link to /etc/passwd: it leads out of the scripts' directory",
        "around.py": "is a link to ../scripts/train_churn_model.py: it leads out of the scripts' directory",
        "dangling.py": "is a link to nothing.py: nothing is there",
        "itself.py": "is a link to itself.py: it leads in a circle",
        "outside.py": "is a link to ../README.md: it leads out of the scripts' directory",
    }
    with pytest.raises(AgentError, match=r"is a link to \.\./README.md") as caught:
        await snapshots.script(current, "outside.py")
    assert caught.value.problem is Problem.SCRIPT_NOT_FOUND


async def test_a_submodule_is_left_out(snapshots: Snapshots, repository: Path) -> None:
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},scripts/module")
    git(repository, "commit", "-q", "-m", "submodule")
    tree = await snapshots.tree(await snapshots.resolve())
    assert not (tree / "module").exists()
    assert await snapshots.left_out(await snapshots.resolve()) == {
        "module": "is a submodule: its files are in another repository"
    }


async def test_a_tree_made_by_hand_cannot_write_outside_itself(
    snapshots: Snapshots, repository: Path, root: Path
) -> None:
    blob = git(repository, "rev-parse", "HEAD:README.md")
    hostile = b"100644 ..\0" + bytes.fromhex(blob)
    inner = git(repository, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=hostile)
    outer = b"40000 scripts\0" + bytes.fromhex(inner)
    tree = git(repository, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=outer)
    made = git(repository, "commit-tree", tree, "-m", "hostile")
    with pytest.raises(AgentError, match="outside its directory"):
        await snapshots.tree(made)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("bound", "value", "complaint"),
    [
        ("MAX_FILES", 2, "has 3 files"),
        ("MAX_TREE_BYTES", 20, "bytes below the scripts' directory; at most 20"),
        ("MAX_FILE_BYTES", 20, "has train_churn_model.py with"),
    ],
)
async def test_a_commit_past_a_bound_is_refused_before_anything_is_written(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, complaint: str
) -> None:
    monkeypatch.setattr(layout, bound, value)
    current = await snapshots.resolve()
    for call in (snapshots.catalogue, snapshots.tree):
        with pytest.raises(AgentError, match=complaint) as caught:
            await call(current)
        assert caught.value.problem is Problem.INVALID_REQUEST
    assert not root.exists() or list(root.iterdir()) == []


@pytest.mark.parametrize(
    "made_up", ["main", "HEAD", "../x", "0" * 39, "0" * 40, "g" * 40, "A" * 40, "0" * 40 + "\n"]
)
async def test_only_a_full_commit_id_has_a_tree(snapshots: Snapshots, root: Path, made_up: str) -> None:
    for call in (snapshots.tree, snapshots.catalogue):
        with pytest.raises(AgentError) as caught:
            await call(made_up)
        assert caught.value.problem is Problem.REF_NOT_FOUND
    assert not root.exists() or list(root.iterdir()) == []


async def test_a_commit_without_the_directory_has_no_scripts(repository: Path, root: Path) -> None:
    elsewhere = Snapshots(repository, "training", root)
    with pytest.raises(AgentError, match="has no directory training") as caught:
        await elsewhere.catalogue(await elsewhere.resolve())
    assert caught.value.problem is Problem.REF_NOT_FOUND


async def test_concurrent_callers_share_one_extraction(
    snapshots: Snapshots, repository: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    entries = Repository.entries

    def counted(self: Repository, commit: str, directory: str) -> object:
        reads.append(commit)
        return entries(self, commit, directory)

    monkeypatch.setattr(Repository, "entries", counted)
    current = await snapshots.resolve()
    another = Snapshots(repository, "scripts", root)
    trees = await asyncio.gather(*(each.tree(current) for each in (snapshots, another) for _ in range(10)))
    assert set(trees) == {root / current}
    assert reads == [current]


async def test_the_remains_of_a_crash_are_no_tree_and_are_deleted(snapshots: Snapshots, root: Path) -> None:
    left = root / f"{PARTIAL}crash" / "sub"
    left.mkdir(parents=True)
    (left / "file").touch(0o444)
    left.chmod(0o555)
    current = await snapshots.resolve()
    await snapshots.tree(current)
    assert [path.name for path in root.iterdir()] == [current]


async def test_a_failed_extraction_leaves_nothing_and_can_be_retried(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    current = await snapshots.resolve()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(AgentError) as caught:
            await snapshots.tree(current)
    assert caught.value.problem is Problem.STORAGE_FULL
    assert list(root.iterdir()) == []
    assert (await snapshots.tree(current)).is_dir()


async def test_a_cancelled_caller_does_not_disturb_the_next(
    snapshots: Snapshots, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def slow(directory: Path) -> None:
        writing.set()
        go_on.wait(10)
        sync(directory)

    monkeypatch.setattr(snapshots_module, "sync", slow)
    current = await snapshots.resolve()
    first = asyncio.create_task(snapshots.tree(current))
    await asyncio.to_thread(writing.wait, 10)
    first.cancel()
    second = asyncio.create_task(snapshots.tree(current))
    await asyncio.sleep(0)
    go_on.set()
    assert contents(await second).keys() == {"_common.py", "train_churn_model.py", "churn/explore.py"}
    assert [path.name for path in root.iterdir()] == [current]


@pytest.mark.parametrize("method", ["tree", "catalogue"])
async def test_cancelled_callers_occupy_only_one_thread(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    reads: list[str] = []
    go_on = threading.Event()
    entries = Repository.entries

    def slow(self: Repository, commit: str, directory: str) -> object:
        reads.append(commit)
        go_on.wait(30)
        return entries(self, commit, directory)

    async def reading() -> list[str]:
        return reads

    current = await snapshots.resolve()
    monkeypatch.setattr(Repository, "entries", slow)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    call = getattr(snapshots, method)
    try:
        for _ in range(3):
            caller = asyncio.create_task(call(current))
            await until(reading)
            await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait([caller])
        async with asyncio.timeout(10):
            await asyncio.to_thread(int)  # other work still finds a thread
    finally:
        go_on.set()
    await call(current)
    assert reads == [current]


async def test_a_retired_tree_is_gone_and_can_be_written_again(snapshots: Snapshots, root: Path) -> None:
    current = await snapshots.resolve()
    assert snapshots.commits() == []
    tree = await snapshots.tree(current)
    for _ in range(2):
        assert snapshots.commits() == [current]
        snapshots.retire(current)
        assert snapshots.commits() == []
        assert await snapshots.tree(current) == tree
    snapshots.retire(current)
    snapshots.retire(current)
    await snapshots.sweep()
    assert list(root.iterdir()) == []


async def test_a_catalogue_lists_scripts_and_writes_no_file(
    snapshots: Snapshots, repository: Path, root: Path
) -> None:
    for name in (
        ".hidden.py",
        "notes.txt",
        "-option.py",
        "with space.py",
        "ümlaut.py",
        "new\nline.py",
        ".py",
    ):
        (repository / "scripts" / name).touch()
    for directory in ("_private", ".git2", "deep/er"):
        (repository / "scripts" / directory).mkdir(parents=True)
        (repository / "scripts" / directory / "a.py").touch()
    (repository / "scripts" / "long").mkdir()
    (repository / "scripts" / "long" / ("a" * 248 + ".py")).touch()
    commit(repository)
    assert await names(snapshots) == ["churn/explore.py", "deep/er/a.py", "train_churn_model.py"]
    assert not root.exists()


async def test_a_catalogue_describes_each_script(snapshots: Snapshots) -> None:
    found = await snapshots.catalogue(await snapshots.resolve())
    assert [(script.script_name, script.description, script.any_parameters) for script in found.scripts] == [
        ("churn/explore.py", "", True),
        ("train_churn_model.py", "Trains.", False),
    ]
    assert found.commit == await snapshots.resolve()


async def test_a_catalogue_is_read_once_per_commit(
    snapshots: Snapshots, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots_module, "MAX_CATALOGUES", 1)
    first = await snapshots.resolve()
    script = await snapshots.script(first, "train_churn_model.py")
    assert await snapshots.script(first, "train_churn_model.py") is script
    await snapshots.catalogue(commit(repository))
    assert await snapshots.script(first, "train_churn_model.py") is not script


async def test_a_commit_that_git_has_dropped_is_none_whatever_is_left_of_its_tree(
    snapshots: Snapshots, repository: Path, root: Path
) -> None:
    current = await snapshots.resolve()
    await snapshots.tree(current)
    drop_last_commit(repository)
    with pytest.raises(AgentError) as caught:
        await Snapshots(repository, "scripts", root).catalogue(current)
    assert caught.value.problem is Problem.REF_NOT_FOUND


@pytest.mark.parametrize(
    "name",
    [
        "",
        "train_churn_model",
        "train_churn_model.py/",
        "./train_churn_model.py",
        "/train_churn_model.py",
        "/etc/passwd",
        "../README.md",
        "../scripts/train_churn_model.py",
        "churn/../train_churn_model.py",
        "churn\\explore.py",
        "churn//explore.py",
        "churn",
        "TRAIN_CHURN_MODEL.PY",
        "train_chürn_model.py",
        "tr\u0430in_churn_model.py",
        "train_churn_model.py\0",
        "train_churn_model.py\n",
        "train_churn_model.py; true",
        "train_churn_model%2epy",
        "_common.py",
        "scripts/train_churn_model.py",
        "-c",
    ],
)
async def test_a_name_that_is_not_in_the_catalogue_is_refused_with_its_field(
    snapshots: Snapshots, root: Path, name: str
) -> None:
    with pytest.raises(AgentError) as caught:
        await snapshots.script(await snapshots.resolve(), name)
    assert caught.value.problem is Problem.SCRIPT_NOT_FOUND
    assert [field.field for field in caught.value.fields] == ["script_name"]
    assert caught.value.message.isascii()
    assert not root.exists()


@pytest.mark.parametrize("name", ["train_churn_modle.py", "TRAIN_CHURN_MODEL.py", "train_churn_model"])
async def test_a_misspelt_name_is_refused_with_the_right_one(snapshots: Snapshots, name: str) -> None:
    with pytest.raises(AgentError) as caught:
        await snapshots.script(await snapshots.resolve(), name)
    assert caught.value.hint == "Did you mean train_churn_model.py?"


async def test_a_script_with_a_malformed_block_is_not_listed_and_the_reason_is_given(
    snapshots: Snapshots, repository: Path
) -> None:
    (repository / "scripts/bad.py").write_text('"""Bad."""\n# /// ml-job\n# descripton = "x"\n# ///\n')
    (repository / "scripts/binary.py").write_bytes(b"\xff")
    current = commit(repository)
    assert await names(snapshots) == ["churn/explore.py", "train_churn_model.py"]
    for name, why in (("bad.py", "descripton: is no key"), ("binary.py", "must be UTF-8 text")):
        with pytest.raises(AgentError, match=why) as caught:
            await snapshots.script(current, name)
        assert caught.value.problem is Problem.INVALID_REQUEST
        assert [field.field for field in caught.value.fields] == ["script_name"]


async def test_snapshots_are_kept_within_a_bound_and_those_used_last_stay(
    snapshots: Snapshots, repository: Path, root: Path
) -> None:
    commits = []
    for number in range(4):
        (repository / "scripts/data.txt").write_text(str(number) * 100_000)
        commits.append(commit(repository))
        tree = await snapshots.tree(commits[-1])
        os.utime(tree, (number, number))
    await snapshots.tree(commits[0])  # used again
    size = await snapshots.taken(commits[:1])
    assert 100_000 < size <= await snapshots.tree_bytes(commits[0]) < 150_000
    await snapshots.keep_within(4 * size, set())
    assert snapshots.commits() == sorted(commits)
    await snapshots.keep_within(2 * size, {commits[1]})
    assert snapshots.commits() == sorted((commits[0], commits[1]))
    assert sorted(os.listdir(root)) == snapshots.commits()
    await snapshots.keep_within(0, {commits[1]})
    assert snapshots.commits() == [commits[1]]
    assert not snapshots.has_tree(commits[2])
    await snapshots.tree(commits[2])
    assert snapshots.has_tree(commits[2])

"""What is listed of a commit, and what is named as left out."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from agent.scripts.git import Entry
from agent.scripts.layout import Layout
from agent.scripts.snapshots import (
    LFS_POINTER,
    MAX_LEFT_OUT,
    NAME_RULE,
    PAGE,
    Catalogue,
    Snapshots,
    catalogue,
)
from tests.support.git_repository import commit, git
from tests.support.waiting import run

POINTER = LFS_POINTER + b"oid sha256:" + b"4" * 64 + b"\nsize 12345\n"


def catalogued(files: dict[str, bytes]) -> Catalogue:
    entries = {path: Entry(path, "100644", path, len(data)) for path, data in files.items()}

    def read(oids: Iterable[str]) -> Iterable[bytes]:
        return [files[oid] for oid in oids]

    return catalogue(Layout(entries), read)


@pytest.mark.parametrize(
    "name",
    [
        "with space.py",
        "c++.py",
        "größe.py",
        "-option.py",
        "a/b c/d.py",
        "new\nline.py",
        "a" * 253 + ".py",
        "日本.py",
    ],
)
def test_a_name_that_no_script_can_have_is_left_out_with_the_rule(name: str) -> None:
    found = catalogued({name: b"", "a.py": b""})
    assert found.scripts.keys() == {"a.py"}
    assert found.left_out == {name: NAME_RULE}


@pytest.mark.parametrize(
    "name", ["_common.py", ".hidden.py", "_lib/with space.py", ".git2/ü.py", "notes ü.txt", ".py"]
)
def test_helpers_and_other_files_are_no_scripts_without_a_remark(name: str) -> None:
    # The snapshot has the file all the same.
    assert catalogued({name: b""}) == Catalogue(tree_bytes=PAGE)


@pytest.mark.parametrize("name", ["train.py", "data.parquet", "_model.py"])
def test_a_pointer_of_git_lfs_is_named_and_is_no_script(name: str) -> None:
    found = catalogued({name: POINTER})
    assert found.scripts == {}
    assert found.left_out == {name: "is a pointer of Git LFS: its content is not in the repository"}


def test_what_only_mentions_git_lfs_is_a_script() -> None:
    files = {"long.py": LFS_POINTER + b"#" * 2000, "later.py": b"# " + LFS_POINTER * 2}
    assert catalogued(files).scripts.keys() == files.keys()


def test_an_answer_names_the_first_paths_that_are_left_out_and_counts_all() -> None:
    files = {f"{number:04} .py": b"" for number in range(MAX_LEFT_OUT + 7)} | {"a.py": b"\xff"}
    listing = catalogued(files).listing("0" * 40)
    assert [each.path for each in listing.left_out] == [f"{number:04} .py" for number in range(MAX_LEFT_OUT)]
    assert listing.left_out_count == MAX_LEFT_OUT + 8


def test_a_malformed_block_is_a_reason_to_be_left_out() -> None:
    found = catalogued({"bad.py": b"# /// ml-job\n# descripton = 'x'\n# ///\n"})
    assert found.all_left_out()["bad.py"].startswith(
        "cannot be run: its ml-job block is malformed: descripton"
    )


def test_a_name_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    listing = catalogued({"gr\udcf6\udcdfe.py": b"", "\u202eyp.py": b""}).listing("0" * 40)
    assert [each.path for each in listing.left_out] == [r"gr\udcf6\udcdfe.py", r"\u202eyp.py"]
    assert listing.model_dump_json()


async def test_what_git_adds_is_found_in_a_real_repository(tmp_path: Path) -> None:
    lib, path = tmp_path / "lib", tmp_path / "repository"
    lib.mkdir()
    git(lib, "init", "-q", "-b", "main")
    (lib / "__init__.py").touch()
    commit(lib)
    (path / "scripts/pkg").mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    (path / "scripts/pkg/__init__.py").write_text("x = 1\n")
    (path / "scripts/a.py").touch()
    (path / "scripts/data.bin").write_bytes(POINTER)
    for name, target in {"b.py": "a.py", "c.py": "b.py", "alias": "pkg", "shared": "../lib/shared"}.items():
        (path / "scripts" / name).symlink_to(target)
    (path / "scripts/my script.py").touch()
    git(path, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(lib), "scripts/lib")
    current = commit(path)
    snapshots = Snapshots(path, "scripts", tmp_path / "state")
    found = await snapshots.catalogue(current)
    assert [script.script_name for script in found.scripts] == ["a.py", "b.py", "c.py"]
    assert {each.path: each.reason.split(":")[0] for each in found.left_out} == {
        "data.bin": "is a pointer of Git LFS",
        "lib": "is a submodule",
        "my script.py": NAME_RULE.split(":")[0],
        "shared": "is a link to ../lib/shared",
    }
    assert found.left_out_count == 4
    tree = await snapshots.tree(current)
    code = "import alias; print(alias.x)"
    assert await run("python3", "-c", f"import sys; sys.path.insert(0, {str(tree)!r}); {code}") == "1"

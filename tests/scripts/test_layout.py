"""Links, submodules and odd entries of a commit: what becomes of them in a snapshot."""

from dataclasses import dataclass

import pytest

from agent.errors import AgentError, Problem
from agent.scripts import layout
from agent.scripts.git import Entry
from agent.scripts.layout import Layout, lay_out


@dataclass
class Commit:
    """The entries of a commit, as a test writes them."""

    entries: dict[str, Entry]
    targets: dict[str, str]

    def lay_out(self) -> Layout:
        return lay_out(list(self.entries.values()), lambda links: [self.targets[link.path] for link in links])


def commit(*files: str, **odd: str) -> Commit:
    """Files that are named, each with its path as its object."""
    return Commit({path: Entry(path, "100644", path, 1) for path in files}, {})


def linked(*files: str, **links: str) -> Layout:
    """The layout of files and of links, whose names have `__` in place of `/` and no suffix."""
    made = commit(*files)
    for name, target in links.items():
        path = name.replace("__", "/")
        made.entries[path] = Entry(path, "120000", path, len(target))
        made.targets[path] = target
    return made.lay_out()


def sources(found: Layout) -> dict[str, str]:
    return {path: entry.oid for path, entry in found.files.items()}


@pytest.mark.parametrize(
    ("links", "copies"),
    [
        ({"alias": "pkg"}, {"alias/a.py": "pkg/a.py", "alias/sub/b.py": "pkg/sub/b.py"}),
        ({"alias": "pkg/"}, {"alias/a.py": "pkg/a.py", "alias/sub/b.py": "pkg/sub/b.py"}),
        ({"alias": "./pkg/./sub"}, {"alias/b.py": "pkg/sub/b.py"}),
        ({"pkg__up": "../c.py"}, {"pkg/up": "c.py"}),
        ({"one": "c.py", "two": "one", "three": "two"}, dict.fromkeys(["one", "two", "three"], "c.py")),
        # The parent of what a link leads to is not the parent of the link.
        ({"deep": "pkg/sub", "x": "deep/../a.py"}, {"deep/b.py": "pkg/sub/b.py", "x": "pkg/a.py"}),
        ({"alias": "pkg/sub", "pkg__sub__y": "../a.py"}, {
            "pkg/sub/y": "pkg/a.py", "alias/b.py": "pkg/sub/b.py", "alias/y": "pkg/a.py",
        }),
    ],
)  # fmt: skip
def test_a_link_within_the_directory_is_a_copy_of_what_it_leads_to(
    links: dict[str, str], copies: dict[str, str]
) -> None:
    files = ["c.py", "pkg/a.py", "pkg/sub/b.py"]
    found = linked(*files, **links)
    assert sources(found) == {path: path for path in files} | copies
    assert found.left_out == {}
    assert all(path == entry.path for path, entry in found.files.items())


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/etc/passwd", "it leads out of the scripts' directory"),
        ("../lib", "it leads out of the scripts' directory"),
        ("pkg/../../scripts/pkg", "it leads out of the scripts' directory"),
        ("nothing", "nothing is there"),
        ("pkg/a.py/b", "nothing is there"),
        ("pkg/a.py/", "nothing is there"),
        ("pkg/a.py/..", "nothing is there"),
        ("link", "it leads in a circle"),
        ("link/x", "it leads in a circle"),
        (".", "it leads to a directory that it is in"),
        ("", "it leads to a directory that it is in"),
    ],
)
def test_a_link_that_leads_nowhere_is_left_out_with_the_reason(target: str, why: str) -> None:
    found = linked("pkg/a.py", link=target)
    assert sources(found) == {"pkg/a.py": "pkg/a.py"}
    assert found.left_out == {"link": f"is a link to {target}: {why}"}


def test_directories_that_link_to_each_other_are_shown_once() -> None:
    found = linked("a/x.py", "b/y.py", a__to="../b", b__to="../a")
    assert sources(found) == {
        "a/x.py": "a/x.py",
        "b/y.py": "b/y.py",
        "a/to/y.py": "b/y.py",
        "b/to/x.py": "a/x.py",
    }
    assert found.left_out.keys() == {"a/to/to", "b/to/to"}


def test_links_that_multiply_are_refused_before_they_fill_the_memory() -> None:
    made = commit("d20/a.py")
    for level in range(20):
        for side in "lr":
            path = f"d{level}/{side}"
            made.entries[path] = Entry(path, "120000", path, 4)
            made.targets[path] = f"../d{level + 1}"
    with pytest.raises(AgentError) as caught:
        made.lay_out()
    assert (caught.value.problem, caught.value.fields[0].field) == (Problem.INVALID_REQUEST, "ref")


def test_a_path_that_is_too_long_for_a_link_is_not_read() -> None:
    made = commit("a.py")
    made.entries["b.py"] = Entry("b.py", "120000", "b", layout.MAX_LINK_BYTES + 1)
    assert made.lay_out().left_out == {
        "b.py": f"is a link: its path is longer than {layout.MAX_LINK_BYTES} bytes"
    }


def test_submodules_and_links_into_them_are_left_out() -> None:
    made = commit("a.py")
    made.entries["lib"] = Entry("lib", "160000", "1" * 40, 0)
    for name, target in (("alias", "lib"), ("file", "lib/x.py")):
        made.entries[name] = Entry(name, "120000", name, 3)
        made.targets[name] = target
    assert made.lay_out().left_out == {
        "lib": "is a submodule: its files are in another repository",
        "alias": "is a submodule: its files are in another repository",
        "file": "is a link to lib/x.py: it leads into a submodule",
    }


@pytest.mark.parametrize(
    ("mode", "kept"), [("100664", True), ("100600", True), ("100777", True), ("140000", False)]
)
def test_a_regular_file_of_any_mode_is_kept_and_anything_else_named(mode: str, kept: bool) -> None:
    made = commit("a.py")
    made.entries["odd"] = Entry("odd", mode, "odd", 1)
    found = made.lay_out()
    assert ("odd" in found.files) == kept
    assert found.left_out == ({} if kept else {"odd": f"has the mode {mode}, which no file has"})


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["a", "a/b"], "names a twice"),
        (["a/b", "a"], "names a twice"),
        (["a", "a/b/c"], "names a twice"),
        (["../a"], "outside its directory"),
        (["a/./b"], "outside its directory"),
        (["a//b"], "outside its directory"),
        (["ü" * 128], "too long"),
        (["/".join(["a" * 200] * 20)], "too long"),
    ],
)
def test_entries_that_no_file_system_takes_make_the_commit_unusable(paths: list[str], told: str) -> None:
    with pytest.raises(AgentError) as caught:
        lay_out([Entry(path, "100644", path, 1) for path in paths], lambda links: [])
    assert (caught.value.problem, caught.value.fields[0].field) == (Problem.INVALID_REQUEST, "ref")
    assert told in caught.value.fields[0].message
    assert len(caught.value.fields[0].message) < 300


def test_the_same_name_twice_makes_the_commit_unusable() -> None:
    with pytest.raises(AgentError, match="names a twice"):
        lay_out([Entry("a", "100644", "1", 1), Entry("a", "100644", "2", 1)], lambda links: [])

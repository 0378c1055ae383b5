"""Every name that git allows for a branch or a tag means its commit, and every other one says why not."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agent.model.ref import MAX_REF, Ref, RefGlob, glob_expression, is_ref_name
from agent.scripts.git import Repository
from tests.support.git_repository import commit, git

NAMES = [
    "feature/JIRA#12",
    "user@fix",
    "v1.0+cu12",
    "_wip",
    "größe",
    "日本語",
    "-x",
    "--output=x",
    "a=b",
    "100%",
    "a,b",
    "a(b)",
    "a!b",
    "a'b",
    'a"b',
    "a$(b)",
    "a`b`",
    "a&b|c;d<e>f",
    "{x}",
    "x}",
    "@x",
    "x@",
    "a.b",
    "a.lockx",
    "\xa0",
    "\u202e",
    "feature/-/--",
    "dependabot/pip/numpy-2.0",
    "a" * 200,
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    commit(tmp_path)
    git(tmp_path, "update-ref", "refs/heads/elsewhere", "HEAD")
    commit(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["heads", "tags"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_git_allows_means_its_commit(repository: Path, name: str, kind: str) -> None:
    git(repository, "update-ref", f"refs/{kind}/{name}", "elsewhere")
    assert TypeAdapter(Ref).validate_python(name) == name
    reader = Repository(repository)
    assert reader.commit(name) == reader.commit(f"refs/{kind}/{name}") == reader.commit("elsewhere")


def allowed_by_git(name: str) -> bool:
    data = name.encode("utf-8", "surrogatepass")
    if b"\0" in data or name == "@":  # which is HEAD where it stands alone
        return False
    command = ["git", "check-ref-format", b"refs/heads/" + data]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab./@{}~^:?*[\\ -\x7f\n\tlock") | st.characters(codec="utf-8"), max_size=12))
def test_the_rule_is_gits_own(name: str) -> None:
    assert is_ref_name(name) == allowed_by_git(name)


@pytest.mark.parametrize(
    "name", [".lock", "a.lock", "a.lock/b", "@", "@{", "a@{b", "a..b", "a/", "/a", "a//b", ".a"]
)
def test_what_git_refuses_is_refused_with_the_reason(repository: Path, name: str) -> None:
    assert not allowed_by_git(name)
    reader = Repository(repository)
    assert reader.commit(name) is None
    assert reader.why_no_commit(name) == "is no name that git allows for a branch or a tag"


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("", "must not be empty; leave it out to run the current commit"),
        ("a" * (MAX_REF + 1), "at most 255 characters; give the id of the commit instead"),
        ("a b", "must not have a space"),
        ("a\x85b", "a control character"),
        ("main^", "one of ~^:?*[\\; give the id of the commit instead"),
        ("gr\udcf6\udcdfe", "must be UTF-8 text; give the id of the commit instead"),
    ],
)
def test_what_a_request_cannot_carry_says_so(ref: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Ref).validate_python(ref)
    assert why in str(caught.value)


def test_a_ref_that_means_no_commit_says_what_it_is(repository: Path) -> None:
    git(repository, "tag", "files", "HEAD^{tree}")
    git(repository, "tag", "-a", "-m", "x", "annotated", "HEAD^{tree}")
    ids = {git(repository, "hash-object", "-w", "--stdin", stdin=str(n).encode()) for n in range(3000)}
    beginnings = [oid[:4] for oid in ids]
    twice = next(each for each in beginnings if beginnings.count(each) > 1)
    reader = Repository(repository)
    for ref, why in {
        "files": "names a tree, which is no commit",
        "annotated": "names a tree, which is no commit",
        twice: "is the beginning of several ids; give more digits",
        "nothing": "is no branch, tag or commit of the scripts' repository",
        "main/x": "is no branch, tag or commit of the scripts' repository",
        "1" * 40: "is no branch, tag or commit of the scripts' repository",
    }.items():
        assert reader.commit(ref) is None
        assert reader.why_no_commit(ref) == why


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("main", {"main"}),
        ("release/*", {"release/1", "release/2.x"}),
        ("release/**", {"release/1", "release/2.x", "release/old/1"}),
        ("**", {"main", "main2", "release/1", "release/2.x", "release/old/1", "v1.0", "vX0", "v+"}),
        ("*", {"main", "main2", "v1.0", "vX0", "v+"}),
        ("v?.0", {"v1.0"}),
        ("v+", {"v+"}),
        ("main?", {"main2"}),
        ("**/1", {"release/1", "release/old/1"}),
    ],
)
def test_a_glob_stops_at_a_slash_and_two_stars_do_not(glob: str, names: set[str]) -> None:
    known = {"main", "main2", "release/1", "release/2.x", "release/old/1", "v1.0", "vX0", "v+"}
    assert {
        name for name in known if glob_expression(TypeAdapter(RefGlob).validate_python(glob)).fullmatch(name)
    } == names


@pytest.mark.parametrize("glob", ["", "-" * 256, "a b", "a..b", "[a-c]", "a\\b", "main~1", "/main", "main/"])
def test_what_can_match_no_name_is_no_glob(glob: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RefGlob).validate_python(glob)

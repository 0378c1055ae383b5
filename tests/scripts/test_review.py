"""Which commits have been reviewed: reachable from the site's branches and tags, and signed."""

import asyncio
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.model.ref import ReviewRules
from agent.scripts import review
from agent.scripts.review import History, Review, Standing
from tests.support.git_repository import commit, drop_last_commit, git


class Site:
    """Commits on main, on a merged and an unmerged branch, of a pull request, and on no branch any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        git(path, "init", "-q", "-b", "main")
        self.first = commit(path, "first")
        git(path, "checkout", "-q", "-b", "merged")
        self.merged = commit(path, "merged")
        git(path, "checkout", "-q", "main")
        git(path, "merge", "-q", "--no-ff", "-m", "merge", "merged")
        self.head = git(path, "rev-parse", "HEAD")
        self.unmerged = self.branch("feature/x")
        self.pull = self.branch("pull")
        git(path, "update-ref", "refs/pull/7/head", self.pull)
        git(path, "branch", "-q", "-D", "pull")
        self.dangling = self.branch("gone")
        git(path, "branch", "-q", "-D", "gone")
        self.staged = git(path, "commit-tree", "-m", "no branch at all", "HEAD^{tree}")

    def branch(self, name: str, start: str = "main") -> str:
        """Makes a branch with a commit of its own, and leaves main checked out."""
        git(self.path, "checkout", "-q", "-b", name, start)
        made = commit(self.path, f"on {name}")
        git(self.path, "checkout", "-q", "main")
        return made

    def review(self, *refs: str, **rules: Any) -> Review:
        return Review(self.path, ReviewRules(refs=refs or ("HEAD",), **rules))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "repository")


async def refusal(review: Review, commit: str) -> AgentError:
    with pytest.raises(AgentError) as caught:
        await review.standing(commit)
    return caught.value


async def accepted(review: Review, commits: Iterable[str]) -> list[str]:
    """Those of the commits that may run."""
    found = []
    for each in commits:
        try:
            await review.standing(each)
        except AgentError as error:
            if error.problem is not Problem.COMMIT_REFUSED:
                raise
        else:
            found.append(each)
    return found


@pytest.mark.parametrize("name", ["first", "merged", "head"])
@pytest.mark.parametrize("refs", [(), ("main",), ("refs/heads/main",), ("ma*", "nothing"), ("**",)])
async def test_what_a_named_branch_leads_to_has_been_reviewed(
    site: Site, refs: tuple[str, ...], name: str
) -> None:
    assert await site.review(*refs).standing(getattr(site, name)) is Standing.REVIEWED


@pytest.mark.parametrize("name", ["unmerged", "pull", "dangling", "staged"])
async def test_no_other_object_of_the_repository_has(site: Site, name: str) -> None:
    for refs in ((), ("main",), ("ma*", "v*")):
        error = await refusal(site.review(*refs), getattr(site, name))
        assert error.problem is Problem.COMMIT_REFUSED
        assert [field.field for field in error.fields] == ["ref"]
        assert error.fields[0].message == f"is on none of: {', '.join(refs or ('HEAD',))}"
        assert getattr(site, name)[:12] in error.message
        assert error.hint


async def test_what_the_repository_does_not_have_is_not_found(site: Site) -> None:
    error = await refusal(site.review(), "1" * 40)
    assert (error.problem, error.fields[0].field) == (Problem.REF_NOT_FOUND, "ref")


async def test_a_commit_that_git_has_dropped_is_not_found_any_more(site: Site) -> None:
    review, before = site.review(), commit(site.path)
    assert await review.standing(before) is Standing.REVIEWED
    drop_last_commit(site.path)
    assert (await refusal(review, before)).problem is Problem.REF_NOT_FOUND


async def test_a_commit_is_reviewed_as_long_as_a_branch_leads_to_it(site: Site) -> None:
    review = site.review("main")
    assert (await refusal(review, site.unmerged)).problem is Problem.COMMIT_REFUSED
    git(site.path, "merge", "-q", "--no-ff", "-m", "merge", "feature/x")
    assert await review.standing(site.unmerged) is Standing.REVIEWED
    git(site.path, "reset", "-q", "--hard", site.head)
    assert (await refusal(review, site.unmerged)).problem is Problem.COMMIT_REFUSED


async def test_a_tag_counts_by_what_it_leads_to(site: Site) -> None:
    git(site.path, "tag", "-a", "-m", "release", "v1", site.unmerged)
    git(site.path, "tag", "v2", site.dangling)
    git(site.path, "tag", "v0", "HEAD^{tree}")
    review = site.review("v*")
    assert await accepted(review, [site.unmerged, site.dangling, site.head, site.first, site.pull]) == [
        site.unmerged,
        site.dangling,
        site.head,
        site.first,
    ]


async def test_a_branch_does_not_pass_for_a_tag(site: Site) -> None:
    review = site.review("refs/tags/v*")
    for name in ("v1", "refs/tags/v1", "tags/v1"):
        git(site.path, "update-ref", f"refs/heads/{name}", site.unmerged)
        assert (await refusal(review, site.unmerged)).problem is Problem.COMMIT_REFUSED
    git(site.path, "update-ref", "refs/tags/v1", site.unmerged)
    assert await review.standing(site.unmerged) is Standing.REVIEWED


async def test_a_branch_called_head_is_not_what_is_checked_out(site: Site) -> None:
    git(site.path, "update-ref", "refs/heads/HEAD", site.unmerged)
    assert (await refusal(site.review(), site.unmerged)).problem is Problem.COMMIT_REFUSED


async def test_remote_branches_count_by_their_full_names_alone(site: Site, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(site.path), "clone")
    clone = tmp_path / "clone"
    assert await accepted(Review(clone, ReviewRules(("**",))), [site.unmerged, site.head]) == [site.head]
    rules = ReviewRules(("refs/remotes/origin/feature/*",))
    assert await Review(clone, rules).standing(site.unmerged) is Standing.REVIEWED


async def test_a_detached_head_is_what_is_checked_out(site: Site) -> None:
    git(site.path, "checkout", "-q", "--detach", site.unmerged)
    review = site.review()
    assert await review.standing(site.unmerged) is Standing.REVIEWED
    assert (await refusal(review, site.dangling)).problem is Problem.COMMIT_REFUSED


async def test_a_branch_that_is_checked_out_and_not_named_is_not_reviewed(site: Site) -> None:
    git(site.path, "checkout", "-q", "feature/x")
    assert (await refusal(site.review("main"), site.unmerged)).problem is Problem.COMMIT_REFUSED
    assert await site.review("feature/*").standing(site.unmerged) is Standing.REVIEWED


async def test_development_branches_give_a_standing_of_their_own(site: Site) -> None:
    review = site.review("main", development_refs=("feature/*",))
    assert await review.standing(site.unmerged) is Standing.DEVELOPMENT
    assert await review.standing(site.first) is Standing.REVIEWED
    assert "main, feature/*" in (await refusal(review, site.dangling)).fields[0].message
    git(site.path, "merge", "-q", "--no-ff", "-m", "merge", "feature/x")
    assert await review.standing(site.unmerged) is Standing.REVIEWED


async def test_a_commit_in_a_repository_with_skewed_clocks_is_found(site: Site) -> None:
    """Walks that are cut short by dates miss such commits."""
    old = os.environ | {f"GIT_{who}_DATE": "2001-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")}
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for _ in range(20):
        command = [
            "git",
            "-C",
            str(site.path),
            *identity,
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "in the past",
        ]
        await asyncio.to_thread(subprocess.run, command, env=old, check=True)
    commit(site.path)
    review = site.review("main")
    assert await accepted(review, [site.first, site.merged]) == [site.first, site.merged]


async def test_more_tips_than_one_command_takes_are_asked_in_parts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.scripts.review.TIPS_AT_ONCE", 2)
    for number in range(5):
        site.branch(f"team/{number}", site.first)
    review = site.review("team/*", "feature/*")
    assert await accepted(review, [site.unmerged, site.dangling, site.merged]) == [site.unmerged, site.merged]


async def test_a_tip_that_is_missing_is_no_reason_to_refuse(site: Site) -> None:
    git(site.path, "tag", "v1", site.unmerged)
    (site.path / ".git/objects" / site.unmerged[:2] / site.unmerged[2:]).unlink()
    review = site.review("v*", "main")
    assert await review.standing(site.first) is Standing.REVIEWED
    assert (await refusal(review, site.dangling)).problem is Problem.HOST


async def test_what_is_checked_out_costs_no_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    run = History.run

    def counted(self: History, *arguments: Any, **options: Any) -> Any:
        asked.append(str(arguments[0]))
        return run(self, *arguments, **options)

    monkeypatch.setattr(History, "run", counted)
    for refs in ((), ("main",), ("refs/heads/m*",)):
        assert await site.review(*refs).standing(site.head) is Standing.REVIEWED
    assert asked == []
    review = site.review("main")
    for _ in range(3):
        assert await review.standing(site.first) is Standing.REVIEWED
    # History is walked once; the branches are read each time.
    assert asked.count("merge-base") == 1
    assert asked.count("for-each-ref") == 3


async def test_answers_that_are_remembered_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "MAX_KNOWN", 2)
    judge = site.review("main")
    commits = [site.first, site.merged, site.unmerged, site.dangling]
    for _ in range(2):
        assert await accepted(judge, commits) == [site.first, site.merged]
    assert len(judge._known) <= 2


async def test_globs_that_match_nothing_are_named(site: Site) -> None:
    review = site.review("mian", "main", "HEAD", development_refs=("refs/heads/feature/*", "dev/**"))
    assert await review.unmatched() == ["mian", "dev/**"]


# Signatures


class Signers:
    """SSH keys, and the file of those that are allowed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.allowed = directory / "allowed_signers"
        self.allowed.write_text("# nobody yet\n")

    def key(self, name: str) -> Path:
        path = self.directory / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
        subprocess.run(command, check=True)
        return path

    def allow(self, key: Path, options: str = "") -> None:
        with self.allowed.open("a") as file:
            file.write(f"{key.name}@example.org {options} {key.with_suffix('.pub').read_text()}")


def sign(site: Site, key: Path) -> str:
    """A signed commit on the branch that is checked out."""
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"]
    git(site.path, *options, "commit", "-q", "-S", "--allow-empty", "-m", "signed")
    return git(site.path, "rev-parse", "HEAD")


@pytest.fixture
def signers(tmp_path: Path) -> Signers:
    return Signers(tmp_path / "signers")


async def test_what_runs_is_signed_by_an_allowed_signer(site: Site, signers: Signers) -> None:
    alice, mallory = signers.key("alice"), signers.key("mallory")
    signers.allow(alice)
    good, bad = sign(site, alice), sign(site, mallory)
    review = site.review("main", development_refs=("feature/*",), allowed_signers=signers.allowed)
    assert await review.standing(good) is Standing.REVIEWED
    for refused, why in (
        (bad, "is signed by key SHA256:"),
        (site.first, "is not signed"),
        (site.unmerged, "is not signed"),
    ):
        error = await refusal(review, refused)
        assert (error.problem, error.fields[0].field) == (Problem.COMMIT_REFUSED, "ref")
        assert error.fields[0].message.startswith(why)
    signers.allow(mallory)
    assert await review.standing(bad) is Standing.REVIEWED


async def test_a_signer_who_is_no_longer_allowed_does_not_count(site: Site, signers: Signers) -> None:
    alice = signers.key("alice")
    signers.allow(alice)
    good = sign(site, alice)
    review = site.review(allowed_signers=signers.allowed)
    assert await review.standing(good) is Standing.REVIEWED
    signers.allowed.write_text("# nobody any more\n")
    assert (await refusal(review, good)).problem is Problem.COMMIT_REFUSED
    signers.allowed.unlink()
    error = await refusal(review, good)
    assert (error.problem, str(signers.allowed) in error.message) == (Problem.HOST, True)


async def test_a_key_for_other_purposes_or_of_the_past_does_not_count(site: Site, signers: Signers) -> None:
    files, past = signers.key("files"), signers.key("past")
    signers.allow(files, 'namespaces="file"')
    signers.allow(past, 'valid-before="20200101"')
    review = site.review(allowed_signers=signers.allowed)
    for key in (files, past):
        assert (await refusal(review, sign(site, key))).problem is Problem.COMMIT_REFUSED


async def test_the_repositorys_own_configuration_verifies_nothing(site: Site, signers: Signers) -> None:
    mallory, marker = signers.key("mallory"), signers.directory / "ran"
    bad = sign(site, mallory)
    program = signers.directory / "verifier"
    program.write_text(f"#!/bin/sh\ntouch {marker}\necho 'Good \"git\" signature for a'\nexit 0\n")
    program.chmod(0o755)
    signers.allow(mallory)
    everybody = signers.directory / "everybody"
    signers.allowed.rename(everybody)
    signers.allowed.write_text("# nobody\n")
    for key in ("gpg.ssh.program", "gpg.program", "gpg.openpgp.program", "gpg.x509.program"):
        git(site.path, "config", key, str(program))
    git(site.path, "config", "gpg.ssh.allowedSignersFile", str(everybody))
    git(site.path, "config", "gpg.minTrustLevel", "never")
    review = site.review(allowed_signers=signers.allowed)
    assert (await refusal(review, bad)).problem is Problem.COMMIT_REFUSED
    forged = git(site.path, "cat-file", "commit", bad).replace("SSH SIGNATURE", "PGP SIGNATURE")
    other = git(site.path, "hash-object", "-t", "commit", "-w", "--stdin", stdin=(forged + "\n").encode())
    git(site.path, "update-ref", "refs/heads/main", other)
    error = await refusal(review, other)
    assert "only SSH keys are accepted" in error.fields[0].message
    assert not marker.exists()


async def test_a_commit_that_was_changed_after_it_was_signed_does_not_count(
    site: Site, signers: Signers
) -> None:
    alice = signers.key("alice")
    signers.allow(alice)
    changed = git(site.path, "cat-file", "commit", sign(site, alice)).replace("signed", "changed")
    made = git(site.path, "hash-object", "-t", "commit", "-w", "--stdin", stdin=(changed + "\n").encode())
    git(site.path, "update-ref", "refs/heads/main", made)
    assert (
        await refusal(site.review(allowed_signers=signers.allowed), made)
    ).problem is Problem.COMMIT_REFUSED

"""Which commits have been reviewed, and who has signed them.

Reviewed are those that the branches and tags lead to which the site has named.
"""

import asyncio
import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from functools import partial
from hashlib import sha256
from pathlib import Path

from ..errors import AgentError, FieldError, Problem, host_failed
from ..host.tasks import in_turn
from ..model.ref import HEAD, ReviewRules, glob_expression
from .git import Repository, complaint, no_commit

MAX_KNOWN = 10_000  # answers that are remembered
MAX_NAMED = 5  # globs that a message names

TIPS_AT_ONCE = 1000  # on one command line
SHORT = re.compile(r"refs/(?:heads|tags)/(.+)")
SIGNATURE = re.compile(r"(?m)^gpgsig(?:-sha256)? -----BEGIN ([A-Z ]+)-----$")
KEY = re.compile(r"key (SHA256:\S+)")
SSH = "SSH SIGNATURE"

# No program that the repository's own configuration names verifies a signature, and no other kind counts.
VERIFICATION = {
    "gpg.ssh.program": "ssh-keygen",
    "gpg.ssh.revocationFile": "",
    "gpg.program": "false",
    "gpg.openpgp.program": "false",
    "gpg.x509.program": "false",
    "gpg.minTrustLevel": "fully",
}


class Standing(StrEnum):
    """What a commit may have: everything, or no secrets that users share."""

    REVIEWED = "reviewed"
    DEVELOPMENT = "development"


class History(Repository):
    """Reads branches, tags, ancestors and signatures. Every method blocks."""

    def tips(self, globs: Iterable[str]) -> dict[str, str]:
        """The object ids of the branches and tags that globs match, by their full names, and of `HEAD`.

        `main` matches a branch and a tag of that name. A glob that begins with `refs/` matches full names
        alone, so that no branch passes for a tag.
        """
        wanted = list(globs)
        tips = {}
        if HEAD in wanted and (commit := self.commit(HEAD)):
            tips[HEAD] = commit
        full = [glob for glob in wanted if glob.startswith("refs/")]
        short = [glob_expression(glob) for glob in wanted if glob != HEAD and not glob.startswith("refs/")]
        places = {re.split(r"/[^/]*[*?]", glob)[0] for glob in full} | (
            {"refs/heads", "refs/tags"} if short else set()
        )
        if not places:
            return tips
        listed = self.run("for-each-ref", "--format=%(objectname) %(refname)", *sorted(places))
        if listed.returncode != 0:
            self.require()
            raise self.damaged(complaint(listed))
        expressions = [glob_expression(glob) for glob in full]
        for line in listed.stdout.decode("utf-8", "replace").splitlines():
            oid, _, name = line.partition(" ")
            if _matches(name, expressions, short):
                tips[name] = oid
        return tips

    def leads_to(self, tips: Collection[str], commit: str) -> bool:
        """Whether a commit is one of these objects, or an ancestor of one.

        Raises `AgentError` (host) if that cannot be told because a tip is missing.
        """
        if commit in tips:
            return True
        commits, missing = self._peel_all(tips)
        for start in range(0, len(commits), TIPS_AT_ONCE):
            # Of a commit and one of its descendants, the commit is the best common ancestor; of several, git
            # takes their merge.
            some = commits[start : start + TIPS_AT_ONCE]
            found = self.run("merge-base", commit, *some)
            if found.returncode > 1:
                raise self.damaged(complaint(found))
            if found.stdout.decode("ascii", "replace").strip() == commit:
                return True
        if missing:
            raise self.damaged(f"it lacks the object {missing[0]} of a branch or a tag")
        return False

    def _peel_all(self, oids: Collection[str]) -> tuple[list[str], list[str]]:
        """The commits that objects are, or that tags lead to; and the objects that are missing."""
        ordered = sorted(set(oids))
        asked = "".join(f"{oid}^{{commit}}\n" for oid in ordered).encode()
        lines = self.run("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked).stdout
        commits, missing = [], []
        for oid, line in zip(ordered, lines.decode("ascii", "replace").splitlines(), strict=False):
            peeled, _, kind = line.partition(" ")
            if kind == "commit":
                commits.append(peeled)
            elif not self.peel(oid)[0]:
                missing.append(oid)
        return sorted(set(commits)), missing

    def why_not_signed(self, commit: str, allowed_signers: Path) -> str:
        """Why a commit does not count as signed; empty if an allowed signer has signed it."""
        header = (
            self.run("cat-file", "commit", commit).stdout.partition(b"\n\n")[0].decode("utf-8", "replace")
        )
        kind = SIGNATURE.search(header)
        if kind is None:
            return "is not signed"
        if kind[1] != SSH:
            return f"is signed with {kind[1].removesuffix(' SIGNATURE')}; only SSH keys are accepted"
        settings = VERIFICATION | {"gpg.ssh.allowedSignersFile": str(allowed_signers)}
        verified = self.run("verify-commit", commit, config=settings)
        if verified.returncode == 0:
            return ""
        key = KEY.search(verified.stderr.decode("utf-8", "replace"))
        by = f"key {key[1]}" if key else "a key"
        return f"is signed by {by}, which {allowed_signers} does not allow"


class Review:
    """Answers for commits of one repository. Each answer holds for its branches and tags as they are now."""

    def __init__(self, repository: Path, rules: ReviewRules) -> None:
        self._history = History(repository)
        self._rules = rules
        self._globs = [*rules.refs, *rules.development_refs]
        self._branches = [
            glob_expression(glob.removeprefix("refs/heads/"))
            for glob in rules.refs
            if glob != HEAD and (glob.startswith("refs/heads/") or not glob.startswith("refs/"))
        ]
        self._asking = asyncio.Lock()
        self._known: dict[tuple[str, str], bool] = {}
        self._signed: set[tuple[str, tuple[int, ...]]] = set()

    async def standing(self, commit: str) -> Standing:
        """What a commit may have now. `commit` is a full id.

        Raises `AgentError`: ref-not-found if the repository does not have it, commit-refused if it has not
        been reviewed or signed, host.
        """
        # The commit that is checked out needs no look at history. Other commits are looked up one at a time.
        if await asyncio.to_thread(self._is_checked_out, commit):
            return Standing.REVIEWED
        return await in_turn(self._asking, partial(self._judge, commit))

    def _is_checked_out(self, commit: str) -> bool:
        head = self._history.checked_out()
        if head.commit != commit or not self._is_known_signed(commit):
            return False
        if HEAD in self._rules.refs:
            return True
        name = SHORT.fullmatch(head.branch or "")
        return name is not None and any(glob.fullmatch(name[1]) for glob in self._branches)

    def _judge(self, commit: str) -> Standing:
        standing = self._reviewed(commit)
        if standing is None:
            remedy = "Have it merged into one of them, or run a commit that is on one."
            raise _refused(commit, f"is on none of: {self._named()}", remedy)
        if not self._is_known_signed(commit):
            assert self._rules.allowed_signers is not None
            if why := self._history.why_not_signed(commit, self._rules.allowed_signers):
                raise _refused(commit, why, "Have an allowed signer sign it, or run a commit that is signed.")
            self._signed.add((commit, self._signers_stamp()))
        return standing

    def _reviewed(self, commit: str) -> Standing | None:
        for globs, standing in (
            (self._rules.refs, Standing.REVIEWED),
            (self._rules.development_refs, Standing.DEVELOPMENT),
        ):
            tips = self._history.tips(globs)
            if tips and self._leads_to(set(tips.values()), commit):
                return standing
        return None

    def _leads_to(self, tips: set[str], commit: str) -> bool:
        if commit in tips:
            return True
        key = (commit, sha256("".join(sorted(tips)).encode()).hexdigest())
        if key not in self._known:
            if self._history.commit(commit) != commit:
                raise no_commit(self._history.why_no_commit(commit))
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = self._history.leads_to(tips, commit)
        return self._known[key]

    def _is_known_signed(self, commit: str) -> bool:
        return self._rules.allowed_signers is None or (commit, self._signers_stamp()) in self._signed

    def _signers_stamp(self) -> tuple[int, ...]:
        """Changes with the file of allowed signers. Raises `AgentError` (host) if it cannot be read."""
        assert self._rules.allowed_signers is not None
        try:
            with self._rules.allowed_signers.open("rb"):
                status = self._rules.allowed_signers.stat()
        except OSError as error:
            raise host_failed(
                f"{self._rules.allowed_signers} cannot be read: {error.strerror}.",
                "Make the file of scripts.allowed_signers readable to the agent.",
            ) from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _named(self) -> str:
        return ", ".join(self._globs[:MAX_NAMED]) + (", …" if len(self._globs) > MAX_NAMED else "")

    async def unmatched(self) -> list[str]:
        """The globs that match no branch and no tag."""
        return await in_turn(
            self._asking, lambda: [glob for glob in self._globs if not self._history.tips([glob])]
        )


def _refused(commit: str, why: str, remedy: str) -> AgentError:
    return AgentError(
        Problem.COMMIT_REFUSED,
        f"Commit {commit[:12]} may not run here: it {why}.",
        remedy,
        (FieldError("ref", why),),
    )


def _matches(name: str, full: Iterable[re.Pattern[str]], short: Iterable[re.Pattern[str]]) -> bool:
    if any(expression.fullmatch(name) for expression in full):
        return True
    known_as = SHORT.fullmatch(name)
    return known_as is not None and any(expression.fullmatch(known_as[1]) for expression in short)

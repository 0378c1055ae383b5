"""Which commits the branches and tags of a repository lead to, and who has signed a commit."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from ..model.ref import HEAD, glob_expression
from .git import Repository
from .plumbing import complaint

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


def _matches(name: str, full: Iterable[re.Pattern[str]], short: Iterable[re.Pattern[str]]) -> bool:
    if any(expression.fullmatch(name) for expression in full):
        return True
    known_as = SHORT.fullmatch(name)
    return known_as is not None and any(expression.fullmatch(known_as[1]) for expression in short)

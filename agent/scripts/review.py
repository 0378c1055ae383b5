"""Which commits have been reviewed: those that the branches and tags lead to which the site has named."""

import asyncio
from enum import StrEnum
from functools import partial
from hashlib import sha256
from pathlib import Path

from ..errors import AgentError, FieldError, Problem
from ..host.tasks import in_turn
from ..model.ref import HEAD, ReviewRules, glob_expression
from .history import SHORT, History

MAX_KNOWN = 10_000  # answers that are remembered
MAX_NAMED = 5  # globs that a message names


class Standing(StrEnum):
    """What a commit may have: everything, or no secrets that users share."""

    REVIEWED = "reviewed"
    DEVELOPMENT = "development"


class Review:
    """Answers for commits of one repository. Each answer holds for its branches and tags as they are now."""

    def __init__(self, repository: Path, rules: ReviewRules) -> None:
        self._history = History(repository)
        self._rules = rules
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
            raise _refused(commit, f"is on none of: {self._named()}", self._remedy())
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
                raise _absent(self._history.why_no_commit(commit))
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
            raise AgentError(
                Problem.HOST,
                f"{self._rules.allowed_signers} cannot be read: {error.strerror}.",
                "Make the file of scripts.allowed_signers readable to the agent.",
            ) from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _named(self) -> str:
        globs = [*self._rules.refs, *self._rules.development_refs]
        return ", ".join(globs[:MAX_NAMED]) + (", …" if len(globs) > MAX_NAMED else "")

    def _remedy(self) -> str:
        return "Have it merged into one of them, or run a commit that is on one."

    async def unmatched(self) -> list[str]:
        """The globs that match no branch and no tag."""
        return await in_turn(self._asking, self._find_unmatched)

    def _find_unmatched(self) -> list[str]:
        globs = [*self._rules.refs, *self._rules.development_refs]
        return [glob for glob in globs if not self._history.tips([glob])]


def _absent(why: str) -> AgentError:
    return AgentError(
        Problem.REF_NOT_FOUND,
        "There are no scripts at this ref.",
        "Give a branch, a tag or the id of a commit, or leave `ref` out to use the current commit.",
        (FieldError("ref", why),),
    )


def _refused(commit: str, why: str, remedy: str) -> AgentError:
    return AgentError(
        Problem.COMMIT_REFUSED,
        f"Commit {commit[:12]} may not run here: it {why}.",
        remedy,
        (FieldError("ref", why),),
    )

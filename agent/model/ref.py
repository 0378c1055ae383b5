"""Commits: names of branches and tags, globs of such names, and commits that an operator has withdrawn."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from .base import Model, Text, Time

HEAD = "HEAD"  # what is checked out
MAX_REF = 255  # characters
BY_ID = "; give the id of the commit instead"

# git-check-ref-format(1), with one level allowed. `*`, `?` and `[` are in no name, so a glob is never a name.
_NAME = re.compile(
    r"(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|$)|[/.]$))(?![/.]|@$)[^\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]+"
)
_SENT = r"^[^\x00-\x20\x7f-\x9f~^:?*\[\\]+$"  # as the contract says it; JSON has half characters besides
_OBJECT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

MAX_WITHDRAWAL_REASON = 200  # characters; with a sentence around it, it fits into the mark of a job's unit


def is_object_id(text: str) -> bool:
    """Whether this is a whole object id, SHA-1 or SHA-256."""
    return _OBJECT_ID.fullmatch(text) is not None


def is_ref_name(text: str) -> bool:
    """Whether git allows this name for a branch or a tag. An object id is such a name, too."""
    return _NAME.fullmatch(text) is not None


def _as_ref(text: str) -> str:
    """A name as a client sends it. Whether git allows it is for the repository to say."""
    if not text:
        raise ValueError("must not be empty; leave it out to run the current commit")
    if len(text) > MAX_REF:
        raise ValueError(f"must have at most {MAX_REF} characters{BY_ID}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"must be UTF-8 text{BY_ID}")
    if not re.fullmatch(_SENT, text):
        raise ValueError(f"must not have a space, a control character or one of ~^:?*[\\{BY_ID}")
    return text


def _as_glob(text: str) -> str:
    if not is_ref_name(re.sub(r"[*?]", "x", text)):
        raise ValueError("must be a branch or a tag, such as main, release/* or refs/tags/v*")
    return text


Ref = Annotated[
    str,
    AfterValidator(_as_ref),
    Field(json_schema_extra={"minLength": 1, "maxLength": MAX_REF, "pattern": _SENT}),
]
RefGlob = Annotated[str, AfterValidator(_as_glob), Field(max_length=MAX_REF)]


@dataclass(frozen=True)
class ReviewRules:
    """The globs of branches and tags from which commits may run.

    A commit that only `development_refs` lead to gets no shared secrets. With `allowed_signers`, a file as
    ssh-keygen(1) describes it, a commit must also be signed by one of them.
    """

    refs: Sequence[str] = (HEAD,)
    development_refs: Sequence[str] = ()
    allowed_signers: Path | None = None


def glob_expression(glob: str) -> re.Pattern[str]:
    """What a glob matches: `*` and `?` stand for characters of one level, `**` for any number of levels."""
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*|\*|\?)", glob)
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts))


class Withdrawal(Model):
    """A commit that may not run any more, why, and who said so. `stop_running` also ends jobs that run it."""

    commit: str
    reason: Annotated[Text, Field(min_length=1, max_length=MAX_WITHDRAWAL_REASON)]
    by: str
    at: Time
    stop_running: bool = False

    def sentence(self) -> str:
        """What users of the commit are told."""
        return f"Commit {self.commit[:12]} was withdrawn: {self.reason.rstrip('.')}."

"""The audit: who did what, when, from where, with what result. Rows are only ever appended.

Each row has the SHA-256 over its number, the hash of the row before it, and its own text, so that none can be
changed, removed, moved or put in later without breaking every row behind it. Functions with a connection are
called inside a transaction of the store: a deed and its row are committed together or not at all.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from pydantic import Field

from ..model.base import Model

MAX_TEXT = 300  # characters of one value in a row; what is longer is cut
MAX_LIST = 100  # values in a list

Detail = str | int | list[str]


class Result(StrEnum):
    """How it went: something was changed, was shown, or was refused."""

    DONE = "done"
    SHOWN = "shown"
    REFUSED = "refused"


class Deed(Model):
    """What somebody did, or was refused. `details` hold no secret and no hyperparameter's value."""

    actor: str
    role: str
    source: str
    action: str
    subject: str = ""
    result: Result
    details: dict[str, Detail] = Field(default_factory=dict)

    def about(self, subject: str) -> Self:
        """The same of another subject, such as a job whose id was not known before."""
        return self.model_copy(update={"subject": subject})


class Caller(Model):
    """Who acts, and from where: a certificate's user in a role, or an account of this host."""

    actor: str
    role: str
    source: str

    def did(self, action: str, subject: str = "", /, **details: Detail) -> Deed:
        """A deed that changes something; recorded in the transaction that does."""
        return self._deed(Result.DONE, action, subject, details)

    def was_shown(self, action: str, subject: str = "", /, **details: Detail) -> Deed:
        """A look at what is another's."""
        return self._deed(Result.SHOWN, action, subject, details)

    def was_refused(self, action: str, subject: str = "", /, **details: Detail) -> Deed:
        """An attempt that came to nothing, as the caller may not do it."""
        return self._deed(Result.REFUSED, action, subject, details)

    def _deed(self, result: Result, action: str, subject: str, details: dict[str, Detail]) -> Deed:
        bounded = {name: _bounded(value) for name, value in details.items()}
        whoever = self.model_dump()
        return Deed(**whoever, action=action, subject=subject[:MAX_TEXT], result=result, details=bounded)


def _bounded(value: Detail) -> Detail:
    if isinstance(value, list):
        return [each[:MAX_TEXT] for each in value[:MAX_LIST]]
    return value[:MAX_TEXT] if isinstance(value, str) else value


@dataclass(frozen=True)
class Link:
    """A row's number and hash. That of the newest row, the head, stands for the whole chain."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The inverse of `str`, None for what is none."""
        match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text)
        return cls(int(match[1]), match[2]) if match else None


@dataclass(frozen=True)
class AuditRow:
    """A row as it is stored; `entry` is one JSON object in a line."""

    seq: int
    entry: str
    hash: str

    @property
    def link(self) -> Link:
        """What the next row has to follow."""
        return Link(self.seq, self.hash)

    def content(self) -> dict[str, Any]:
        """`at` and the members of `Deed`; empty where somebody has made it unreadable."""
        try:
            content = json.loads(self.entry)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


@dataclass
class Broken(Exception):
    """The first row that does not follow from the one before it, and what can be said of that."""

    seq: int
    why: str

    def __str__(self) -> str:
        return f"row {self.seq}: {self.why}"


def follow(before: Link, row: AuditRow) -> Link:
    """The link that the row makes behind `before`. Raises `Broken` where it does not follow."""
    if row.seq != before.seq + 1:
        raise Broken(before.seq + 1, f"it is missing; behind row {before.seq} comes row {row.seq}")
    if row.hash != seal(before, row.entry):
        raise Broken(row.seq, f"it was changed, or is not the one that was written behind row {before.seq}")
    return row.link


def write_archive(anchor: Link, rows: Iterable[AuditRow]) -> bytes:
    """The rows as lines of JSON behind a line with what the first one follows."""
    lines: list[dict[str, object]] = [{"anchor": str(anchor)}]
    lines += [{"row": row.seq, "entry": row.entry, "hash": row.hash} for row in rows]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def read_archive(data: bytes) -> tuple[Link, list[AuditRow]]:
    """The inverse of `write_archive`. Raises `Broken` where the text is none."""
    try:
        first, *rest = (json.loads(line) for line in data.splitlines())
        anchor = Link.parse(first["anchor"])
        if anchor is None:
            raise ValueError
        return anchor, [AuditRow(int(line["row"]), str(line["entry"]), str(line["hash"])) for line in rest]
    except (ValueError, KeyError, TypeError) as error:
        raise Broken(0, "this is no archive of an audit") from error


def seal(before: Link, entry: str) -> str:
    """The hash of a row with this entry behind `before`."""
    return hashlib.sha256(f"{before.seq + 1}\n{before.hash}\n{entry}".encode()).hexdigest()

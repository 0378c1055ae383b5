"""The audit: who did what, when, from where, with what result. Rows are only ever appended.

The hash of a row is the SHA-256 of its number, the hash of the row before it, and its own text. So no row can
be changed, removed, moved or inserted without breaking every row behind it.
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

MAX_TEXT = 300  # characters of one value in a row; longer values are cut
MAX_LIST = 100  # values in a list

Detail = str | int | list[str]


class Result(StrEnum):
    """Whether something was changed, shown or refused."""

    DONE = "done"
    SHOWN = "shown"
    REFUSED = "refused"


class Deed(Model):
    """What somebody did or was refused. `details` never hold a secret or the value of a hyperparameter.

    `via` is the peer of the host's fleet that asked on behalf of the actor, and vouches for role and source.
    """

    actor: str
    role: str
    source: str
    via: str | None = None
    action: str
    subject: str = ""
    result: Result
    details: dict[str, Detail] = Field(default_factory=dict)

    def about(self, subject: str) -> Self:
        """The same deed about another subject, such as a job whose id was not known before."""
        return self.model_copy(update={"subject": subject})


class Caller(Model):
    """Who acts, and from where: the user of a certificate in a role, or an account of this host.

    `via` is the peer that asks on behalf of that user, if one does.
    """

    actor: str
    role: str
    source: str
    via: str | None = None

    def did(self, action: str, subject: str = "", /, **details: Detail) -> Deed:
        """A deed that changes something. It is recorded in the transaction of the change."""
        return self._deed(Result.DONE, action, subject, details)

    def was_shown(self, action: str, subject: str = "", /, **details: Detail) -> Deed:
        """A look at something that belongs to another user."""
        return self._deed(Result.SHOWN, action, subject, details)

    def was_refused(self, action: str, subject: str = "", /, **details: Detail) -> Deed:
        """An attempt that was refused because the caller lacks the right."""
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
    """A row's number and hash. The newest row's link, the head, identifies the whole chain."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The inverse of `str`; None where the text is no link."""
        match = re.fullmatch(r"([0-9]{1,18}):([0-9a-f]{64})", text)
        return cls(int(match[1]), match[2]) if match else None


@dataclass(frozen=True)
class AuditRow:
    """A row as it is stored; `entry` is a JSON object in one line."""

    seq: int
    entry: str
    hash: str

    @property
    def link(self) -> Link:
        """The link that the next row must follow."""
        return Link(self.seq, self.hash)

    def content(self) -> dict[str, Any]:
        """`at` and the members of `Deed`; empty if somebody made the entry unreadable."""
        try:
            content = json.loads(self.entry)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


@dataclass
class Broken(Exception):
    """The first row that does not follow the one before it, and why."""

    seq: int
    why: str

    def __str__(self) -> str:
        return f"row {self.seq}: {self.why}"


def follow(before: Link, row: AuditRow) -> Link:
    """The row's link, if the row follows `before`; otherwise raises `Broken`."""
    if row.seq != before.seq + 1:
        raise Broken(before.seq + 1, f"it is missing; row {row.seq} comes after row {before.seq}")
    if row.hash != seal(before, row.entry):
        raise Broken(row.seq, f"it was changed, or was not written after row {before.seq}")
    return row.link


def write_archive(anchor: Link, rows: Iterable[AuditRow]) -> bytes:
    """The rows as lines of JSON, after a line with the link that the first row follows."""
    lines: list[dict[str, object]] = [{"anchor": str(anchor)}]
    lines += [{"row": row.seq, "entry": row.entry, "hash": row.hash} for row in rows]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def read_archive(data: bytes) -> tuple[Link, list[AuditRow]]:
    """The inverse of `write_archive`. Raises `Broken` where the data is no archive."""
    try:
        first, *rest = (json.loads(line) for line in data.splitlines())
        anchor = Link.parse(first["anchor"])
        if anchor is None:
            raise ValueError
        return anchor, [AuditRow(int(line["row"]), str(line["entry"]), str(line["hash"])) for line in rest]
    except (ValueError, KeyError, TypeError) as error:
        raise Broken(0, "this is not an archive of an audit") from error


def seal(before: Link, entry: str) -> str:
    """The hash of the row with this entry that follows `before`."""
    return hashlib.sha256(f"{before.seq + 1}\n{before.hash}\n{entry}".encode()).hexdigest()

"""The files that a job left behind, and how a path names a file whose name is no safe text."""

import re

from .base import JobId, Model
from .script import LeftOut

# What drives a terminal, reorders text or hides in it, and bytes that are not UTF-8, which Python decodes to
# half surrogates. The two joiners are safe: some writing systems and emoji need them.
UNSAFE = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f"
)
_TO_ESCAPE = re.compile(f"%(?=[0-9A-F]{{2}})|[{UNSAFE}]")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")


class Artifact(Model):
    """A file that a job left in /artifacts. `path` is relative to that directory, with `/` as separator.

    A path is safe text. In a file's name, `%` and two hexadecimal digits (`0-9A-F`) stand for a byte that is
    not, and `%25` for a `%` that would be read so.
    """

    path: str
    size: int
    sha256: str
    media_type: str


class ArtifactManifest(Model):
    """The files that a job left. `complete`: the job has ended, and the list is final.

    Until then, a SHA-256 is that of the file as it was when it was read for the list. `left_out` has the
    first of the `left_out_count` paths that are not published, and why; one that ends in `/` is a directory
    that is not published as a whole. `skipped` has the same paths, for earlier clients.
    """

    job_id: JobId
    complete: bool
    skipped: list[str] = []
    left_out: list[LeftOut] = []
    left_out_count: int = 0
    artifacts: list[Artifact]  # the last field: agent/jobs/manifest.py appends to it


def escape_name(name: bytes) -> str:
    """A file's name as a part of an artifact's path. Different names have different texts."""

    def escape(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))

    return _TO_ESCAPE.sub(escape, name.decode("utf-8", "surrogateescape"))


def escape_path(path: str) -> str:
    """The path of an artifact from that of its file in /artifacts, as a program writes it."""
    return "/".join(escape_name(part.encode("utf-8", "surrogateescape")) for part in path.split("/"))


def unescape_name(text: str) -> bytes:
    """The inverse of `escape_name`. Raises `ValueError` for a text that stands for no file's name."""
    name = _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), text.encode())
    if escape_name(name) != text or name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise ValueError("not a name of a file")
    return name

"""The file of a backup: whole or refused, and never written outside its directory."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from agent.backup.archive import HEADER, MAX_BETWEEN, SUMS, Header, Reader, Writer
from agent.errors import AgentError, Problem
from agent.model.base import now

Change = Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]


def header(size: int = 100_000, files: int = 100) -> Header:
    return Header(
        format=1,
        version="1",
        db_schema=1,
        made_at=now(),
        host="ml",
        record="ab",
        head="0:0",
        results=True,
        bytes=size,
        files=files,
    )


def backup(head: Header | None = None) -> bytes:
    """A small backup."""
    out = io.BytesIO()
    writer = Writer(out, head or header(), lambda _: None)
    writer.add_bytes("state/jobs.db", b"d" * 30_000)
    writer.add_bytes("state/jobs/abc/grö\udcffe", b"x" * 999, mode=0o6777, mtime=1000)
    writer.add_bytes("config/config.toml", b"")
    writer.finish()
    return out.getvalue()


def rewritten(data: bytes, change: Change, head: int = 0) -> bytes:
    """The same tar, of which each member may become others."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as old,
        gzip.GzipFile(fileobj=out, mode="wb") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            file = old.extractfile(member)
            for info, content in change(member, file.read() if file else b""):
                new.addfile(info, io.BytesIO(content))
    return out.getvalue()


def means(data: bytes, content: bytes) -> bool:
    """Whether it is another coding of the same content: a few bits of gzip's have no meaning."""
    with suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(data) == content
    return False


def extract(data: bytes, directory: Path) -> Reader:
    directory.mkdir(parents=True, exist_ok=True)
    reader = Reader(io.BytesIO(data), lambda _: None)
    reader.extract(directory)
    return reader


def refused(data: bytes, directory: Path) -> str:
    with pytest.raises(AgentError) as caught:
        extract(data, directory)
    assert caught.value.problem is Problem.INVALID_REQUEST
    return caught.value.message


def test_what_was_written_is_read_with_its_bytes_times_and_no_special_bits(tmp_path: Path) -> None:
    reader = extract(backup(), tmp_path / "out")
    assert reader.header.host == "ml"
    written = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert written == {
        "state/jobs.db": b"d" * 30_000,
        "state/jobs/abc/grö\udcffe": b"x" * 999,
        "config/config.toml": b"",
    }
    status = (tmp_path / "out/state/jobs/abc/grö\udcffe").stat()
    assert (status.st_mode & 0o7777 & ~0o755, status.st_mtime) == (0, 1000)


def test_each_cut_and_each_changed_byte_is_noticed(tmp_path: Path) -> None:
    data = backup()
    for at in range(0, len(data), max(1, len(data) // 150)):
        assert "damaged" in refused(data[:at], tmp_path / f"cut-{at}")
        changed = bytearray(data)
        changed[at] ^= 0x55
        if not means(bytes(changed), gzip.decompress(data)):
            refused(bytes(changed), tmp_path / f"changed-{at}")


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "state/../../evil",
        "state//evil",
        "state/./evil",
        "evil",
        "state",
        "other/evil",
        "state/" + "x" * 256,
        "state/" + "y/" * 2100 + "z",
        "",
    ],
)
def test_no_name_leads_outside(name: str, tmp_path: Path) -> None:
    def rename(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        if info.name == "config/config.toml":
            info.name, info.pax_headers = name, {"path": name}
        return [(info, content)]

    refused(rewritten(backup(), rename), tmp_path / "in/side")
    assert [path.name for path in tmp_path.rglob("*") if "evil" in path.name] == []


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_what_is_no_regular_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    def add(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
        if info.name != "state/jobs.db":
            return [(info, content)]
        link = tarfile.TarInfo("state/link")
        link.type, link.linkname = kind, "/etc"
        return [(link, b""), (info, content)]

    refused(rewritten(backup(), add), tmp_path / "out")
    assert not (tmp_path / "out/state").exists()


def twice(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(info, content)] * (2 if info.name == "state/jobs.db" else 1)


def missing(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [] if info.name == "config/config.toml" else [(info, content)]


def without_sums(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [] if info.name == SUMS else [(info, content)]


def without_header(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [] if info.name == HEADER else [(info, content)]


def more_after_the_end(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(info, content), (tarfile.TarInfo("state/more"), b"")] if info.name == SUMS else [(info, content)]


def file_as_directory(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    inner = tarfile.TarInfo("state/jobs.db/inner")
    return [(info, content), (inner, b"")] if info.name == "state/jobs.db" else [(info, content)]


def huge_names(info: tarfile.TarInfo, content: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    if info.name == "state/jobs.db":
        info.pax_headers = {"comment": "c" * (8 * MAX_BETWEEN)}
    return [(info, content)]


@pytest.mark.parametrize(
    "change",
    [twice, missing, without_sums, without_header, more_after_the_end, file_as_directory, huge_names],
)
def test_members_that_do_not_fit_are_refused(change: Change, tmp_path: Path) -> None:
    refused(rewritten(backup(), change), tmp_path / "out")


@pytest.mark.parametrize("head", [header(size=30_000), header(files=1)], ids=["bytes", "files"])
def test_no_more_is_written_than_the_header_says(head: Header, tmp_path: Path) -> None:
    assert "more than it says" in refused(backup(head), tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) <= 30_000


def test_a_later_format_and_what_is_no_backup_are_told_apart(tmp_path: Path) -> None:
    later = header().model_copy(update={"format": 2})
    assert "format 2" in refused(backup(later), tmp_path / "out")
    for data in (b"", b"no backup", gzip.compress(b"no tar"), gzip.compress(b"")):
        assert "damaged" in refused(data, tmp_path / "out")

"""The record of a job's artifacts: found in one by one, sent in pieces, and read from earlier versions."""

import errno
import json
import os
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from agent.cli.terminal import visible
from agent.jobs import manifest
from agent.jobs.artifacts import open_artifact
from agent.jobs.manifest import Record, Stamp, head_of, line_of, open_record, write_record
from agent.model.artifact import Artifact, escape_name, unescape_name
from agent.model.paths import AttemptPaths
from tests.support.artifacts import list_in

JOB = "abcdefgh2345"
STAMP = Stamp(1, 2, 3, 2**63 - 1)


def artifact(path: str, size: int = 1) -> Artifact:
    return Artifact(path=path, size=size, sha256="a" * 64, media_type="text/plain")


def written(directory: Path, *paths: str, keep: bool = True) -> Record:
    lines = {path: line_of(artifact(path, number), STAMP) for number, path in enumerate(paths)}
    return write_record(directory / "manifest.json", head_of(JOB, [], complete=True), lines, keep=keep)


def test_each_artifact_of_a_record_is_found_and_no_other(tmp_path: Path) -> None:
    paths = [
        *(
            "a",
            "a/b",
            "a0",
            "a\\",
            'quote"',
            "],[1]",
            ",[",
            "é",
            "日本語",
            "\U0010ffff",
            "\U0010ffff\U0010ffff",
        ),
        *("n" * 255, "per%2541cent", " ", *(f"d/{number}" for number in range(500))),
    ]
    written(tmp_path, *paths).close()
    record = open_record(tmp_path / "manifest.json")
    assert record
    for number, path in enumerate(paths):
        assert record.find(path) == (artifact(path, number), STAMP)
    for path in (
        "",
        "A",
        "a/",
        "b",
        "d",
        "d/",
        "d/500",
        "n" * 254,
        "n" * 256,
        "\U0010fffe",
        "\U0010ffff" * 3,
    ):
        assert record.find(path) is None, path
    record.close()


def test_nothing_is_found_in_an_empty_record(tmp_path: Path) -> None:
    record = written(tmp_path)
    assert record.find("a") is None
    record.close()


def test_one_of_ten_thousand_artifacts_is_found_without_reading_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = written(tmp_path, *("\U0001f468" * 25 + f"{number}" for number in range(10_000)))
    parsed: list[bytes] = []
    loads = json.loads

    def noted(line: bytes) -> Any:
        parsed.append(line)
        return loads(line)

    monkeypatch.setattr(manifest.json, "loads", noted)
    assert record.find("\U0001f468" * 25 + "7")
    assert len(parsed) < 30
    record.close()


async def test_a_long_record_is_sent_in_pieces(tmp_path: Path) -> None:
    paths = sorted("\U0001f468" * 25 + f"{number}" for number in range(3000))
    record = written(tmp_path, *paths)
    pieces = [piece async for piece in record.pieces()]
    assert max(map(len, pieces)) < manifest.PIECE_BYTES + 1000
    assert [each["path"] for each in json.loads(b"".join(pieces))["artifacts"]] == paths
    record.close()


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_a_short_list_is_whole(tmp_path: Path, count: int) -> None:
    found = await list_in(written(tmp_path, *(str(number) for number in range(count))))
    assert [each.path for each in found.artifacts] == [str(number) for number in range(count)]


def test_a_record_that_is_not_kept_has_no_name_and_is_in_memory_only_if_it_is_small(tmp_path: Path) -> None:
    small, large = written(tmp_path, "a", keep=False), written(tmp_path, *map(str, range(3000)), keep=False)
    assert (isinstance(small.file, BytesIO), isinstance(large.file, BytesIO)) == (True, False)
    assert os.fstat(large.file.fileno()).st_nlink == 0
    assert large.find("2999")
    assert list(tmp_path.iterdir()) == []
    for record in (small, large):
        record.close()


@pytest.mark.parametrize("keep", [False, True])
async def test_a_list_is_answered_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    def full(*_: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(manifest, "write_file", full)
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    found = await list_in(written(tmp_path, *map(str, range(3000)), keep=keep))
    assert len(found.artifacts) == 3000
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_lost_its_end_is_none(tmp_path: Path) -> None:
    written(tmp_path, "a", "b").close()
    path = tmp_path / "manifest.json"
    data = path.read_bytes()
    for damaged in (data[:-1], data + b"x", b"", b"{}\n", b"\xff"):
        path.write_bytes(damaged)
        assert open_record(path) is None


async def test_the_record_of_an_earlier_version_is_read_and_kept_in_the_present_form(tmp_path: Path) -> None:
    attempt = AttemptPaths(tmp_path, runtime_directory=Path("/nonexistent"), claim="")
    (attempt.artifacts / "sub").mkdir(parents=True)
    stamps, entries = {}, []
    for path in ("per%41cent", "sub/größe", "zero"):
        (attempt.artifacts / path).write_bytes(b"x")
        stamps[path] = Stamp.of((attempt.artifacts / path).stat())
        entries.append(artifact(path).model_dump())
    earlier = {"job_id": JOB, "complete": True, "artifacts": entries, "skipped": ["link", r"line\nbreak"]}
    attempt.manifest.write_text(json.dumps({"manifest": earlier, "stamps": stamps}, indent=1))
    for _ in ("converted", "kept"):
        record = open_record(attempt.manifest)
        assert record
        found = await list_in(record)
        assert [each.path for each in found.artifacts] == ["per%2541cent", "sub/größe", "zero"]
        assert (found.complete, found.skipped, found.left_out_count) == (True, ["line\\nbreak", "link"], 2)
        assert json.loads(attempt.manifest.read_bytes().partition(b"\n")[0])["bytes"]
    for path in ("per%2541cent", "sub/größe"):
        published = await open_artifact(attempt, path, complete=True)
        assert (published.file.read(), published.sha256) == (b"x", "a" * 64)
        published.file.close()


def test_a_name_and_its_text_are_the_same_both_ways() -> None:
    source = random.Random(13)
    parts = [
        b"%",
        b"%4",
        b"41",
        b"A",
        b"0",
        b"\n",
        b"\xff",
        b"\xc3",
        "é".encode(),
        b" ",
        b".",
        "\u202e".encode(),
    ]
    for _ in range(5000):
        name = b"".join(source.choices(parts, k=source.randint(1, 8)))
        if name not in (b".", b".."):
            assert unescape_name(escape_name(name)) == name


def test_every_name_is_safe_text() -> None:
    codes = (code for code in range(1, 0x110000) if code not in range(0xD800, 0xE000) and code != ord("/"))
    text = escape_name("".join(map(chr, codes)).encode())
    assert visible(text) == text
    assert not {"\t", "\n"} & set(text)
    for byte in range(0x80, 0x100):
        assert escape_name(bytes([byte])) == f"%{byte:02X}"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "%2F", "a%2Fb", "%2E", "%2E%2E", "%00", "\0", "%41", "\ud800", "a/b"]
)
def test_a_text_that_stands_for_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a name|surrogates"):
        unescape_name(text)

"""Links, rows and archives of the audit's chain."""

import json

import pytest

from agent.audit import chain
from agent.audit.chain import AuditRow, Broken, Link, Result

START = Link(0, "0" * 64)


def chained(*entries: str) -> list[AuditRow]:
    """A row for each entry, each behind the one before."""
    link, rows = START, []
    for entry in entries:
        rows.append(AuditRow(link.seq + 1, entry, chain.seal(link, entry)))
        link = rows[-1].link
    return rows


def test_rows_follow_one_another_and_no_other_row() -> None:
    first, second, third = chained("{}", "{}", "{}")
    assert chain.follow(chain.follow(START, first), second) == second.link
    for row in (third, first, AuditRow(2, "{ }", second.hash)):
        with pytest.raises(Broken) as caught:
            chain.follow(first.link, row)
        assert caught.value.seq == 2


def test_an_archive_reads_back() -> None:
    _, *rows = chained("{}", '{"at": "2026"}', "{}")
    anchor = Link(1, "ab" * 32)
    assert chain.read_archive(chain.write_archive(anchor, rows)) == (anchor, rows)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"anchor": "1:x"}', b'{"anchor": 1}\n{}'])
def test_text_that_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(Broken):
        chain.read_archive(data)


def test_a_link_parses_to_what_was_written() -> None:
    link = Link(12, "ab" * 32)
    assert Link.parse(str(link)) == link
    assert Link.parse("12") is Link.parse("x:" + "ab" * 32) is None


def test_an_unreadable_row_has_no_content() -> None:
    assert AuditRow(1, "no JSON", "").content() == AuditRow(1, "[]", "").content() == {}
    assert json.loads(chain.write_archive(START, []))["anchor"] == str(START)
    assert Result("done") is Result.DONE

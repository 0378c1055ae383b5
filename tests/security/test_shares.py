"""The table of attacks on shares fails where one gets through, and where there was none."""

import pytest

from tests.security.shares import Report


@pytest.mark.parametrize(("rows", "status"), [([True, True], 0), ([True, False], 1), ([], 1)])
def test_the_table_fails_with_one_broken_share(
    rows: list[bool], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report()
    for number, held in enumerate(rows):
        report.add(f"attack {number}", "what was seen", "what is right", held=held)
    assert report.status() == status
    assert f"{len(rows)} attacks on shares, {rows.count(False)} got through" in capsys.readouterr().out

"""The runner of the cases can fail, and says why."""

from collections.abc import Iterator
from typing import cast

import pytest

from .__main__ import make, report
from .look import MAX_SHOWN, Look, same, tells
from .place import Place

NOWHERE = cast(Place, None)


def test_a_look_is_right_if_what_is_seen_is() -> None:
    assert same("x", [1], [1]).good
    assert not same("x", [1], [2]).good
    assert tells("x", "a word", "word").good
    assert not tells("x", "a word", "another").good
    assert not tells("x", "a word, a Traceback", "word").good
    assert not tells("x", "a word", "word", never=("a ",)).good


def test_a_look_is_printed_with_what_is_right() -> None:
    wrong = same("things", "one\n\ntwo", "three" * MAX_SHOWN)
    first, seen, right = wrong.lines("a case")
    assert first == "NO  a case: things"
    assert seen == "      seen   one / two"
    assert right.endswith("three …")


def test_wrong_looks_and_broken_cases_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def good(_: Place) -> Iterator[Look]:
        yield same("x", 1, 1)

    def bad(_: Place) -> Iterator[Look]:
        yield same("x", 1, 2)
        raise ValueError("no such thing")

    def empty(_: Place) -> Iterator[Look]:
        yield from ()

    assert report(make(NOWHERE, {"good": good})) == 0
    assert report(make(NOWHERE, {"good": good, "bad": bad, "empty": empty})) == 3
    shown = capsys.readouterr().out
    assert "ok  good: x" in shown
    assert "seen   ValueError: no such thing" in shown
    assert "NO  empty: the case itself" in shown
    assert shown.splitlines()[-1] == "4 looks, 3 wrong"

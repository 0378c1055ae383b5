from collections import Counter

from .corpus import KINDS, VALUES


def test_there_are_many_values_and_each_is_there_once() -> None:
    assert len(VALUES) >= 300
    for kind in KINDS:
        assert max(Counter(kind.values).values()) == 1, kind.name


def test_every_kind_says_what_it_is_for() -> None:
    assert all(kind.why and kind.values for kind in KINDS)
    assert len({kind.name for kind in KINDS}) == len(KINDS)

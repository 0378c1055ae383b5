"""TOML that others write costs no more than it may, however it is made."""

import tracemalloc

import pytest

from agent.host.toml import MAX_DOTS, TooMuchError, parse


def test_what_is_within_bounds_is_what_tomllib_reads() -> None:
    key = ".".join(["a"] * MAX_DOTS)
    assert parse("[default]\naccount = 'x.y'\n") == {"default": {"account": "x.y"}}
    assert parse(f"{key} = 1") == parse(f"{key}=1")


@pytest.mark.parametrize(
    "text", ["{key} = 1", "[{key}]", "a = {{ {key} = 1 }}", "a = '''\n''' \nb = [{{{key} = 1}}]"]
)
def test_a_key_of_very_many_parts_is_refused_before_it_is_read(text: str) -> None:
    text = "# first\n" + text.format(key=".".join(["k"] * 100_000))
    with pytest.raises(TooMuchError, match=f"dots in line {text.count(chr(10)) + 1}"):
        parse(text)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(TooMuchError, match="nested"):
        parse("a = " + "[" * 100_000)


def test_the_most_that_a_request_may_carry_takes_little_memory() -> None:
    parts = ["a"] * (MAX_DOTS - 1)
    lines = [".".join([f"k{number}", *parts]) + "=1" for number in range(2**18 // 140)]
    tracemalloc.start()
    try:
        parse("\n".join(lines))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20

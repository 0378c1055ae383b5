import logging

import pytest

from agent.log import Formatter


def said(message: str, *arguments: object, error: BaseException | None = None) -> list[str]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("ml-agent", logging.INFO, "x.py", 1, message, arguments, info)
    return Formatter("%(message)s").format(record).split("\n")


@pytest.mark.parametrize("text", ["\n", "\r", "\x1b[2J", "\0", "\x7f", "\x85", "\x9b", "\u2028"])
def test_a_message_is_one_printable_line(text: str) -> None:
    (line,) = said("GET %s: refused", f"/a{text}job x: COMPLETED")
    assert line.isprintable()
    assert line.startswith("GET /a\\x")


def test_printable_text_is_unchanged() -> None:
    assert said("M\u00fcnchen \u6771\u4eac: 50 %%") == ["M\u00fcnchen \u6771\u4eac: 50 %%"]


def test_the_lines_of_a_traceback_do_not_look_like_messages() -> None:
    try:
        raise ValueError("a\njob x: COMPLETED\x1b[2J")
    except ValueError as caught:
        first, *rest = said("it failed", error=caught)
    assert first == "it failed"
    assert all(line.startswith("    ") and line.isprintable() for line in rest)

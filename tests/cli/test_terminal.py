"""Text that cannot drive a terminal."""

import pytest

from agent.cli.terminal import shown_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\täß漢", "plain\täß漢"),
        ("\x1b[1;31mred", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[2J\x1b[H", "^[[2J^[[H"),
        ("\x1b]52;c;aGk=\x07", "^[]52;c;aGk=^G"),
        ("\x9b31m\x7f\x00", "\\x9b31m^?^@"),
        ("a\u202eb\u2066", "a\\u202eb\\u2066"),
        ("\x1b\x1b[31m", "^[\x1b[31m\x1b[0m"),
    ],
)
def test_colours_pass_and_controls_become_visible(text: str, shown: str) -> None:
    assert visible(text, colours=True) == shown


def test_without_colours_no_escape_sequence_passes() -> None:
    assert visible("\x1b[31mred") == "^[[31mred"


@pytest.mark.parametrize(("line", "shown"), [("1%\r2%\r3%", "3%"), ("dos\r", "dos"), ("\r", ""), ("", "")])
def test_of_a_redrawn_line_the_last_drawing_is_shown(line: str, shown: str) -> None:
    assert shown_line(line, colours=True) == shown

"""Text from a job or from the agent, made harmless for a terminal."""

import re

RESET = "\x1b[0m"
_SGR = re.compile(r"\x1b\[[0-9;:]*m")  # colours and weights
# SGR sequences, and whatever else could move the cursor, make the terminal answer, reorder or hide text:
# C0 and C1 controls, line and paragraph separators, bidirectional marks, overrides and isolates, characters
# without width. The two joiners pass: some writing systems and emoji need them.
_CONTROL = re.compile(
    r"(?P<sgr>\x1b\[[0-9;:]*m)"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: str, *, colours: bool = False) -> str:
    """`text` that cannot drive a terminal: control characters become `^[`, `^H`, `\\x9b`, `\\u202e`, ….

    With `colours`, SGR sequences pass, and a reset follows if there were any.
    """
    seen_colours = False

    def replace(match: re.Match[str]) -> str:
        nonlocal seen_colours
        if colours and match["sgr"]:
            seen_colours = True
            return match[0]
        return "".join(_escape(character) for character in match[0])

    shown = _CONTROL.sub(replace, text)
    return shown + RESET if seen_colours else shown


def _escape(character: str) -> str:
    code = ord(character)
    if character.isprintable():
        return character
    if code < 0x20 or code == 0x7F:
        return f"^{chr(code ^ 0x40)}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown_line(line: str, *, colours: bool) -> str:
    """A log line as a terminal would leave it: of a progress bar redrawn with CR, the last drawing."""
    drawings = [part for part in line.split("\r") if part]
    if drawings and not colours:
        drawings = [_SGR.sub("", drawings[-1])]
    return visible(drawings[-1] if drawings else "", colours=colours)

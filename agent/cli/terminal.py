"""Results on stdout and remarks on stderr, for a person at a terminal or for a program in a pipe."""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..model.artifact import UNSAFE
from .failure import Failure

ERASE = "\x1b[2K"  # the line that the cursor is on
STATUS_INTERVAL = 0.1  # seconds

RESET = "\x1b[0m"
_SGR = re.compile(r"\x1b\[[0-9;:]*m")  # colours and weights
# SGR sequences, and whatever else could move the cursor, make the terminal answer, reorder or hide text.
_CONTROL = re.compile(rf"(?P<sgr>\x1b\[[0-9;:]*m)|(?!\t)[{UNSAFE}]")


Columns = Sequence[Column | str]  # a plain column is its title


def bold(title: str) -> Column:
    """A column with bold text, such as what a row is about."""
    return Column(title, style="bold")


def right(title: str) -> Column:
    """A column of numbers."""
    return Column(title, justify="right")


class Screen:
    """Where output goes.

    `person`: stdout is a terminal. `watched`: stderr is one. `redraws`: what is on stdout can be replaced,
    which a dumb terminal cannot do. `colours`: colours of a job's log may pass.
    """

    def __init__(self) -> None:
        self.person = sys.stdout.isatty()
        self.watched = sys.stderr.isatty()
        self.out = Console(highlight=False)
        self.err = Console(stderr=True, highlight=False)
        self.redraws = self.person and not self.out.is_dumb_terminal
        self.colours = self.redraws and not os.environ.get("NO_COLOR")
        self._goes_on = False  # a person sees the beginning of a log line that has not ended
        self._status = ""
        self._drawn = False
        self._drawn_at = 0.0
        self._drawing: asyncio.TimerHandle | None = None

    def status(self, text: str) -> None:
        """Keeps a line below all other output, at a terminal; an empty text removes it."""
        if not (self.redraws and self.watched):
            return
        self._status = text
        if text:
            self._draw_soon()
        else:
            self._erase()

    def _draw_soon(self) -> None:
        """Draws at once, or after a pause since the last drawing: a log may be faster than any eye."""
        if self._drawing is None:
            rest = max(0.0, self._drawn_at + STATUS_INTERVAL - time.monotonic())
            self._drawing = asyncio.get_running_loop().call_later(rest, self._draw)

    def _draw(self) -> None:
        self._drawing = None
        if self._goes_on:
            return  # the end of that line draws it
        self._drawn_at, self._drawn = time.monotonic(), True
        sys.stderr.write(f"\r{ERASE}{self._status[: self.err.width - 1]}")
        sys.stderr.flush()

    def _erase(self) -> None:
        """Removes the status line for other output, and draws it again below that."""
        if self._drawn:
            self._drawn = False
            sys.stderr.write(f"\r{ERASE}")
            sys.stderr.flush()
        if self._status:
            self._draw_soon()
        elif self._drawing is not None:
            self._drawing.cancel()
            self._drawing = None

    def result(self, value: object, show: Callable[[], None], *, as_json: bool) -> None:
        """Prints the result of a command: as JSON where that is asked for, else as `show` does."""
        if as_json:
            self.json(value)
        else:
            show()

    def json(self, value: object, *, of_many: bool = False) -> None:
        """Prints a JSON value: indented for a person, on one line for a program, or as one of many."""
        # At a terminal everything but ASCII is escaped: no control or bidirectional character gets through.
        indent = 2 if self.person and not of_many else None
        text = json.dumps(value, indent=indent, ensure_ascii=self.person)
        self.write(f"{text}\n".encode(errors="backslashreplace"))

    def log(self, line: bytes, *, continued: bool = False) -> None:
        """Prints a line of a job's log: unchanged for a program, made harmless for a terminal.

        `continued`: the next line continues this one, which does not end yet.
        """
        if b"\r" in line:
            self.end_line()  # before another drawing of a progress bar
        if self.person:
            line = shown_line(line.decode(errors="replace"), colours=self.colours).encode()
        self.write(line if continued else line + b"\n")
        self._goes_on = continued and self.person

    def end_line(self) -> None:
        """At a terminal, ends a line that goes on, before other output."""
        if self._goes_on:
            self._goes_on = False
            self.write(b"\n")

    def write(self, data: bytes) -> None:
        """Writes bytes to stdout at once."""
        self._erase()
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def text(self, text: Text) -> None:
        """Prints a result for a person."""
        self.out.print(text, soft_wrap=True)

    def remark(self, text: str, *, style: str = "") -> None:
        """Prints a remark on stderr."""
        self.end_line()
        self._erase()
        self.err.print(Text(visible(text), style=style), soft_wrap=True)

    def table(self, columns: Columns, rows: Sequence[Sequence[Text | str]], *, head: bool = True) -> None:
        """Prints a table: aligned, with a head, for a person; tab-separated, without one, for a program."""
        if not self.person:
            for row in rows:
                cells = (visible(str(cell)).replace("\t", "^I") for cell in row)
                self.write(("\t".join(cells) + "\n").encode())
            return
        self.out.print(self.rich_table(columns, rows, head=head))

    def rich_table(
        self, columns: Columns, rows: Sequence[Sequence[Text | str]], *, head: bool = True
    ) -> Table:
        """The table for a person."""
        # A column keeps the cells of its table.
        own = (each if isinstance(each, str) else each.copy() for each in columns)
        table = Table(
            *own, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_header=head
        )
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else Text(visible(cell)) for cell in row))
        return table

    def sheet(self, facts: Iterable[tuple[str, Text | str]]) -> None:
        """Prints a line for each fact that has a value: aligned for a person, tab-separated for a program."""
        for title, value in facts:
            if not str(value):
                continue
            if self.person:
                shown = value if isinstance(value, Text) else Text(visible(value))
                self.text(Text.assemble((f"{title:<15}", "dim"), shown))
            else:
                self.write(f"{title}\t{visible(str(value))}\n".encode())

    def failure(self, failure: Failure) -> None:
        """Prints what went wrong, each refused value, and what helps."""
        self.err.print(Text.assemble(("error: ", "bold red"), visible(failure.message)), soft_wrap=True)
        for error in failure.fields:
            self.err.print(
                Text.assemble("  ", (visible(error.field), "bold"), ": ", visible(error.message)),
                soft_wrap=True,
            )
        if failure.hint:
            self.err.print(Text.assemble(("hint: ", "bold"), visible(failure.hint)), soft_wrap=True)


def visible(text: str, *, colours: bool = False) -> str:
    """`text` that cannot drive a terminal: control characters become `^[`, `^H`, `\\x9b`, `\\u202e`, ….

    With `colours`, SGR sequences pass, and a reset follows if there were any.
    """

    def replace(match: re.Match[str]) -> str:
        return match[0] if colours and match["sgr"] else "".join(map(_escape, match[0]))

    shown = _CONTROL.sub(replace, text)
    return shown + RESET if colours and _SGR.search(text) else shown


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

"""Lines and gaps of a log on their way to a client: which of them, and how they are written.

Every line of every log comes through here: no model is made of one.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from json.encoder import encode_basestring

from pydantic_core import SchemaError, SchemaValidator, core_schema

from ...logs.lines import Gap, Item, Line
from ...model.base import format_milliseconds
from ...model.log import LogGap
from ..server.problems import invalid
from ..server.streams import Form

MAX_PATTERN = 128  # characters, with counts written out
SLICE = 0.01  # seconds of matching after which others get as many

# What an expression is made of, as far as counts go; behind `\p{` and `\x{` are characters like others.
TOKEN = re.compile(r"\\[pPxuU]\{|\\.|\{(?P<counts>[0-9]+,?[0-9]*|,[0-9]+)\}|.", re.DOTALL)


def pattern(expression: str) -> Callable[[str], bool]:
    """Whether a text has a match of the regular expression. Raises `AgentError` (invalid-request).

    In the syntax of Rust's regex crate, which pydantic brings: it takes time in proportion to the text and
    to the expression, with its counts written out; within it, nobody else has a turn. Python's own may take
    for ever.
    """
    if _written_out(expression) > MAX_PATTERN:
        raise invalid(
            "grep",
            f"must have at most {MAX_PATTERN} characters with its counts, such as {{2,4}}, written out; "
            "use smaller ones, or + and *",
        )
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=expression, regex_engine="rust-regex"))
    except SchemaError as error:
        why = str(error).strip().splitlines()[-1].removeprefix("error: ")
        raise invalid("grep", f"must be a regular expression of Rust's syntax: {why}") from error
    return validator.isinstance_python


def _written_out(expression: str) -> int:
    """How many characters it has, at the most, where counts are written out: `ab{3}` is `abbb`.

    Without a parser of Rust's syntax, whose comments and classes could lead one astray: a count behind what
    may be more than one character, as behind a parenthesis, counts for all that is before it.
    """
    size, before = 0, ""
    for token in TOKEN.finditer(expression):
        if token["counts"]:
            times = max(1, *(int(count) for count in token["counts"].split(",") if count))
            one = before.isascii() and before.isprintable() and before not in " )}?*+"
            size = size - 1 + times if one else size * times
        elif token[0] == "{":
            raise invalid("grep", r"must have counts such as {2}, {2,} or {2,4}, and a brace itself as \{")
        else:
            size += 1
        before = token[0][-1]
    return size


class LineFilter:
    """Those that were asked for. Times are milliseconds since 1970; a gap has no text, and passes `grep`.

    Whoever looks for an expression takes turns with all others who do: `turn`.
    """

    def __init__(self, *, since: int | None, until: int | None, grep: str | None, turn: asyncio.Lock) -> None:
        self._turn = turn
        self._since = since
        self._until = until
        self._matches = pattern(grep) if grep is not None else None

    @property
    def takes_all(self) -> bool:
        """Whether nothing is left out."""
        return self._since is None and self._until is None and self._matches is None

    async def __call__(self, items: list[Item]) -> list[Item]:
        """What is left of them."""
        since, until = self._since, self._until
        if since is not None:
            items = [item for item in items if item.time >= since]
        if until is not None:
            items = [item for item in items if item.time <= until]
        return await self._matching(items, self._matches) if self._matches else items

    async def _matching(self, items: list[Item], matches: Callable[[str], bool]) -> list[Item]:
        """Everybody else on the event loop has as much of its time as all expressions together."""
        found, left, clock = [], iter(items), asyncio.get_running_loop().time
        while True:
            async with self._turn:
                begun = clock()
                for item in left:
                    if isinstance(item, Gap) or matches(item.text.decode("utf-8", "replace")):
                        found.append(item)
                    if (taken := clock() - begun) > SLICE:
                        break
                else:
                    return found
                await asyncio.sleep(taken)


def as_events(items: Iterable[Item], form: Form) -> bytes:
    """Each as an event with its id, and with what `LogLine` or `LogGap` say as its data."""
    texts = []
    for item in items:
        # A gap before the first entry that is left has none that one could continue behind.
        event_id = str(item.position) if item.cursor else ""
        if isinstance(item, Line):
            texts.append(form.event("line", line_data(item), event_id))
        else:
            texts.append(form.event("gap", _gap_data(item), event_id))
    return "".join(texts).encode()


def line_data(line: Line) -> str:
    """The JSON of a `LogLine`."""
    text = encode_basestring(line.text.decode("utf-8", "replace"))
    continued = ',"continued":true' if line.continued else ""
    return (
        f'{{"number":{line.number},"time":"{format_milliseconds(line.time)}",'
        f'"source":"{line.source.value}","text":{text}{continued}}}'
    )


def _gap_data(gap: Gap) -> str:
    time = datetime.fromtimestamp(gap.time / 1000, UTC)
    return LogGap(after=gap.after, count=gap.dropped, time=time).model_dump_json(exclude_none=True)

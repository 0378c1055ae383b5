"""Filters the lines and gaps of a log and writes them as events.

Every line of every log passes through here, so no model is made of a line.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from json.encoder import encode_basestring

from pydantic_core import SchemaError, SchemaValidator, core_schema

from ...logs.lines import Gap, Item, Line
from ...model.base import format_milliseconds
from ...model.log import LogGap
from ..server.problems import invalid
from ..server.streams import Form

MAX_PATTERN = 128  # characters, with counts written out: `a{3}` counts as `aaa`
SLICE = 0.01  # seconds of matching, after which the event loop has as long for everything else

# The tokens of an expression, as far as counts need them. What follows `\p{` and `\x{` are plain characters.
TOKEN = re.compile(r"\\[pPxuU]\{|\\.|\{(?P<counts>[0-9]+,?[0-9]*|,[0-9]+)\}|.", re.DOTALL)


def pattern(expression: str) -> Callable[[str], bool]:
    """A function that tells whether a text matches. Raises `AgentError` (invalid-request).

    The syntax is that of Rust's regex crate, which pydantic includes. Its time is proportional to the text
    and to the expression with counts written out; the event loop waits for it. Python's `re` may take for
    ever.
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
        raise invalid("grep", f"must be a regular expression in the syntax of Rust: {why}") from error
    return validator.isinstance_python


def _written_out(expression: str) -> int:
    """An upper bound of the length of the expression with counts written out: `ab{3}` is `abbb`.

    This is no parser: comments and classes could mislead it. A count behind anything that may be more than
    one character, such as a parenthesis, therefore multiplies everything before it.
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
    """Keeps the items that a request asks for. A gap always passes `grep`.

    Times are in milliseconds since 1970. All filters with an expression take turns by the lock `turn`.
    """

    def __init__(self, *, since: int | None, until: int | None, grep: str | None, turn: asyncio.Lock) -> None:
        self._turn = turn
        self._since = since
        self._until = until
        self._matches = pattern(grep) if grep is not None else None

    @property
    def takes_all(self) -> bool:
        """Whether every item passes."""
        return self._since is None and self._until is None and self._matches is None

    async def __call__(self, items: list[Item]) -> list[Item]:
        """The items that pass."""
        since, until = self._since, self._until
        if since is not None:
            items = [item for item in items if item.time >= since]
        if until is not None:
            items = [item for item in items if item.time <= until]
        return await self._matching(items, self._matches) if self._matches else items

    async def _matching(self, items: list[Item], matches: Callable[[str], bool]) -> list[Item]:
        """Leaves as much time of the event loop to everything else as all expressions take together."""
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


def as_events(items: Iterable[Item], form: Form, seal: Callable[[str], str]) -> bytes:
    """The items as events with sealed ids; the data has the form of `LogLine` or `LogGap`."""
    texts = []
    for item in items:
        if isinstance(item, Line):
            name, data, number = "line", line_data(item), item.number
        else:
            time = datetime.fromtimestamp(item.time / 1000, UTC)
            gap = LogGap(after=item.after, count=item.dropped, cause=item.cause, time=time)
            name, data, number = "gap", gap.model_dump_json(exclude_none=True), item.after
        # A gap before the first remaining entry has no id: there is no entry to resume behind. Others have
        # their position, which would take longer to write by way of `Position`.
        event_id = seal(f"{number}:{item.cursor}") if item.cursor else ""
        texts.append(form.event(name, data, event_id))
    return "".join(texts).encode()


def line_data(line: Line) -> str:
    """The JSON of a `LogLine`."""
    exact = ""
    try:
        text = line.text.decode()
    except UnicodeDecodeError:
        text = line.text.decode("utf-8", "replace")
        exact = f',"base64":"{b64encode(line.text).decode()}"'
    stream = f'"stream":"{line.stream.value}",' if line.stream else ""
    continued = ',"continued":true' if line.continued else ""
    return (
        f'{{"number":{line.number},"time":"{format_milliseconds(line.time)}",'
        f'"source":"{line.source.value}",{stream}"text":{encode_basestring(text)}{exact}{continued}}}'
    )

"""Lines and gaps of a log on their way to a client: which of them, and how they are written.

Every line of every log comes through here: no model is made of one.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from json.encoder import encode_basestring

from pydantic_core import SchemaError, SchemaValidator, core_schema

from ..journal import Gap, Item, Line
from ..models import LogGap, LogSource, format_milliseconds
from .problems import invalid
from .streams import Form

MAX_PATTERN = 128  # characters


def pattern(expression: str) -> Callable[[str], bool]:
    """Whether a text has a match of the regular expression. Raises `AgentError` (invalid-request).

    In the syntax of Rust's regex crate, which pydantic brings: it takes time in proportion to the text,
    whatever the expression is, and bounds what it makes of one. Python's own may take for ever.
    """
    try:
        validator = SchemaValidator(core_schema.str_schema(pattern=expression, regex_engine="rust-regex"))
    except SchemaError as error:
        why = str(error).strip().splitlines()[-1].removeprefix("error: ")
        raise invalid("grep", f"must be a regular expression of Rust's syntax: {why}") from error
    return validator.isinstance_python


class LineFilter:
    """Those that were asked for. Times are milliseconds since 1970; a gap has no text, and passes `grep`."""

    def __init__(self, *, since: int | None, until: int | None, grep: str | None) -> None:
        self._since = since
        self._until = until
        self._matches = pattern(grep) if grep is not None else None

    @property
    def takes_all(self) -> bool:
        """Whether nothing is left out."""
        return self._since is None and self._until is None and self._matches is None

    def __call__(self, items: list[Item]) -> list[Item]:
        """What is left of them."""
        since, until, matches = self._since, self._until, self._matches
        if since is not None:
            items = [item for item in items if item.time >= since]
        if until is not None:
            items = [item for item in items if item.time <= until]
        if matches is not None:
            items = [
                item
                for item in items
                if isinstance(item, Gap) or matches(item.text.decode("utf-8", "replace"))
            ]
        return items


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


def as_text(items: Iterable[Item]) -> bytes:
    """The job's own lines, byte for byte; a line feed ends each that journald has not cut."""
    lines = (item for item in items if isinstance(item, Line) and item.source is LogSource.JOB)
    return b"".join([line.text if line.continued else line.text + b"\n" for line in lines])


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

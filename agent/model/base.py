"""What every model shares: the base class, times, text, names and job ids."""

import functools
import re
import secrets
import unicodedata
from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH = 12
ID_PREFIX_LENGTH = 8  # two jobs never share these, so that a table may show them alone
UNIT_PATTERN = re.compile(r"^ml-job@([a-z2-7]{12})\.service$")
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"  # as the contract says it; JSON has half characters besides


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`, as everything this agent says."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_milliseconds(value: int) -> str:
    """The same for milliseconds since 1970; the part that lines have in common is made once."""
    seconds, milliseconds = divmod(value, 1000)
    return f"{_format_second(seconds)}.{milliseconds:03d}Z"


def format_number(value: float) -> str:
    """With all its digits: `20221198336`, `8`, `0.5`."""
    return str(int(value)) if float(value).is_integer() else str(value)


@functools.lru_cache(maxsize=64)
def _format_second(value: int) -> str:
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def now() -> datetime:
    """The current time in UTC, cut to the milliseconds that are stored and served."""
    value = datetime.now(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def new_job_id() -> str:
    """Twelve random characters of lowercase base 32 (60 bits)."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def unit_name(job_id: str) -> str:
    """`ml-job@<id>.service`."""
    return f"ml-job@{job_id}.service"


def job_id_of(unit: str) -> str | None:
    """The job a unit name belongs to, or None where it is no job's unit."""
    match = UNIT_PATTERN.match(unit)
    return match[1] if match else None


def _reject_controls(value: str) -> str:
    """Values must survive an environment variable and a line of a terminal.

    A line break or a NUL is never part of a hyperparameter, and unpaired surrogates are no text.
    """
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueError(f"must not contain control characters (found U+{ord(character):04X})")
    return value


def _whole(value: object) -> object:
    """JSON Schema takes 3.0 for an integer, and some languages write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Time = Annotated[datetime, PlainSerializer(format_time, return_type=str)]
Text = Annotated[str, AfterValidator(_reject_controls), Field(json_schema_extra={"pattern": PRINTABLE})]
JobId = Annotated[str, Field(pattern=r"^[a-z2-7]{12}$")]
UserName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")]
WHOLE = BeforeValidator(_whole)  # behind the bounds, which would not be in the JSON schema otherwise
SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
NetworkName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class Model(BaseModel):
    """Frozen, and strict about names: an unknown field is an error, not a wish that is silently dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

"""The base class of all models, times, text, names and job ids."""

import functools
import re
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
ID_LENGTH = 12
ID_PREFIX_LENGTH = 8  # unique among all jobs: a table may show these alone
UNIT_PATTERN = re.compile(r"^ml-job@([a-z2-7]{12})\.service$")
# Unicode's general categories Cc and Cs.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"  # in the OpenAPI document; lone surrogates are refused, too


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`: the only format of times that the agent writes."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_milliseconds(value: int) -> str:
    """The same for milliseconds since 1970. It is fast for successive lines of a log."""
    seconds, milliseconds = divmod(value, 1000)
    return f"{_format_second(seconds)}.{milliseconds:03d}Z"


def format_number(value: float) -> str:
    """A number with all its digits: `20221198336`, `8`, `0.5`."""
    return str(int(value)) if float(value).is_integer() else str(value)


def format_bytes(size: int) -> str:
    """A size in the largest unit that gives a whole number, or cut to two digits: `900 GiB`, `15.61 GiB`."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{format_number((size * 100 >> shift) / 100)} {unit}"
    return f"{size} bytes"


@functools.lru_cache(maxsize=64)
def _format_second(value: int) -> str:
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


def now() -> datetime:
    """The current time in UTC, cut to milliseconds, as it is stored and served."""
    value = datetime.now(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def one_line(text: str) -> str:
    """The same text without line feeds and other white space at the ends of its lines."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def new_job_id() -> str:
    """Twelve random characters of lowercase base 32 (60 bits)."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def unit_name(job_id: str) -> str:
    """`ml-job@<id>.service`."""
    return f"ml-job@{job_id}.service"


def job_id_of(unit: str) -> str | None:
    """The job of a unit, or None if the unit is no job's."""
    match = UNIT_PATTERN.match(unit)
    return match[1] if match else None


def container_name(job_id: str) -> str:
    """`ml-job-<id>`, as the template of jobs names its containers."""
    return f"ml-job-{job_id}"


def job_id_of_container(name: str) -> str | None:
    """The job of a container, or None if the container is no job's."""
    return job_id_of(unit_name(name.removeprefix("ml-job-"))) if name.startswith("ml-job-") else None


def _reject_controls(value: str) -> str:
    """Refuses characters that an environment variable or a line of a terminal cannot hold.

    These are control characters, among them line feed and NUL, and lone surrogates.
    """
    if found := CONTROL.search(value):
        raise ValueError(f"must not contain control characters (found U+{ord(found[0]):04X})")
    return value


def _whole(value: object) -> object:
    """3.0 as 3: JSON Schema counts it as an integer, and some languages write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Time = Annotated[datetime, PlainSerializer(format_time, return_type=str)]
Text = Annotated[str, AfterValidator(_reject_controls), Field(json_schema_extra={"pattern": PRINTABLE})]
JobId = Annotated[str, Field(pattern=r"^[a-z2-7]{12}$")]
UserName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")]
WHOLE = BeforeValidator(_whole)  # must follow the bounds, or the JSON schema lacks them
SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
NetworkName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
HostName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]


class OpenEnum(StrEnum):
    """Texts of which a later version may know more: one that is none of these is a member of its own."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        later = str.__new__(cls, value)
        later._name_ = later._value_ = value
        return later


class Model(BaseModel):
    """Frozen. An unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def told(cls, document: Any) -> Self:
        """What a program of maybe a later version has told: what only that one knows is left out.

        Raises `ValidationError`.
        """
        return cls.model_validate(document, extra="ignore")

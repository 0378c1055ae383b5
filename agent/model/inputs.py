"""Hyperparameters, inputs and limits of a job."""

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from .alias import AliasName, ModelName
from .base import WHOLE, JobId, Model, Text

MAX_PARAMETERS = 100
MAX_PARAMETER_NAME = 64  # characters; the variable is HP_<NAME>
MAX_PARAMETER_VALUE = 4096  # characters
MAX_PARAMETERS_SIZE = 32 * 1024  # bytes of all names and values in UTF-8
MAX_INPUTS = 20


def _reject_non_string(value: object) -> object:
    if isinstance(value, bool | int | float):
        raise ValueError(f'must be a string; write "{value}" in quotes')
    return value


ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=MAX_PARAMETER_NAME)]
ParameterValue = Annotated[Text, BeforeValidator(_reject_non_string), Field(max_length=MAX_PARAMETER_VALUE)]


def check_parameters_size(values: dict[str, str]) -> dict[str, str]:
    """The same parameters. Raises `ValueError` if they are too large together."""
    if sum(len(name) + len(value.encode()) for name, value in values.items()) > MAX_PARAMETERS_SIZE:
        raise ValueError(f"must have {MAX_PARAMETERS_SIZE} bytes at most, names and values together")
    return values


Parameters = Annotated[
    dict[ParameterName, ParameterValue],
    Field(max_length=MAX_PARAMETERS),
    AfterValidator(check_parameters_size),
]
PARAMETERS = TypeAdapter[dict[str, str]](Parameters)
PARAMETERS_BOUND = f"at most {MAX_PARAMETERS}, and {MAX_PARAMETERS_SIZE} bytes together"


# The name of a file in /inputs. It is the one name from a client that names a file of the agent's.
InputName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


class NamedInput(Model):
    """An artifact of an earlier job, by its `path` in that job's list, or what an alias points at."""

    job_id: JobId | None = None
    path: Annotated[Text, Field(min_length=1, max_length=1024)] | None = None
    model: ModelName | None = None
    alias: AliasName | None = None

    @model_validator(mode="after")
    def _artifact_or_alias(self) -> Self:
        if self.model_dump(exclude_none=True).keys() not in ({"job_id", "path"}, {"model", "alias"}):
            raise ValueError("must have either job_id and path, or model and alias")
        return self


class RequestedInput(NamedInput):
    """The same in a request."""


class JobInput(Model):
    """What a job sees as a file in /inputs: the artifact, its size in bytes, and its SHA-256.

    The last two are absent until the job that leaves the artifact has ended. `model` and `alias` are those
    that the request named, as they were when the job was accepted.
    """

    job_id: JobId
    path: str
    size: int | None = None
    sha256: str | None = None
    model: ModelName | None = None
    alias: AliasName | None = None


RequestedInputs = Annotated[dict[InputName, RequestedInput], Field(max_length=MAX_INPUTS)]


class Limits(Model):
    """What a job may use. The limits on artifacts are checked every few seconds, the others by systemd.

    `artifact_bytes` bounds the content of /artifacts, by size or by blocks, whichever is more, and each file.
    `artifact_files` counts names of any kind. `grace_seconds` is the time between SIGTERM and SIGKILL; if it
    is absent, the site's template decides. `cpus` is at least 0.1, so that a unit that is stopped writes its
    exit record within the grace.
    """

    memory_bytes: Annotated[int, Field(ge=16 * 2**20, le=2**50), WHOLE] | None = None
    cpus: Annotated[float, Field(ge=0.1, le=4096, allow_inf_nan=False)] | None = None
    tasks: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None
    run_time_seconds: Annotated[int, Field(ge=1, le=30 * 24 * 3600), WHOLE] | None = None
    grace_seconds: Annotated[int, Field(ge=1, le=24 * 3600), WHOLE] | None = None
    artifact_bytes: Annotated[int, Field(ge=2**20, le=2**50), WHOLE] | None = None
    artifact_files: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = None

    def over(self, defaults: "Limits") -> "Limits":
        """These limits, and the defaults where they say nothing."""
        return defaults.model_copy(update=self.model_dump(exclude_none=True))


class ResolvedLimits(Model):
    """Limits that leave nothing open, except the grace: None is what the site's template says."""

    memory_bytes: int
    cpus: float
    tasks: int
    run_time_seconds: int
    grace_seconds: int | None
    artifact_bytes: int
    artifact_files: int


class RequestedLimits(Limits):
    """Limits in a request: JSON numbers only, no strings and no booleans."""

    model_config = ConfigDict(strict=True)


def same_variable(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two hyperparameters that would become the same environment variable."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.upper(), name)
        if other != name:
            return other, name
    return None

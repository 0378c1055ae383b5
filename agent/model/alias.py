"""Models by name: each alias of a model points at an artifact of a job."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ..errors import AgentError, Problem
from .base import JobId, Model, Text, Time, UserName
from .readers import Readers

MAX_MODELS = 100  # of a user
MAX_ALIASES = 20  # of a model
MAX_MOVES = 100  # of an alias, in its history
MAX_PATH = 8000  # characters of an artifact's path
ANY = "*"  # in a precondition: whatever version there is

ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
AliasName = ModelName
Version = Annotated[str, Field(pattern=r"^[a-z2-7]{12}$")]


class AliasTarget(Model):
    """The body of `PUT /models/{model}/aliases/{alias}`: an artifact of a job that has COMPLETED."""

    job_id: JobId
    path: Annotated[Text, Field(min_length=1, max_length=MAX_PATH)]


class Alias(Model):
    """What an alias has pointed at since `moved_at`, when `moved_by` moved it.

    `number` counts the moves of the alias from 1. `version` is the move's own: no other move has it, of
    whatever alias.
    """

    alias: AliasName
    number: int
    version: Version
    job_id: JobId
    path: str
    size: int
    sha256: str
    media_type: str
    moved_by: UserName
    moved_at: Time

    def same_artifact(self, other: "Alias") -> bool:
        """Whether both point at the same bytes of the same job."""
        return (self.job_id, self.path, self.sha256) == (other.job_id, other.path, other.sha256)


class NamedModel(Model):
    """A model, whose owner made its first alias. `revision` counts the changes of this record."""

    model: ModelName
    owner: UserName
    readers: Readers = Readers()
    aliases: list[Alias] = []
    created_at: Time
    revision: int = 1

    def find(self, alias: str) -> Alias | None:
        """The alias with that name, or None."""
        return next((each for each in self.aliases if each.alias == alias), None)


class NamedModelPage(Model):
    """A page of `GET /models`, newest first. The last page has no `next_cursor`."""

    models: list[NamedModel]
    next_cursor: str | None = None


class AliasHistory(Model):
    """The newest `MAX_MOVES` moves of an alias, the newest first."""

    moves: list[Alias]


@dataclass(frozen=True)
class Condition:
    """When a change may be made: what If-Match and If-None-Match say of an alias's version.

    None, and the empty set, say nothing.
    """

    match: frozenset[str] | None = None
    none_match: frozenset[str] = frozenset()

    def check(self, version: str | None) -> None:
        """Raises `AgentError` (precondition-failed). `version` is None where there is no such alias."""
        now = set() if version is None else {version, ANY}
        if now & self.none_match or (self.match is not None and not now & self.match):
            said = f"has the version {version}" if version else "is not there"
            raise AgentError(
                Problem.PRECONDITION_FAILED,
                f"The alias {said}, so somebody else was faster.",
                "Look at it again, and send If-Match with the version that you saw.",
            )


def no_such_model() -> AgentError:
    """For a model that does not exist, and for one that the client may not see."""
    return AgentError(
        Problem.MODEL_NOT_FOUND,
        "There is no such model, or you may not see it.",
        "GET /models, or `ml-job model list`, shows those that you may see.",
    )


def no_such_alias() -> AgentError:
    """For an alias that a model does not have."""
    return AgentError(
        Problem.ALIAS_NOT_FOUND,
        "The model has no such alias.",
        "GET /models/{model}, or `ml-job model show`, lists its aliases.",
    )


def name_taken() -> AgentError:
    """For an alias of a model that another user owns, also where the client may not see the model."""
    return AgentError(
        Problem.FORBIDDEN,
        "A model of this name belongs to another user.",
        "Choose another name, or ask its owner to move the alias.",
    )

"""Secrets. A client never sees a value."""

from ..errors import AgentError, Problem
from .base import HostName, JobId, Model, SecretName, Time, UserName


class SecretEntry(Model):
    """A secret without its value. `user` is absent if all users' jobs may have it.

    `age_seconds` is the time since the value was set. `missing_on` names the hosts of a fleet that do not
    have this value, and run no job that needs it; it is absent where all have it.
    """

    name: SecretName
    user: UserName | None = None
    created_at: Time
    updated_at: Time
    age_seconds: int
    missing_on: list[HostName] | None = None


class SecretList(Model):
    """Secrets by name. Of one name, the shared secret precedes the user's own."""

    secrets: list[SecretEntry]


class SecretChange(SecretEntry):
    """A secret that was just set. `rotated`: it replaced an earlier value.

    `earlier_value_in` lists the running jobs that still have the earlier value.
    """

    rotated: bool
    earlier_value_in: list[JobId]


MAX_SECRET_BYTES = 512_000  # Podman takes less than this
SNOWFLAKE_PREFIX = "snowflake"  # secrets whose names begin so are connections.toml files of Snowflake


def too_many_secrets(limit: int) -> AgentError:
    """The error for a user who has as many secrets as a user may have."""
    if not limit:
        return AgentError(
            Problem.TOO_MANY_SECRETS,
            "Only the operator sets secrets here.",
            "Ask for `ml-agent secret set NAME --user YOU`.",
        )
    return AgentError(
        Problem.TOO_MANY_SECRETS, f"You have {limit} secrets of your own.", "Remove one that no job needs."
    )

"""Secrets, of which a client never sees the value."""

from .base import JobId, Model, SecretName, Time, UserName


class SecretEntry(Model):
    """A secret without its value. `user` is absent where it is for everybody's jobs.

    `age_seconds` is how long ago the value was set.
    """

    name: SecretName
    user: UserName | None = None
    created_at: Time
    updated_at: Time
    age_seconds: int


class SecretList(Model):
    """Secrets by name; for everybody's jobs before the user's own."""

    secrets: list[SecretEntry]


class SecretChange(SecretEntry):
    """A secret that was just set; `rotated` where there was an earlier value.

    `earlier_value_in` are jobs that run, and keep what they were given when they began.
    """

    rotated: bool
    earlier_value_in: list[JobId]


MAX_SECRET_BYTES = 512_000  # Podman takes less than this

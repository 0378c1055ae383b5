"""Commits that an operator has withdrawn."""

from typing import Annotated

from pydantic import Field

from .base import Model, Text, Time

MAX_WITHDRAWAL_REASON = 200  # characters; with a sentence around it, it fits into the mark of a job's unit


class Withdrawal(Model):
    """A commit that may not run any more, why, and who said so. `stop_running` also ends jobs that run it."""

    commit: str
    reason: Annotated[Text, Field(min_length=1, max_length=MAX_WITHDRAWAL_REASON)]
    by: str
    at: Time
    stop_running: bool = False

    def sentence(self) -> str:
        """What users of the commit are told."""
        return f"Commit {self.commit[:12]} was withdrawn: {self.reason.rstrip('.')}."

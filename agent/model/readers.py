"""Who may read what belongs to a user, besides the user, operators and administrators."""

from typing import Annotated

from pydantic import AfterValidator, Field

from .base import Model, UserName

MAX_READERS = 50  # users that are named
EVERYBODY = "*"  # in a record, beside the names of users


class Readers(Model):
    """The named users, or everybody with a certificate of this host."""

    users: list[UserName] = []
    everybody: bool = False

    @property
    def names(self) -> list[str]:
        """As a record has them."""
        return [*self.users, EVERYBODY] if self.everybody else self.users

    def include(self, user: str) -> bool:
        """Whether the user is one of them."""
        return self.everybody or user in self.users


def _each_once(users: list[str]) -> list[str]:
    return sorted(set(users))


class RequestedReaders(Readers):
    """The same in a request, which replaces all that was said before. Without a member: nobody."""

    users: Annotated[list[UserName], Field(max_length=MAX_READERS), AfterValidator(_each_once)] = []
    everybody: Annotated[bool, Field(strict=True)] = False

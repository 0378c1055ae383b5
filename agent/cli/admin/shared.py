"""What the commands here share: arguments, the account's database, and the audit rows that they write."""

import asyncio
import contextlib
import os
import pwd
from collections.abc import Callable, Collection, Coroutine
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from ...audit.chain import Caller, Detail
from ...config import Settings
from ...errors import AgentError, invalid_request
from ...identity import revocations
from ...identity.authority import authorities, authority_id
from ...model.base import SecretName, UserName
from ...model.certificate import Certificate, Role
from ...model.ref import Withdrawal
from ...store.store import Store
from ..terminal import Screen

T = TypeVar("T")

MAX_SUDO_USER = 64  # characters
FEWEST_DIGITS = 6  # of an abbreviated id


def account() -> Caller:
    """Who runs this command: the account of the user id, and in `source` who called sudo, by its word."""
    sudo = "".join(c for c in os.environ.get("SUDO_USER", "")[:MAX_SUDO_USER] if c.isprintable())
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Caller(actor=name, role="account", source=f"sudo of {sudo}" if sudo else "this host")


def in_store(settings: Settings, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """What `work` does with the account's database."""

    async def opened() -> T:
        async with Store.open(settings.database) as store:
            return await work(store)

    return asyncio.run(opened())


def meant(text: str, known: Collection[str], what: str) -> str | None:
    """The id that a text is, or the only one that begins with its six or more digits; None without one.

    Raises `AgentError` (invalid-request) where several ids of `what` begin so.
    """
    if text in known:
        return text
    found = [each for each in known if len(text) >= FEWEST_DIGITS and each.startswith(text)]
    if len(found) > 1:
        message = f"Several {what} begin with {text}: {', '.join(found)}."
        raise invalid_request(message, "Type more digits.")
    return found[0] if found else None


def record(settings: Settings, action: str, subject: str = "", /, **details: Detail) -> None:
    """Writes what a command has done. For a deed with no transaction of its own in the store."""
    deed = account().did(action, subject, **details)
    in_store(settings, lambda store: store.audit.append(deed))


def keep_revocations(settings: Settings, *, readmitted: str | None = None) -> None:
    """Writes beside the state what is revoked and withdrawn, so that no restore undoes it.

    The record holds it in any case: where it cannot be written there, this only says so, as the doctor does.
    """

    async def known(store: Store) -> tuple[list[Certificate], list[Withdrawal]]:
        return await store.certificates.all(), await store.withdrawals.all()

    path = revocations.path_of(settings.state_directory)
    certificates, withdrawals = in_store(settings, known)
    trusted: list[str] = []
    with contextlib.suppress(AgentError):  # `ca.crt` is damaged, and the doctor says so
        trusted = [authority_id(each) for each in authorities(settings.pki_directory)]
    try:
        revocations.keep(path, trusted, certificates, withdrawals, readmitted=readmitted)
    except OSError as error:
        Screen().remark(f"{path} cannot be written ({error.strerror}): a restore would not know of this.")


def _parser(adapter: TypeAdapter[str], example: str) -> Callable[[str], str]:
    """A parser of names, for typer's `parser=`."""

    def parse(text: str) -> str:
        try:
            return adapter.validate_python(text)
        except ValidationError:
            raise typer.BadParameter(f"{text!r} is not a valid name, such as {example}") from None

    return parse


_user = _parser(TypeAdapter(UserName), "alice or alice.b")

UserArgument = Annotated[str, typer.Argument(parser=_user, metavar="USER", help="The certificate's user.")]
UserOption = Annotated[
    str | None,
    typer.Option("--user", parser=_user, metavar="USER", help="For this user's jobs only, not everybody's."),
]
AdminOption = Annotated[bool, typer.Option("--admin", help="Let the user do everything.")]
OperatorOption = Annotated[
    bool, typer.Option("--operator", help="Let the user see, cancel and pin all jobs.")
]
DaysOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=825, help="How long the certificate is valid.", show_default="certificates.client_days"
    ),
]
SecretArgument = Annotated[
    str,
    typer.Argument(
        parser=_parser(TypeAdapter(SecretName), "snowflake or api-key"),
        metavar="NAME",
        help="The name that scripts declare.",
    ),
]


class Peer(StrEnum):
    """The roles of programs of a fleet."""

    FRONT = Role.FRONT
    MEMBER = Role.MEMBER


PeerOption = Annotated[
    Peer | None, typer.Option("--peer", help="For a program of the fleet that this host is in.")
]


def role_of(*, admin: bool, operator: bool, peer: Peer | None = None) -> Role:
    """The role that these options choose."""
    if admin + operator + (peer is not None) > 1:
        raise typer.BadParameter("choose one of --admin, --operator and --peer")
    if peer is not None:
        return Role(peer)
    return Role.ADMINISTRATOR if admin else Role.OPERATOR if operator else Role.ANALYST

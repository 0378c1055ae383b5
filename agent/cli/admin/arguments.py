"""Arguments of several commands here: names of users and of secrets, checked as the agent checks them."""

from collections.abc import Callable
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from ...model.base import SecretName, UserName
from ...model.certificate import Role


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


def role_of(*, admin: bool, operator: bool) -> Role:
    """The role that these options choose."""
    if admin and operator:
        raise typer.BadParameter("choose --admin or --operator, not both")
    return Role.ADMINISTRATOR if admin else Role.OPERATOR if operator else Role.ANALYST

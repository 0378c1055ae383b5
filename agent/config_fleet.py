"""The table `[fleet]`: the fleet that this machine is in, and which of its programs run here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from .config_base import AbsolutePath, HttpSettings, Section, xdg
from .model.base import HostName, UserName

HttpsUrl = Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.:\[\]-]+$", max_length=300)]
# With a user name if need be, and without a password: the configuration is no place for one.
RecordUrl = Annotated[
    str,
    Field(pattern=r"^(rediss?://([A-Za-z0-9_-]+@)?[A-Za-z0-9.:\[\]-]+|unix:///[^?#@\s]+)$", max_length=300),
]
BrokerUrl = Annotated[str, Field(pattern=r"^amqps?://[!-~]+$", max_length=300)]


def _in_pairs(section: "RecordSettings | BrokerSettings") -> None:
    """Raises `ValueError` where one of certificate and key is missing."""
    if (section.certificate is None) != (section.key is None):
        missing = "key" if section.key is None else "certificate"
        raise ValueError(f"{missing} is missing: a certificate and its key belong together; add {missing}")


class RecordSettings(Section):
    """Redis, which holds the fleet's record. `replicas` of it must have written what is promised.

    By default, certificate and key are those of the front.
    """

    url: RecordUrl
    password_file: AbsolutePath | None = None
    authority: AbsolutePath | None = None
    certificate: AbsolutePath | None = None
    key: AbsolutePath | None = None
    replicas: Annotated[int, Field(ge=0, le=16)] = 0

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _in_pairs(self)
        return self


class BrokerSettings(Section):
    """RabbitMQ, which carries the fleet's tickets. By default, certificate and key are the program's own."""

    url: BrokerUrl
    authority: AbsolutePath | None = None
    certificate: AbsolutePath | None = None
    key: AbsolutePath | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _in_pairs(self)
        return self


class FrontSettings(Section):
    """A front on this machine. `certificate` and `key` are what it shows to hosts, Redis and RabbitMQ.

    `state_directory` has its users' certificates and authority, as an agent's state directory has its own.
    """

    name: UserName
    certificate: AbsolutePath
    key: AbsolutePath
    state_directory: Annotated[
        AbsolutePath, Field(default_factory=lambda: xdg("XDG_STATE_HOME", ".local/state") / "ml-fleet")
    ]
    http: HttpSettings = HttpSettings()


class MemberSettings(Section):
    """The member of this host: the fronts that it asks, in this order, and the agent that it gives jobs.

    `agent_url` is the agent's address for the fronts, too.
    """

    fronts: Annotated[list[HttpsUrl], Field(min_length=1, max_length=16)]
    agent_url: HttpsUrl
    certificate: AbsolutePath
    key: AbsolutePath


class FleetSettings(Section):
    """The fleet that this machine is in. With `host`, its agent trusts the fleet's programs.

    `authority` is the certificate of the fleet's authority, which fronts, members, hosts and servers have in
    common.
    """

    host: HostName | None = None
    authority: AbsolutePath | None = None
    record: RecordSettings | None = None
    broker: BrokerSettings | None = None
    front: FrontSettings | None = None
    member: MemberSettings | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.host is None and self.front is None:
            raise ValueError("says nothing: name this host with host, or describe its front in fleet.front")
        if self.member is not None and self.host is None:
            raise ValueError("a member is of a host: add host, the name that its certificate has")
        for part in ("front", "member"):
            if getattr(self, part) is not None:
                self._demand(part)
        return self

    def _demand(self, part: str) -> None:
        needed = {"authority": "ca.crt of `ml-fleet init`", "broker": "where RabbitMQ is"}
        needed |= {"record": "where Redis is"} if part == "front" else {}
        for name, what in needed.items():
            if getattr(self, name) is None:
                raise ValueError(f"fleet.{part} needs fleet.{name}: add {what}")

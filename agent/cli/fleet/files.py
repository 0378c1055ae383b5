"""Where the files of a fleet are, on the machine of its front and on its hosts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from pydantic import Field

from ...config import Settings, user_file
from ...config_files import load
from ...config_fleet import FleetSettings, FrontSettings
from ...errors import AgentError, misconfigured
from ...host.files import write_file
from ...identity.key_files import certificates
from ...model.base import Model

RENEWED_BEFORE = timedelta(days=30)  # a certificate that has less left is made anew


class Plan(Model):
    """What `ml-fleet init` was told, and the hosts that have joined since."""

    front_url: str
    redis: list[str]  # the names of the primary and of its replicas
    rabbitmq: str
    networks: list[str]
    hosts: list[str] = Field(default_factory=list)

    @property
    def record_url(self) -> str:
        """Where fronts find Redis."""
        return f"rediss://front@{self.redis[0]}:6379"

    @property
    def broker_url(self) -> str:
        """Where fronts and members find RabbitMQ."""
        return f"amqps://{self.rabbitmq}:5671/?auth=EXTERNAL"


@dataclass(frozen=True)
class FleetFiles:
    """The directory of a front's state, and what `ml-fleet init` puts there."""

    directory: Path

    @property
    def plan(self) -> Path:
        """What the fleet consists of."""
        return self.directory / "fleet.json"

    @property
    def authority(self) -> Path:
        """The fleet's authority, with its key."""
        return self.directory / "authority"

    @property
    def password(self) -> Path:
        """The fronts' password for Redis."""
        return self.directory / "redis.password"

    @property
    def pki(self) -> Path:
        """The authority of the front's users."""
        return self.directory / "pki"

    def server(self, kind: str, name: str) -> Path:
        """What goes to the machine of a server."""
        return self.directory / "servers" / f"{kind}-{name}"

    def read_plan(self) -> Plan:
        """Raises `AgentError` (configuration) where `init` was not run here."""
        try:
            return Plan.model_validate_json(self.plan.read_bytes())
        except FileNotFoundError:
            raise _no_front() from None
        except (OSError, ValueError) as error:
            raise misconfigured(
                f"{self.plan} cannot be read: {error}.", "Restore it from a backup."
            ) from error

    def write_plan(self, plan: Plan) -> None:
        """Replaces the plan."""
        write_file(self.plan, plan.model_dump_json(indent=2).encode() + b"\n", mode=0o600, replace=True)


def of_front(settings: Settings) -> tuple[FleetSettings, FrontSettings]:
    """The settings of this machine's front. Raises `AgentError` (configuration) where there is none."""
    if settings.fleet is None or settings.fleet.front is None:
        raise _no_front()
    return settings.fleet, settings.fleet.front


def front_settings(settings: Settings) -> Settings:
    """The settings as of an agent that has the front's state directory, port and users."""
    _, front = of_front(settings)
    return settings.model_copy(update={"state_directory": front.state_directory, "http": front.http})


def add_to_configuration(text: str) -> bool:
    """Appends `[fleet]` to the account's configuration; False where it has one already."""
    path = user_file()
    before = path.read_text("utf-8") if path.exists() else ""
    if before and load().fleet is not None:
        return False
    write_file(path, f"{before.rstrip()}\n\n{text}".lstrip().encode(), mode=0o644, replace=True)
    return True


def good(path: Path, authority: x509.Certificate, names: Iterable[str] = ()) -> bool:
    """Whether a certificate is there, of this authority, for these names, and not about to expire."""
    try:
        certificate = certificates(path)[0]
        certificate.verify_directly_issued_by(authority)
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (AgentError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return left > RENEWED_BEFORE and set(names) <= {str(name.value) for name in known}


def _no_front() -> AgentError:
    return misconfigured(
        "There is no front of a fleet on this machine.",
        "`ml-fleet init` makes one; run this command on the machine where that was done.",
    )

"""What the doctor's observations mean: pure functions from observations to findings with a remedy."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from ....host.podman import Secret
from ....model.certificate import Certificate
from ....model.script import Script
from ...checks import Finding, Level, advise

CLIENT_WARN = timedelta(days=7)
AUTHORITY_WARN = timedelta(days=180)  # a rotation takes as long as clients need to renew


def declared_secrets(scripts: Iterable[Script], secrets: Iterable[Secret]) -> Iterable[Finding]:
    """One finding for each secret that a script declares."""
    known = list(secrets)
    needed = list(scripts)
    for name in sorted({name for script in needed for name in script.secrets}):
        users = [secret.user for secret in known if secret.name == name]
        whom = "everybody" if None in users else ", ".join(sorted(user for user in users if user))
        wanting = ", ".join(script.script_name for script in needed if name in script.secrets)
        yield advise(
            f"secret {name}",
            good=None in users,
            seen=f"set for {whom}" if whom else f"not set, but needed by {wanting}",
            remedy=f"`ml-agent secret set {name}` for everybody, or with --user for one",
        )


def undefined_networks(scripts: Iterable[Script], meaning: Callable[[str], str | None]) -> Iterable[Finding]:
    """One finding for each network that a script declares and the site does not define."""
    needed = list(scripts)
    for name in sorted({script.network for script in needed}):
        if meaning(name) is None:
            wanting = ", ".join(script.script_name for script in needed if script.network == name)
            seen = f"not defined, but needed by {wanting}"
            remedy = f"Define networks.{name} or egress.{name}: docs/configuration.md."
            yield Finding(f"network {name}", Level.WARN, seen, remedy)


def expiring_clients(certificates: Iterable[Certificate], moment: datetime) -> Finding:
    """Users whose last valid certificate expires within a week. Users without a valid one do not count."""
    last: dict[str, datetime] = {}
    for certificate in certificates:
        if certificate.revoked_at is None and certificate.expires_at > moment:
            last[certificate.user] = max(last.get(certificate.user, moment), certificate.expires_at)
    if not last:
        return Finding("clients", Level.WARN, "no user has a valid certificate", "`ml-agent issue USER`")
    ending = sorted(user for user, expires in last.items() if expires - moment < CLIENT_WARN)
    return advise(
        "clients",
        good=not ending,
        seen=f"{len(last)} with a valid certificate"
        + (f", expiring soon: {', '.join(ending)}" if ending else ""),
        remedy="Its holder renews it with `ml-job renew`; `ml-agent issue USER` makes a new one.",
    )


def rotation_under_way(
    begun: datetime, waiting: Iterable[Certificate], moment: datetime, lifetime: timedelta
) -> Finding:
    """A rotation should take no longer than a client certificate's `lifetime`: by then all have renewed."""
    users = sorted({certificate.user for certificate in waiting})
    return advise(
        "rotation",
        good=bool(users) and moment - begun < lifetime,
        seen=f"two authorities since {begun:%Y-%m-%d}, "
        + (f"not renewed yet: {', '.join(users)}" if users else "all clients have renewed"),
        remedy="`ml-agent rotate-ca --finish` ends the old authority.",
    )


def ignored_lines(verified: str, unit: Path) -> list[str]:
    """What systemd ignores in the unit file itself, as `systemd-analyze verify` prints it."""
    return re.findall(rf"(?m)^{re.escape(str(unit))}:\d+: (.*)$", verified)


def listening_ports(listen: str) -> list[int]:
    """The TCP ports in a socket unit's `Listen=`, as `systemctl show` prints it."""
    return [int(port) for port in re.findall(r":(\d+) \(Stream\)", listen)]


def version_of(text: str) -> tuple[int, int]:
    """Major and minor number of the first version in a text; (0, 0) where there is none."""
    found = re.search(r"\b(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)

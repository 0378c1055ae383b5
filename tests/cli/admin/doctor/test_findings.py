"""What the doctor concludes from what it saw."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.cli.admin.doctor import findings
from agent.cli.checks import Level
from agent.host.podman import Secret
from agent.model.certificate import Certificate, Role
from agent.model.script import Script

MOMENT = datetime.now(UTC)


def certificate(user: str, days: float) -> Certificate:
    """A certificate that expires in so many days."""
    return Certificate(
        serial=f"{user}{days}",
        user=user,
        role=Role.ANALYST,
        issued_at=MOMENT,
        expires_at=MOMENT + timedelta(days=days),
    )


@pytest.mark.parametrize(
    ("text", "version"),
    [("systemd 257 (257.13-1~deb13u1)", (257, 0)), ("5.4.2", (5, 4)), ("5.3.0-rc1", (5, 3)), ("", (0, 0))],
)
def test_a_version_is_read_from_what_a_program_prints(text: str, version: tuple[int, int]) -> None:
    assert findings.version_of(text) == version


def test_ignored_lines_of_other_units_are_left_out() -> None:
    verified = (
        "/tmp/x/a.service:93: Unknown section 'Contaner'. Ignoring.\n"
        "/etc/systemd/user/b.service:1: Unknown key 'Foo' in section [Service], ignoring.\n"
        "a.service: Command /opt/program is not executable: No such file or directory\n"
    )
    assert findings.ignored_lines(verified, Path("/tmp/x/a.service")) == [
        "Unknown section 'Contaner'. Ignoring."
    ]


def test_a_missing_secret_names_the_scripts_that_declare_it() -> None:
    scripts = [
        Script(script_name="a.py", sha256="", secrets=["snowflake"]),
        Script(script_name="b.py", sha256="", secrets=["snowflake", "api"]),
    ]
    secrets = [Secret("api", None, MOMENT, MOMENT)]
    api, snowflake = findings.declared_secrets(scripts, secrets)
    assert (api.level, api.seen) == (Level.OK, "set for everybody")
    assert (snowflake.level, snowflake.seen) == (Level.WARN, "not set, but needed by a.py, b.py")
    _, own = findings.declared_secrets(scripts, [*secrets, Secret("snowflake", "alice", MOMENT, MOMENT)])
    assert (own.level, own.seen) == (Level.WARN, "set for alice")


def test_an_undefined_network_names_the_scripts_that_declare_it() -> None:
    scripts = [
        Script(script_name="a.py", sha256="", network="warehouse"),
        Script(script_name="b.py", sha256="", network="warehouse"),
        Script(script_name="c.py", sha256="", network="lan"),
        Script(script_name="d.py", sha256=""),
    ]
    (warehouse,) = findings.undefined_networks(scripts, {"lan": "lan.network", "none": "none"}.get)
    assert (warehouse.subject, warehouse.level) == ("network warehouse", Level.WARN)
    assert warehouse.seen == "not defined, but needed by a.py, b.py"
    assert "networks.warehouse or egress.warehouse" in warehouse.remedy


def test_a_user_whose_last_certificate_expires_within_a_week_is_named() -> None:
    known = [certificate("alice", 3), certificate("alice", 20), certificate("bob", 6), certificate("c", -1)]
    finding = findings.expiring_clients(known, MOMENT)
    assert finding.level is Level.WARN
    assert finding.seen == "2 with a valid certificate, expiring soon: bob"
    assert findings.expiring_clients([], MOMENT).remedy


def test_a_rotation_longer_than_a_certificates_lifetime_is_a_warning() -> None:
    late = certificate("alice", 0)

    def level(days: float, *waiting: Certificate) -> Level:
        begun = MOMENT - timedelta(days=days)
        return findings.rotation_under_way(begun, waiting, MOMENT, timedelta(days=30)).level

    assert level(1, late) is Level.OK
    assert level(31, late) is Level.WARN
    assert level(1) is Level.WARN

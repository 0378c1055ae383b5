"""The text of a job's unit, against golden files, and values that must not get into it."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.runtime.unit import JobUnit, MountedSecret, drop_in, record_section
from tests.support.job_units import BEHIND_A_PROXY, PLAIN, WITH_SECRETS

GOLDEN = Path(__file__).parent / "quadlet"


@pytest.mark.parametrize(
    ("name", "unit"), [("plain.conf", PLAIN), ("secrets.conf", WITH_SECRETS), ("egress.conf", BEHIND_A_PROXY)]
)
def test_a_drop_in_is_the_golden_file(name: str, unit: JobUnit) -> None:
    assert drop_in(unit) == (GOLDEN / name).read_text("utf-8")


def test_the_record_section_is_the_golden_file() -> None:
    assert record_section(PLAIN) == (GOLDEN / "record.conf").read_text("utf-8")


def test_a_jobs_own_grace_period_is_set() -> None:
    assert "TimeoutStopSec" not in drop_in(PLAIN)
    patient = replace(PLAIN, limits=PLAIN.limits.model_copy(update={"grace_seconds": 90}))
    assert "\nTimeoutStopSec=90\n" in drop_in(patient)


HOSTILE = ["a b", "a\nb", "a\rb", "a\0b", "a%h", "a$HOME", 'a"b', "a'b", "a\\b", "a;b", "a#b", "[b]", "ä", ""]


@pytest.mark.parametrize("token", HOSTILE)
@pytest.mark.parametrize("field", ["image", "network"])
def test_a_token_that_systemd_or_quadlet_would_interpret_is_refused(field: str, token: str) -> None:
    with pytest.raises(AgentError, match="cannot be written into a unit file"):
        drop_in(replace(PLAIN, **{field: token}))


@pytest.mark.parametrize("token", [*HOSTILE, "a:b", "a,b"])
@pytest.mark.parametrize("field", ["snapshot", "attempt", "hooks"])
def test_a_path_that_a_unit_would_not_take_literally_is_refused(field: str, token: str) -> None:
    path = Path("/srv") / token if token else Path("srv")
    attempt = replace(PLAIN.attempt, directory=path)
    unit = replace(PLAIN, **({"attempt": attempt} if field == "attempt" else {field: path}))
    for text_of in (drop_in, record_section):
        with pytest.raises(AgentError, match=r"path .* cannot be written into a unit file"):
            text_of(unit)


@pytest.mark.parametrize("secret", HOSTILE[:-1])
def test_the_name_of_a_secret_cannot_add_to_the_unit(secret: str) -> None:
    with pytest.raises(AgentError, match="cannot be written into a unit file"):
        drop_in(replace(PLAIN, secrets=(MountedSecret("snowflake", secret),)))

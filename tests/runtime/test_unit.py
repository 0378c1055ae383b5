"""The text of a job's unit, against golden files, and values that must not get into it."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import shipped
from agent.errors import AgentError
from agent.runtime.quadlet import TEMPLATE
from agent.runtime.unit import (
    SHARES,
    THREAD_VARIABLES,
    JobUnit,
    MountedSecret,
    drop_in,
    record_section,
    template_for,
)
from tests.support.job_units import BEHIND_A_PROXY, PLAIN, WITH_SECRETS

GOLDEN = Path(__file__).parent / "quadlet"


@pytest.mark.parametrize(
    ("name", "unit"), [("plain.conf", PLAIN), ("secrets.conf", WITH_SECRETS), ("egress.conf", BEHIND_A_PROXY)]
)
def test_a_drop_in_is_the_golden_file(name: str, unit: JobUnit) -> None:
    assert drop_in(unit) == (GOLDEN / name).read_text("utf-8")


def test_the_record_section_is_the_golden_file() -> None:
    unit = replace(PLAIN, containers_conf=Path("/usr/lib/ml/ml-job.containers.conf"))
    assert record_section(unit) == (GOLDEN / "record.conf").read_text("utf-8")


def test_a_jobs_own_grace_period_is_set() -> None:
    assert "TimeoutStopSec" not in drop_in(PLAIN)
    patient = replace(PLAIN, limits=PLAIN.limits.model_copy(update={"grace_seconds": 90}))
    assert "\nTimeoutStopSec=90\n" in drop_in(patient)


@pytest.mark.parametrize(
    ("names", "home"),
    [
        (["snowflake"], "snowflake"),
        (["snowflake", "api-token"], "snowflake"),
        (["api-token", "snowflake"], "snowflake"),
        (["a", "snowflake-prod", "b", "snowflake"], "snowflake-prod"),
        (["not-snowflake", "api-token"], None),
        ([], None),
    ],
)
def test_snowflake_home_is_the_first_connections_file_whatever_the_order(
    names: list[str], home: str | None
) -> None:
    secrets = tuple(MountedSecret(name, f"ml-agent.{name}") for name in names)
    lines = drop_in(replace(PLAIN, secrets=secrets)).splitlines()
    found = [line for line in lines if "SNOWFLAKE_HOME" in line]
    assert found == ([f"Environment=SNOWFLAKE_HOME=/run/secrets/{home}"] if home else [])


@pytest.mark.parametrize(("cpus", "threads"), [(0.1, 1), (1, 1), (1.5, 2), (2, 2), (7.9, 8)])
def test_numeric_libraries_get_a_thread_for_each_cpu_of_the_limit(cpus: float, threads: int) -> None:
    unit = replace(PLAIN, limits=PLAIN.limits.model_copy(update={"cpus": cpus}))
    lines = template_for(unit, "[Container]\nEnvironment=OMP_NUM_THREADS=9\n").splitlines()
    assert lines[0] == "[Container]"
    own = len(THREAD_VARIABLES)
    assert lines[1 : own + 1] == [f"Environment={name}={threads}" for name in THREAD_VARIABLES]
    # The later assignment counts.
    assert lines[own + 1 :] == ["", "[Container]", "Environment=OMP_NUM_THREADS=9"]


def test_the_images_own_number_of_threads_stays() -> None:
    unit = replace(PLAIN, image_variables=frozenset({"OMP_NUM_THREADS", "PATH"}))
    text = template_for(unit, "")
    assert "OMP_NUM_THREADS" not in text
    assert "Environment=OPENBLAS_NUM_THREADS=2\n" in text


def test_file_systems_in_memory_have_a_share_of_the_memory_limit() -> None:
    packaged = (shipped("quadlets") / TEMPLATE).read_text("utf-8")
    text = template_for(PLAIN, packaged)
    assert "Tmpfs=/tmp:rw,nosuid,nodev,size=1073741824,mode=1777\n" in text
    assert "Tmpfs=/dev/shm:rw,nosuid,nodev,noexec,size=536870912,mode=1777\n" in text
    assert all(f"size={place}" in packaged for place in SHARES)
    assert sum(1 / parts for parts in SHARES.values()) < 1  # the rest is for the job's processes


HOSTILE = ["a b", "a\nb", "a\rb", "a\0b", "a%h", "a$HOME", 'a"b', "a'b", "a\\b", "a;b", "a#b", "[b]", "ä", ""]


@pytest.mark.parametrize("token", HOSTILE)
@pytest.mark.parametrize("field", ["image", "network"])
def test_a_token_that_systemd_or_quadlet_would_interpret_is_refused(field: str, token: str) -> None:
    with pytest.raises(AgentError, match="cannot be written into a unit file"):
        drop_in(replace(PLAIN, **{field: token}))


@pytest.mark.parametrize("token", [*HOSTILE, "a:b", "a,b"])
@pytest.mark.parametrize("field", ["snapshot", "attempt", "hooks", "containers_conf"])
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

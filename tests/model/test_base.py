"""Times, numbers, ids and unit names."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from agent.model.base import (
    ID_ALPHABET,
    ID_PREFIX_LENGTH,
    format_bytes,
    format_milliseconds,
    format_time,
    job_id_of,
    new_job_id,
    now,
    unit_name,
)
from tests.support.jobs import make_job

TIME = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert format_time(TIME) == "2026-01-02T03:04:05.678Z"
    assert format_time(TIME.replace(microsecond=0)) == "2026-01-02T03:04:05.000Z"
    assert format_time(TIME.astimezone(timezone(timedelta(hours=2)))) == "2026-01-02T03:04:05.678Z"
    assert json.loads(make_job(created_at=TIME).model_dump_json())["created_at"] == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (900 * 2**30, "900 GiB"),
        (2**29, "512 MiB"),
        (16762101760, "15.61 GiB"),
        (2**40 * 3 // 2, "1.5 TiB"),
        (1025, "1 KiB"),
        (1023, "1023 bytes"),
        (0, "0 bytes"),
    ],
)
def test_sizes_are_written_in_powers_of_1024_and_never_rounded_up(size: int, told: str) -> None:
    assert format_bytes(size) == told


def test_now_survives_a_round_trip() -> None:
    time = now()
    assert datetime.fromisoformat(format_time(time)) == time


def test_job_ids_have_twelve_base_32_characters_and_distinct_prefixes() -> None:
    ids = [new_job_id() for _ in range(1000)]
    assert all(len(job_id) == 12 and set(job_id) <= set(ID_ALPHABET) for job_id in ids)
    assert len({job_id[:ID_PREFIX_LENGTH] for job_id in ids}) == 1000


def test_job_id_of_reverses_unit_name() -> None:
    job_id = new_job_id()
    assert unit_name(job_id) == f"ml-job@{job_id}.service"
    assert job_id_of(unit_name(job_id)) == job_id


@pytest.mark.parametrize(
    "unit",
    [
        "ml-job@.service",
        "ml-job@abcdefgh234.service",
        "ml-job@ABCDEFGH2345.service",
        "ml-job@abcdefgh2340.service",
        "xml-job@abcdefgh2345.service",
        "ml-job@abcdefgh2345.service.d",
        "ml-job@abcdefgh2345.timer",
        "ml-agent.service",
        "",
    ],
)
def test_other_units_have_no_job_id(unit: str) -> None:
    assert job_id_of(unit) is None


def test_format_milliseconds_agrees_with_format_time() -> None:
    for moment in (TIME, TIME.replace(microsecond=0)):
        assert format_milliseconds(int(moment.timestamp() * 1000)) == format_time(moment)

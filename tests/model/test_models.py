import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.model.base import (
    ID_ALPHABET,
    ID_PREFIX_LENGTH,
    format_milliseconds,
    format_time,
    job_id_of,
    new_job_id,
    now,
    unit_name,
)
from agent.model.inputs import MAX_PARAMETERS, Limits, RequestedLimits
from agent.model.job import MAX_LABELS, Job, JobRequest, JobState, Reason

TIME = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)


def a_job(**changes: object) -> Job:
    values: dict[str, object] = {
        "job_id": "abcdefgh2345",
        "status": JobState.PENDING,
        "owner": "alice",
        "script_name": "train.py",
        "hyperparameters": {"depth": "3"},
        "limits": Limits(),
        "commit": "0" * 40,
        "script_sha256": "0" * 64,
        "image": "localhost/ml-runner:latest",
        "image_digest": "sha256:" + "0" * 64,
        "network": "none",
        "unit": "ml-job@abcdefgh2345.service",
        "created_at": TIME,
    }
    return Job.model_validate(values | changes)


def refused(**body: object) -> list[str]:
    """The places of what is refused in a request's body."""
    with pytest.raises(ValidationError) as caught:
        JobRequest.model_validate({"script_name": "train.py"} | body)
    return [".".join(map(str, error["loc"])) for error in caught.value.errors()]


def test_the_documentation_names_every_reason() -> None:
    docs = Path(__file__).parents[2] / "docs"
    api = (docs / "api.md").read_text("utf-8")
    sentence = re.search(r"`reason` says why a job failed or was cancelled:([^.]*)", api)
    table = (docs / "states.md").read_text("utf-8").partition("## Reasons")[2].partition("\n## ")[0]
    assert sentence is not None
    assert set(re.findall("`([a-z-]+)`", sentence[1])) == set(Reason)
    assert set(re.findall(r"(?m)^\| `([a-z-]+)` \| (?!the job)", table)) == set(Reason)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert format_time(TIME) == "2026-01-02T03:04:05.678Z"
    assert format_time(TIME.replace(microsecond=0)) == "2026-01-02T03:04:05.000Z"
    assert format_time(TIME.astimezone(timezone(timedelta(hours=2)))) == "2026-01-02T03:04:05.678Z"
    assert json.loads(a_job().model_dump_json())["created_at"] == "2026-01-02T03:04:05.678Z"


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


def test_three_states_are_terminal() -> None:
    assert {state for state in JobState if state.terminal} == {"COMPLETED", "FAILED", "CANCELLED"}


def test_limits_override_the_defaults() -> None:
    defaults = Limits(memory_bytes=2**30, cpus=1, tasks=512, run_time_seconds=60)
    assert Limits(cpus=2).over(defaults) == Limits(memory_bytes=2**30, cpus=2, tasks=512, run_time_seconds=60)
    assert Limits().over(defaults) == defaults


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_bytes", 0),
        ("memory_bytes", -1),
        ("memory_bytes", 2**60),
        ("memory_bytes", "2G"),
        ("cpus", 0),
        ("cpus", float("inf")),
        ("cpus", float("nan")),
        ("tasks", 0),
        ("tasks", 1.5),
        ("run_time_seconds", 0),
        ("run_time_seconds", 10**9),
        ("gpus", 1),
    ],
)
def test_limits_out_of_range_are_refused(name: str, value: object) -> None:
    assert refused(limits={name: value}) == [f"limits.{name}"]


def test_the_request_of_the_first_client_version_is_valid() -> None:
    body = (
        b'{"script_name": "train_churn_model.py", "hyperparameters": {"n_estimators": "50", "MAX_DEPTH": ""}}'
    )
    request = JobRequest.model_validate_json(body)
    assert request.hyperparameters == {"n_estimators": "50", "MAX_DEPTH": ""}
    assert (request.ref, request.name, request.labels, request.limits) == (None, None, {}, RequestedLimits())


@pytest.mark.parametrize("ref", ["main", "feature/JIRA#12", "-x", "ä", "0" * 40, "a" * 255])
def test_plain_refs_are_accepted(ref: str) -> None:
    assert JobRequest(script_name="train.py", ref=ref).ref == ref


@pytest.mark.parametrize(
    "ref", ["", "a b", "a^", "a~1", "a:b", "a\n", "a\x85", "a*", "a?", "a[b]", "a\\b", "\ud800", "a" * 256]
)
def test_other_refs_are_refused(ref: str) -> None:
    assert refused(ref=ref) == ["ref"]


@pytest.mark.parametrize(
    "name",
    ["", "1x", "_x", "a-b", "a.b", "a b", "a=b", "a\n", "a\0", "ä", "A\u0430", "$a", "a" * 65],
)
def test_parameter_names_must_fit_into_a_variable_name(name: str) -> None:
    assert refused(hyperparameters={name: "1"}) == [f"hyperparameters.{name}.[key]"]


@pytest.mark.parametrize("value", ["\0", "a\nb", "a\rb", "\x1b[31m", "\x7f", "\x85", "\ud800", "a" * 4097])
def test_parameter_values_must_be_one_line(value: str) -> None:
    assert refused(hyperparameters={"x": value}) == ["hyperparameters.x"]


@pytest.mark.parametrize("value", ["", " ", "'\"`$(id)%n\\", "naïve 模型 🙂", "\u202e", "-x", "a" * 4096])
def test_other_text_is_accepted_unchanged(value: str) -> None:
    assert JobRequest(script_name="a", hyperparameters={"x": value}).hyperparameters == {"x": value}


@pytest.mark.parametrize("value", [1, 0.5, True])
def test_a_number_is_refused_with_the_string_to_write_instead(value: object) -> None:
    with pytest.raises(ValidationError, match=f'must be a string; write "{value}" in quotes'):
        JobRequest.model_validate({"script_name": "a", "hyperparameters": {"x": value}})


def test_parameters_that_share_a_variable_are_refused() -> None:
    with pytest.raises(ValidationError, match="depth and Depth would both be HP_DEPTH"):
        JobRequest(script_name="a", hyperparameters={"depth": "1", "Depth": "2"})


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"script_name": ""}, "script_name"),
        ({"script_name": "a" * 256}, "script_name"),
        ({"script_name": "a\0"}, "script_name"),
        ({"script_name": None}, "script_name"),
        ({"script": "a"}, "script"),
        ({"hyperparameters": []}, "hyperparameters"),
        ({"hyperparameters": {f"p{n}": "" for n in range(MAX_PARAMETERS + 1)}}, "hyperparameters"),
        ({"hyperparameters": {"x": ["1"]}}, "hyperparameters.x"),
        ({"hyperparameters": {"x": None}}, "hyperparameters.x"),
        ({"name": "a" * 129}, "name"),
        ({"name": "a\x1b"}, "name"),
        ({"labels": {"Team": "x"}}, "labels.Team.[key]"),
        ({"labels": {"team": "a" * 256}}, "labels.team"),
        ({"labels": {f"l{n}": "" for n in range(MAX_LABELS + 1)}}, "labels"),
    ],
)
def test_fields_out_of_bounds_are_named(body: dict[str, object], place: str) -> None:
    assert refused(**body) == [place]


@given(st.dictionaries(st.text(max_size=70), st.text(max_size=20), max_size=5))
def test_accepted_parameters_have_distinct_variables(hyperparameters: dict[str, str]) -> None:
    try:
        request = JobRequest(script_name="a", hyperparameters=hyperparameters)
    except ValidationError:
        return
    variables = {f"HP_{name.upper()}": value for name, value in request.hyperparameters.items()}
    assert len(variables) == len(hyperparameters)
    assert all(name.isascii() and name.replace("_", "").isalnum() for name in variables)
    assert not any({"\0", "\n"} & set(value) for value in variables.values())


def test_a_new_job_has_the_strings_that_the_first_client_version_decodes() -> None:
    body = json.loads(a_job().model_dump_json())
    assert [type(body[key]) for key in ("job_id", "container_id", "status")] == [str, str, str]
    assert body["status"] == "PENDING"


def test_a_job_survives_a_round_trip() -> None:
    job = a_job(created_at=now(), exit_status=3, secrets=["snowflake"])
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_format_milliseconds_agrees_with_format_time() -> None:
    for moment in (TIME, TIME.replace(microsecond=0)):
        assert format_milliseconds(int(moment.timestamp() * 1000)) == format_time(moment)

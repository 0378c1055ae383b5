"""Requests for jobs, and their record."""

import json
import re
from pathlib import Path

import pytest

from agent.model.base import (
    now,
)
from agent.model.inputs import MAX_PARAMETERS, RequestedLimits
from agent.model.job import MAX_LABELS, Job, JobRequest, JobState, Reason
from tests.support.jobs import make_job, refused_fields


def test_the_documentation_names_every_reason() -> None:
    docs = Path(__file__).parents[2] / "docs"
    api = (docs / "api.md").read_text("utf-8")
    sentence = re.search(r"`reason` says why a job failed or was cancelled:([^.]*)", api)
    table = (docs / "states.md").read_text("utf-8").partition("## Reasons")[2].partition("\n## ")[0]
    assert sentence is not None
    assert set(re.findall("`([a-z-]+)`", sentence[1])) == set(Reason)
    assert set(re.findall(r"(?m)^\| `([a-z-]+)` \| (?!the job)", table)) == set(Reason)


def test_three_states_are_terminal() -> None:
    assert {state for state in JobState if state.terminal} == {"COMPLETED", "FAILED", "CANCELLED"}


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
    assert refused_fields(ref=ref) == ["ref"]


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
    assert refused_fields(**body) == [place]


def test_a_new_job_has_the_strings_that_the_first_client_version_decodes() -> None:
    body = json.loads(make_job().model_dump_json())
    assert [type(body[key]) for key in ("job_id", "container_id", "status")] == [str, str, str]
    assert body["status"] == "PENDING"


def test_a_job_survives_a_round_trip() -> None:
    job = make_job(created_at=now(), exit_status=3, secrets=["snowflake"])
    assert Job.model_validate_json(job.model_dump_json()) == job

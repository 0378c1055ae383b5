"""The contract that every client relies on, among them the first one."""

import re
from typing import Any

from agent.model.base import new_job_id
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed

pytestmark = over_any_backend
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def as_the_first_client(job: Any) -> None:
    """Checks the three fields that it decodes as strings."""
    for name in ("job_id", "container_id", "status"):
        assert isinstance(job[name], str)


async def test_the_first_client_can_read_a_waiting_job(alice: Client) -> None:
    answer = await alice.post(
        "/jobs", {"script_name": "succeed.py", "hyperparameters": {"N_ESTIMATORS": "50", "note": "ä €"}}
    )
    assert answer.status == 202
    as_the_first_client(answer.json)
    job = (await alice.get(f"/jobs/{answer.json['job_id']}")).json
    as_the_first_client(job)
    assert (job["status"], job["container_id"]) == ("PENDING", "")
    assert job["hyperparameters"] == {"N_ESTIMATORS": "50", "note": "ä €"}


async def test_the_first_client_can_read_the_log_of_a_waiting_job(alice: Client) -> None:
    job = await alice.submit()
    answer = await alice.get(f"/jobs/{job['job_id']}/logs")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (
        200,
        "text/plain; charset=utf-8",
        b"",
    )


async def test_the_answer_to_a_submission_has_the_location_of_the_job(alice: Client) -> None:
    answer = await alice.post("/jobs", {"script_name": "succeed.py"})
    assert answer.headers["Location"] == f"/jobs/{answer.json['job_id']}"
    assert (await alice.get(answer.headers["Location"])).json == answer.json


async def test_times_are_utc_with_milliseconds_and_nothing_is_null(served: AnyServed, alice: Client) -> None:
    job = await alice.submit()
    await served.finish(job, status="FAILED", reason="exit-code", exit_status=3)
    job = (await alice.get(f"/jobs/{job['job_id']}")).json
    assert TIME.fullmatch(job["created_at"])
    assert TIME.fullmatch(job["finished_at"])
    assert "started_at" not in job
    assert None not in job.values()


async def test_jobs_are_listed_newest_first_by_pages_and_filters(served: AnyServed, alice: Client) -> None:
    names = ["succeed.py", "fail.py", "succeed.py", "fail.py", "succeed.py"]
    jobs = [(await alice.submit(name))["job_id"] for name in names]
    page = (await alice.get("/jobs?limit=3")).json
    rest = (await alice.get(f"/jobs?limit=3&cursor={page['next_cursor']}")).json
    assert [job["job_id"] for job in page["jobs"] + rest["jobs"]] == jobs[::-1]
    assert "next_cursor" not in rest
    failing = (await alice.get("/jobs?script=fail.py")).json["jobs"]
    assert [job["job_id"] for job in failing] == [jobs[3], jobs[1]]
    assert (await alice.get("/jobs?status=RUNNING")).json["jobs"] == []


async def test_a_waiting_job_is_cancelled_at_once_and_again_without_effect(alice: Client) -> None:
    job = await alice.submit()
    answer = await alice.post(f"/jobs/{job['job_id']}/cancel", b"")
    assert (answer.status, answer.json["status"], answer.json["reason"]) == (202, "CANCELLED", "cancelled")
    assert (await alice.post(f"/jobs/{job['job_id']}/cancel", b"")).json == answer.json


async def test_scripts_are_listed_with_their_declarations(alice: Client) -> None:
    answer = await alice.get("/scripts")
    scripts = {script["script_name"]: script for script in answer.json["scripts"]}
    assert "_helper.py" not in scripts
    assert "passwd.py" not in scripts
    assert scripts["succeed.py"]["any_parameters"] is True
    declared = scripts["declared.py"]
    assert (declared["secrets"], declared["parameters"][0]["maximum"]) == (["warehouse"], 10)
    assert (await alice.get(f"/scripts?ref={answer.json['commit']}")).json == answer.json


async def test_a_job_can_run_an_old_commit(served: AnyServed, alice: Client) -> None:
    commit = (await alice.get("/scripts")).json["commit"]
    assert (await alice.submit(ref=commit))["commit"] == commit


async def test_an_unknown_job_is_not_found(alice: Client) -> None:
    answer = await alice.get(f"/jobs/{new_job_id()}")
    assert (answer.status, answer.problem) == (404, "job-not-found")
    assert answer.json["title"] == "Job not found"


async def test_the_server_header_has_no_versions(alice: Client) -> None:
    for path in ("/jobs", "/jobs/none", "/nothing"):
        assert (await alice.get(path)).headers["Server"] == "ml-agent"

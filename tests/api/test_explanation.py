"""The call that explains a job, over the agent's own parts."""

from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import Served


@over_any_backend
async def test_a_waiting_job_is_explained_by_what_it_waits_for(alice: Client) -> None:
    job = await alice.submit()
    found = (await alice.get(f"/jobs/{job['job_id']}/explanation")).json
    assert found["job_id"] == job["job_id"]
    assert found["summary"] == f"The job waits for {job['queue']['waits_for']}."


async def test_a_failed_job_is_explained_by_the_log_of_its_last_attempt(
    served: Served, alice: Client
) -> None:
    job = await alice.submit()
    served.log("reading rows", "KeyError: 'HP_ALPHA'", "END")
    await served.finish(job, status="FAILED", reason="exit-code", exit_status=1)
    found = (await alice.get(f"/jobs/{job['job_id']}/explanation")).json
    assert found["summary"] == "The script reads HP_ALPHA, and the job has no such hyperparameter."
    assert found["evidence"][0] == {"source": "log", "text": "KeyError: 'HP_ALPHA'", "line": 2}

"""What promtool says of the metrics and of the alert rules, and how many series a long history has."""

import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from prometheus_client.samples import Sample

from agent.config import Settings
from agent.model.base import now
from agent.model.job import Job, JobState, Reason
from agent.model.monitoring import Live
from agent.monitoring.monitoring import Monitoring
from agent.store.store import Store
from tests.support import prometheus
from tests.support.jobs import make_job

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "docs/monitoring/alerts.yml"
needs_promtool = pytest.mark.skipif(not prometheus.is_installed(), reason=prometheus.MISSING)
JOBS, USERS = 10_000, 200
ENDS = (None, *Reason)


def promtool(*arguments: str, text: str | None = None) -> str:
    """Its output, standard error included; fails where it has a complaint."""
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def exposition(settings: Settings, store: Store) -> str:
    text, _ = await Monitoring(settings, store).exposition("", Live(streams=3, lag_seconds=0.25))
    return text.decode()


@needs_promtool
async def test_promtool_has_no_complaint_about_the_metrics(settings: Settings, store: Store) -> None:
    await store.jobs.add(make_job(), max_waiting=9)
    assert promtool("check", "metrics", text=await exposition(settings, store)) == ""


@needs_promtool
def test_promtool_has_no_complaint_about_the_rules() -> None:
    assert "SUCCESS: 10 rules found" in promtool("check", "rules", str(RULES))


@needs_promtool
def test_each_alert_fires_where_it_should_and_nowhere_else() -> None:
    names = [line.split()[-1] for line in RULES.read_text("utf-8").splitlines() if "alert:" in line]
    tested = (HERE / "alerts_test.yml").read_text("utf-8")
    for name in names:
        assert tested.count(f"alertname: {name}") >= 2, f"{name}: one case in which it fires, and one without"
    assert "SUCCESS" in promtool("test", "rules", str(HERE / "alerts_test.yml"))


async def test_ten_thousand_jobs_of_two_hundred_users_have_as_many_series_as_none(
    settings: Settings, store: Store
) -> None:
    empty = {sample.name + str(sample.labels) for sample in samples(await exposition(settings, store))}
    await store.database.run(lambda db: db.execute("PRAGMA synchronous = OFF"))  # nobody reads it later
    for number in range(JOBS):
        job = await store.jobs.add(
            make_job(
                owner=f"user-{number % USERS}", name=f"name-{number}", labels={"run": f"label-{number}"}
            ),
            max_waiting=JOBS,
        )
        assert await store.jobs.update(ended(job, ENDS[number % len(ENDS)]))
    text = await exposition(settings, store)
    full = samples(text)
    assert {sample.name + str(sample.labels) for sample in full} == empty
    assert len(full) == len(empty) < 100
    assert sum(sample.value for sample in full if sample.name == "ml_agent_jobs_ended_total") == JOBS
    assert not [word for word in ("user-", "name-", "label-") if word in text]


def samples(text: str) -> list[Sample]:
    """All samples of an exposition."""
    return [sample for family in parse(text) for sample in family.samples]


def ended(job: Job, reason: Reason | None) -> Job:
    """The job as it has ended."""
    status = JobState.COMPLETED if reason is None else JobState.FAILED
    return job.model_copy(update={"status": status, "reason": reason, "revision": 2, "finished_at": now()})


def named(number: int) -> Job:
    """A job with a name and a label of its own, of one of the users."""
    return make_job(f"user-{number % USERS}", name=f"name-{number}", labels={"run": f"label-{number}"})

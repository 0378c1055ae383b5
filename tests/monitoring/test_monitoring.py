"""The metrics as a monitoring system reads them."""

import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from agent.audit.chain import Caller
from agent.config import Settings
from agent.identity.authority import Authority
from agent.identity.key_files import replace_pair
from agent.model.base import now
from agent.model.host import Drain
from agent.model.job import JobState, Reason
from agent.model.monitoring import Live
from agent.monitoring.monitoring import Monitoring
from agent.store.store import Store
from tests.support.jobs import make_job

LIVE = Live(streams=3, lag_seconds=0.25)
DOCS = Path(__file__).parents[2] / "docs"


async def samples(settings: Settings, store: Store, live: Live | None = LIVE) -> dict[str, float]:
    """Each sample by its name and labels."""
    text, content_type = await Monitoring(settings, store).exposition("", live)
    assert content_type.startswith("text/plain;")
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


async def test_an_empty_host_has_every_series_at_zero(settings: Settings, store: Store) -> None:
    found = await samples(settings, store)
    assert found["ml_agent_jobs{PENDING}"] == 0
    assert found["ml_agent_jobs_ended_total{none}"] == 0
    assert found["ml_agent_jobs_ended_total{oom-kill}"] == 0
    assert found["ml_agent_job_waiting_seconds_bucket{+Inf}"] == 0
    assert (found["ml_agent_capacity_places"], found["ml_agent_taken_places"]) == (4, 0)
    assert found["ml_agent_free_bytes{state}"] > 0
    assert (found["ml_agent_streams"], found["ml_agent_event_loop_lag_seconds"]) == (3, 0.25)


async def test_jobs_are_counted_by_state_and_the_room_that_they_take(
    settings: Settings, store: Store
) -> None:
    for _ in range(2):
        await store.jobs.add(make_job(), max_waiting=9)
    job = await store.jobs.add(make_job(), max_waiting=9)
    running = {"status": JobState.CREATED, "revision": 2}
    assert await store.jobs.update(job.model_copy(update=running))
    found = await samples(settings, store)
    assert (found["ml_agent_jobs{PENDING}"], found["ml_agent_jobs{CREATED}"]) == (2, 1)
    assert (found["ml_agent_taken_places"], found["ml_agent_taken_memory_bytes"]) == (1, 64 * 2**20)
    assert 0 <= found["ml_agent_oldest_waiting_seconds"] < 60
    assert found["ml_agent_job_waiting_seconds_count"] == 1
    ended = {"status": JobState.FAILED, "reason": Reason.OOM_KILL, "revision": 3}
    assert await store.jobs.update(job.model_copy(update=ended))
    assert (await samples(settings, store))["ml_agent_jobs_ended_total{oom-kill}"] == 1


async def test_certificates_tell_when_they_expire(settings: Settings, store: Store) -> None:
    assert not [name for name in await samples(settings, store) if "certificate" in name]
    settings.pki_directory.mkdir(parents=True)
    authority = Authority.make("test")
    issued = authority.issue_server(["localhost"])
    replace_pair(settings.pki_directory, "server", issued.certificate_pem(), issued.key_pem())
    found = await samples(settings, store)
    days = (found["ml_agent_certificate_expiry_timestamp_seconds{server}"] - time.time()) / 86400
    assert 800 < days < 825


async def test_without_an_agent_the_numbers_of_a_running_one_are_missing(
    settings: Settings, store: Store
) -> None:
    found = await samples(settings, store, live=None)
    assert "ml_agent_streams" not in found
    assert "ml_agent_jobs{PENDING}" in found


async def test_openmetrics_is_served_where_it_is_asked_for(settings: Settings, store: Store) -> None:
    accept = "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"
    text, content_type = await Monitoring(settings, store).exposition(accept, LIVE)
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(text.decode())}  # type: ignore[no-untyped-call]
    assert "ml_agent_jobs_ended" in families


async def test_the_number_of_series_does_not_depend_on_jobs_or_users(
    settings: Settings, store: Store
) -> None:
    before = await samples(settings, store)
    for number in range(50):
        await store.jobs.add(make_job(owner=f"user-{number}", name=f"name-{number}"), max_waiting=9)
    after = await samples(settings, store)
    assert before.keys() == after.keys()
    assert len(after) < 100
    assert not [name for name in after if "user-" in name or "name-" in name]


async def test_the_page_describes_every_metric_and_no_other(settings: Settings, store: Store) -> None:
    text, _ = await Monitoring(settings, store).exposition("", LIVE)
    families = {family.name for family in parse(text.decode())}
    page = (DOCS / "monitoring.md").read_text("utf-8")
    described = set(re.findall(r"^\| `(ml_agent_\w+)`", page, re.MULTILINE))
    # What the kernel counts of all jobs is missing on a host without its controllers.
    optional = {"ml_agent_jobs_memory_bytes", "ml_agent_jobs_cpu_seconds"}
    counters = {name.removesuffix("_total") for name in described}
    assert families <= counters
    assert counters - families <= optional


def test_every_alert_is_described_and_asks_for_metrics_that_exist() -> None:
    page = (DOCS / "monitoring.md").read_text("utf-8")
    rules = (DOCS / "monitoring/alerts.yml").read_text("utf-8")
    names = set(re.findall(r"^\| `(ml_agent_\w+)`", page, re.MULTILINE))
    assert re.findall(r"alert: (\w+)", rules) == re.findall(r"^\| `(MlAgent\w+)`", page, re.MULTILINE)
    assert set(re.findall(r"ml_agent_\w+", rules)) <= names


async def test_a_drain_is_there_from_its_plan_to_its_end(settings: Settings, store: Store) -> None:
    async def drained(begins: float, ends: float | None) -> dict[str, float]:
        at, end = (now() + timedelta(seconds=begins)), ends and now() + timedelta(seconds=ends)
        caller = Caller(actor="ml", role="account", source="this host")
        await store.drains.set(Drain(begins_at=at, ends_at=end or None), deed=caller.did("drainHost"))
        return await samples(settings, store)

    assert (await samples(settings, store))["ml_agent_drained"] == 0
    ahead = await drained(60, 120)
    assert ahead["ml_agent_drained"] == 0
    assert ahead["ml_agent_drain_timestamp_seconds{end}"] - ahead[
        "ml_agent_drain_timestamp_seconds{begin}"
    ] == pytest.approx(60, abs=1)
    begun = await drained(-1, None)
    assert (begun["ml_agent_drained"], "ml_agent_drain_timestamp_seconds{end}" in begun) == (1, False)
    over = await drained(-2, -1)
    assert (over["ml_agent_drained"], "ml_agent_drain_timestamp_seconds{begin}" in over) == (0, False)

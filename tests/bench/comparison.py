"""What a comparison costs beside a long history.

    python -m tests.bench.comparison [--jobs 100000] [--compared 200] [--rounds 200]

Needs no systemd host: the API over TLS, over the agent's own store. systemd, Podman and the journal are stood
in for, and none of them is asked. The yardstick is a page of as many jobs, in turns with the comparison.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from sqlite3 import Connection

import pytest

from agent.config_base import HttpSettings
from agent.model.comparison import Consumption, MetricSummary
from agent.model.job import JobState
from agent.store.jobs import IdTaken, insert
from agent.store.summaries import record_summary
from tests.support.api_client import Client
from tests.support.openapi import Document
from tests.support.served import Authorities, served_by_the_agent, use_stand_in_journalctl
from tests.support.small_site import make_repository, make_settings

from .scale import stored_job

METRICS = 8  # of each job
MOST = 0.3  # seconds at the 95th percentile
FORMS = ("application/json", "text/csv")


def fill(db: Connection, count: int) -> list[str]:
    """Stores that many ended jobs with what they reported; their ids."""
    ids: list[str] = []
    while len(ids) < count:
        job = stored_job(JobState.COMPLETED)
        with contextlib.suppress(IdTaken):
            insert(db, job)
            value = len(ids) % 997 / 997
            summary = MetricSummary(count=60, last=value, min=0.0, max=1.0)
            metrics = {f"metric_{number}": summary for number in range(METRICS)}
            record_summary(db, job.job_id, metrics, Consumption(12.5, 2**30))
            ids.append(job.job_id)
    return ids


async def asked(client: Client, path: str, accept: str) -> float:
    """Seconds until the answer was read."""
    began = time.perf_counter()
    async with client.session.get(client.base + path, headers={"Accept": accept}) as response:
        body = await response.read()
    took = time.perf_counter() - began
    assert response.status == 200, body
    return took


def percentile(times: list[float]) -> float:
    """The 95th."""
    return statistics.quantiles(times, n=20)[-1]


async def measure(jobs: int, compared: int, rounds: int) -> int:
    """Prints the figures; returns 1 where a comparison takes too long."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        base = Path(directory)
        use_stand_in_journalctl(patch, base / "journal")
        make_repository(base / "repository")
        settings = make_settings(base, runtime=base / "runtime")
        http = HttpSettings(requests_per_second=1e5, request_burst=1_000_000)
        settings = settings.model_copy(update={"http": http})
        authorities = Authorities.make(base / "pki")
        async with served_by_the_agent(settings, authorities, Document.load(), base) as served:
            ids = await served.scene.store.database.run(lambda db: fill(db, jobs))
            client = await served.known("alice")
            spread = ids[:: max(1, jobs // compared)][:compared]  # from all over the history
            path = "/comparison?maximize=metric_0&" + "&".join(f"job={job_id}" for job_id in spread)
            page = f"/jobs?limit={min(compared, 200)}"
            for each in (path, page):
                await asked(client, each, FORMS[0])
            times: dict[str, list[float]] = {form: [] for form in ("page", *FORMS)}
            used = dict.fromkeys(times, 0.0)  # of CPU, by the agent's parts and the client: this process
            for _ in range(rounds):
                for form, asks in (("page", page), *((form, path) for form in FORMS)):
                    before = time.process_time()
                    accept = FORMS[0] if form == "page" else form
                    times[form].append(await asked(client, asks, accept))
                    used[form] += time.process_time() - before
    yardstick = percentile(times.pop("page"))
    print(f"{compared} of {jobs} jobs, {METRICS} metrics each; 95th percentile of {rounds} rounds")
    cpu = {form: f"{seconds / rounds * 1000:>8.1f} ms of CPU" for form, seconds in used.items()}
    print(f"{'a page of as many jobs':<24}{yardstick * 1000:>8.1f} ms{cpu['page']}")
    for form, found in times.items():
        print(
            f"{form:<24}{percentile(found) * 1000:>8.1f} ms{cpu[form]}{percentile(found) / yardstick:>8.2f} x"
        )
    return int(max(map(percentile, times.values())) > MOST)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--compared", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    raise SystemExit(asyncio.run(measure(given.jobs, given.compared, given.rounds)))

"""Debian's Prometheus scrapes the agent over mutual TLS, evaluates the alerts and answers the dashboard."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.model.certificate import Role
from tests.support import prometheus
from tests.support.pki import save
from tests.support.prometheus import DOCS, Prometheus, configuration
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not prometheus.is_installed(), reason=prometheus.MISSING)
# What the kernel counts is missing on a host without its controllers.
OF_THE_KERNEL = ("ml_agent_jobs_cpu_seconds_total", "ml_agent_jobs_memory_bytes")
ALERTS = 10


@pytest.fixture
async def scraped(serve: Callable[..., Any], tmp_path: Path) -> Served:
    """An agent with a job, with certificates on the disk; `tmp_path` has those of a scraper."""
    served: Served = await serve()
    pki = served.scene.settings.pki_directory
    pki.mkdir(parents=True, exist_ok=True)
    for name in ("ca.crt", "server.crt"):
        shutil.copy(served.authorities.directory / name, pki / name)
    shutil.copy(served.authorities.directory / "ca.crt", tmp_path / "ca.crt")
    await (await served.known("alice")).submit()
    save(tmp_path, "scraper", await served.issue("prometheus", Role.OPERATOR))
    save(tmp_path, "analyst", await served.issue("bob"))
    return served


def configured(served: Served, tmp_path: Path, name: str = "scraper") -> str:
    """A configuration for this agent."""
    return configuration(tmp_path, name, served.base.removeprefix("https://"))


async def is_up(asked: Prometheus) -> bool:
    """Whether two scrapes have succeeded: a rate needs as many."""
    return bool(await asked.query('sum_over_time(up{job="ml-agent"}[1m]) >= 2'))


async def test_it_scrapes_and_evaluates_every_alert(scraped: Served, tmp_path: Path) -> None:
    async with prometheus.prometheus(tmp_path, configured(scraped, tmp_path)) as asked:
        await until(lambda: is_up(asked), seconds=60)
        (up,) = await asked.query("up")
        assert up["value"][1] == "1"
        (waiting,) = await asked.query('ml_agent_jobs{state="PENDING"}')
        assert waiting["value"][1] == "1"

        async def evaluated() -> list[dict[str, Any]]:
            (group,) = (await asked.ask("rules"))["groups"]
            rules: list[dict[str, Any]] = group["rules"]
            return rules if all(rule["health"] != "unknown" for rule in rules) else []

        rules = await until(evaluated, seconds=30)
        assert [(rule["health"], rule.get("lastError", "")) for rule in rules] == [("ok", "")] * ALERTS
        pending = {rule["name"] for rule in rules if rule["state"] != "inactive"}
        assert pending <= {"MlAgentJobsDoNotStart", "MlAgentDiskAlmostFull", "MlAgentRuntimeAlmostFull"}
        assert "MlAgentJobsDoNotStart" in pending  # it is true of this host, where no job is started


async def test_every_query_of_the_dashboard_has_an_answer(scraped: Served, tmp_path: Path) -> None:
    dashboard = json.loads((DOCS / "monitoring/dashboard.json").read_text("utf-8"))
    asked_for: set[str] = set()
    async with prometheus.prometheus(tmp_path, configured(scraped, tmp_path)) as asked:
        await until(lambda: is_up(asked), seconds=60)
        served = set(await asked.ask("label/__name__/values"))
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
                assert "$" not in expression
                names = set(re.findall(r"\bml_agent_\w+", expression))
                asked_for |= names
                missing = names - served
                assert missing <= set(OF_THE_KERNEL), panel["title"]
                assert bool(await asked.query(expression)) == (not missing), (panel["title"], expression)
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in served if name.startswith("ml_agent_")}
    assert families <= {name.removesuffix("_bucket") for name in asked_for}


async def test_a_scraper_without_the_right_is_told_so(scraped: Served, tmp_path: Path) -> None:
    async with prometheus.prometheus(tmp_path, configured(scraped, tmp_path, "analyst")) as asked:

        async def failed() -> Any:
            targets = (await asked.ask("targets"))["activeTargets"]
            return [each["lastError"] for each in targets if each["lastError"]]

        (error,) = await until(failed, seconds=60)
        assert "403" in error
        (up,) = await asked.query("up")
        assert up["value"][1] == "0"

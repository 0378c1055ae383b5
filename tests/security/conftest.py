"""Hostile jobs on a real host: the jobs' own image, the site's template, an agent's parts without HTTP."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from agent.config import Settings
from agent.config_files import load
from agent.host.systemd import Units
from agent.jobs.guards import DiskGuard
from agent.service import JobParts
from tests.support.job_host import Host, real_host
from tests.support.small_site import make_repository, make_settings
from tests.support.waiting import run

RUNNER = "localhost/ml-runner:latest"
SCRIPTS = Path(__file__).parent / "hostile"


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """A site whose scripts are hostile, with the networks of the agent that is installed."""
    if await run("podman", "images", "--quiet", RUNNER, check=False) == "":
        pytest.skip(f"there is no image {RUNNER} (ml-runner-build.service makes it)")
    scripts = {path.name: path.read_text("utf-8") for path in SCRIPTS.glob("*.py")}
    # The same attempts from other networks.
    for network, name in (("warehouse", "escape-warehouse.py"), ("egress-test", "escape-egress.py")):
        head = f'# /// ml-job\n# network = "{network}"\n'
        scripts[name] = scripts["escape.py"].replace("# /// ml-job\n", head, 1)
    make_repository(tmp_path / "repository", scripts)
    site = make_settings(tmp_path, runtime=Path(os.environ["XDG_RUNTIME_DIR"]))
    limits = site.jobs.default_limits.model_copy(update={"memory_bytes": 2**29, "run_time_seconds": 240})
    jobs = site.jobs.model_copy(update={"image": RUNNER, "default_limits": limits})
    return site.model_copy(update={"jobs": jobs, "networks": load().networks})


@pytest.fixture
async def host(settings: Settings) -> AsyncIterator[Host]:
    """The agent's parts that jobs meet, at work."""
    async with real_host(settings) as host, guarded(settings, host.jobs):
        yield host


@asynccontextmanager
async def guarded(settings: Settings, jobs: JobParts) -> AsyncIterator[None]:
    """The disk guard beside the jobs, with a connection of its own to the manager."""
    units = Units(f"unix:path={settings.runtime_directory}/bus")
    tasks = [
        asyncio.create_task(units.run(lambda _: None)),
        asyncio.create_task(DiskGuard(settings, jobs.registry, jobs.results, jobs.reconciler, units).run()),
    ]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

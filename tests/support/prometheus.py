"""A real Prometheus for tests, which scrapes as the page of the documentation says."""

import asyncio
import contextlib
import re
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp

from .waiting import run, until

DOCS = Path(__file__).parents[2] / "docs"
MISSING = "needs Prometheus: `make prometheus` installs Debian's package"
CERTIFICATES = "/etc/prometheus/ml-agent"  # as the page has them


def is_installed() -> bool:
    """Whether a test can use it."""
    return bool(shutil.which("prometheus") and shutil.which("promtool"))


class Prometheus:
    """Asks a running one."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, path: str, **parameters: str) -> Any:
        """What an endpoint of its API answers."""
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression has now."""
        return cast(list[dict[str, Any]], (await self.ask("query", query=expression))["result"])

    async def answers(self) -> bool:
        """Whether it is up."""
        with contextlib.suppress(aiohttp.ClientError):
            async with self._session.get(f"{self._url}/-/ready") as response:
                return response.status == 200
        return False


def configuration(certificates: Path, name: str, target: str) -> str:
    """That of the page with short intervals and other places; NAME.crt and NAME.key are the scraper's."""
    page = (DOCS / "monitoring.md").read_text("utf-8")
    found = re.search(r"^    (scrape_configs:\n(?:    .*\n)+)", page, re.MULTILINE)
    assert found is not None
    scrape = re.sub("^    ", "", found[1], flags=re.MULTILINE)
    for old, new in (
        (f"{CERTIFICATES}/prometheus.", f"{certificates}/{name}."),
        (CERTIFICATES, str(certificates)),
        ("host.example:8443", target),
    ):
        assert old in scrape
        scrape = scrape.replace(old, new)
    often = "global: {scrape_interval: 1s, evaluation_interval: 1s}"
    return f"{often}\nrule_files: [{DOCS / 'monitoring/alerts.yml'}]\n{scrape}"


@contextlib.asynccontextmanager
async def prometheus(directory: Path, text: str) -> AsyncIterator[Prometheus]:
    """One with this configuration, which promtool has checked, and with an empty database."""
    file = directory / "prometheus.yml"
    file.write_text(text, "utf-8")
    await run("promtool", "check", "config", str(file))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as session:
            asked = Prometheus(session, f"http://127.0.0.1:{port}")
            await until(asked.answers, seconds=60)
            yield asked
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()

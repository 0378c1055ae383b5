"""A job whose script names an `[egress.<name>]` reaches what is on its list, and nothing else by any way."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import EgressSettings, Settings, shipped
from agent.model.job import JobState
from agent.model.log import LogSource
from tests.support.job_host import Host
from tests.support.waiting import run

from .test_cage import attempts_of, end_of, targets_of

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]

NAME = "egress-test"
SOCKET, SERVICE = f"ml-egress@{NAME}.socket", f"ml-egress@{NAME}.service"


@pytest.fixture
async def allowed() -> AsyncIterator[int]:
    """A port of the host's loopback that sends back what comes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def settings(settings: Settings, allowed: int, tmp_path: Path) -> AsyncIterator[Settings]:
    """The site with that port as its jobs' only way out, through the units that are shipped."""
    units = settings.runtime_directory / "systemd/user"
    home = Path.home() / ".cache/ml-agent-test-egress"  # what is in /tmp, the proxy does not see
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'scripts.repository = "/nowhere"\n[egress.{NAME}]\n'
        f'allow = ["127.0.0.1:{allowed}"]\nprivate = ["127.0.0.1/32"]\n'
    )
    program = shutil.which("ml-agent", path=f"{Path(shutil.which('python3') or '').parent}:/usr/local/bin")
    for kind in ("socket", "service"):
        text = (shipped("units") / f"ml-egress@.{kind}").read_text("utf-8")
        text = text.replace("@ML_AGENT@", str(program)).replace("@STATE@", str(settings.state_directory))
        text = text.replace("[Service]\n", f"[Service]\nEnvironment=ML_AGENT_CONFIG={home}/config.toml\n")
        (units / f"ml-egress@{NAME}.{kind}").write_text(text)
    rules = EgressSettings.model_validate({"allow": [f"127.0.0.1:{allowed}"], "private": ["127.0.0.1/32"]})
    yield settings.model_copy(update={"egress": {NAME: rules}})
    await run("systemctl", "--user", "stop", SOCKET, SERVICE, check=False)
    for kind in ("socket", "service"):
        (units / f"ml-egress@{NAME}.{kind}").unlink()
    shutil.rmtree(home)
    await run("systemctl", "--user", "daemon-reload")


async def test_only_what_is_on_the_list_is_reached_whatever_a_job_tries(host: Host, allowed: int) -> None:
    job = await host.submit("wander.py", hyperparameters={"port": str(allowed)})
    ended = await end_of(host, job)
    lines = [text for text, source in await host.whole_log(job) if source is LogSource.JOB]
    print("\n".join(lines))
    assert ended.status is JobState.COMPLETED
    assert "proxy http://127.0.0.1:3128 None" in lines
    assert "echo HTTP/1.1 200 Connection established True" in lines
    assert [line for line in lines if line.startswith("REACHED")] == []
    assert len([line for line in lines if line.startswith("refused")]) == 28
    noted = await run("journalctl", "--user", "--unit", SERVICE, "--output=cat", "--quiet")
    assert f"job {job.job_id}: 127.0.0.1:{allowed}, 170000 bytes sent, 170000 received" in noted
    assert f"job {job.job_id}: refused example.com:443: it is not on the list" in noted
    # The connector goes by the proxy, too.
    assert f"job {job.job_id}: refused not-on-the-list.snowflakecomputing.com:443" in noted


async def test_a_job_with_a_way_out_has_no_other(host: Host) -> None:
    async with targets_of(host) as targets:
        parameters = {"targets": json.dumps(targets)}
        rows = await attempts_of(host, await host.submit("escape-egress.py", hyperparameters=parameters))
    assert [row for row in rows if row["result"] == "SUCCEEDED"] == []

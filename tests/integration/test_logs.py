"""What a job prints comes back as docs/logs.md says: in each form, live, from the journal, and when kept."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.cli.job.http import Api
from agent.cli.job.profile import Profile, config_directory
from agent.cli.job.stream import follow
from agent.config_files import load
from agent.model.log import LogLine, LogSource
from tests.support.waiting import run, until

LINE_MAX = 48 * 1024  # journald's default

SIZES = (4095, 4096, 4097, 8191, 8192, 8193, LINE_MAX - 1, LINE_MAX, LINE_MAX + 1)
LINES = [
    b"plain",
    b"\x1b[31mred\x1b[0m",
    b" 10%\r 20%\r100%",
    b"\xff\xfe is no UTF-8, \xc3\xa4 is",
    b"<0>not an emergency",
    b"<6>",
    b"  spaces",
    b"\ttab\x0b\x0c\x07",
    b'"quotes" \\ and {"json": 1}',
    b"data: event: id: 1",
    "line separator \u2028 and \U0001f600".encode(),
    *(b"x" * size for size in SIZES),
    b"m" * (1 << 20),
    b"last",
]
# What is printed, and what journald keeps: no empty lines, no white space behind text; a NUL ends a line.
PRINTED = b"\n  \nzero\0one \t\r\n" + b"\n".join(LINES)
# Of a line that is as long as journald reads at once, it cannot be said whether the next one goes on with it.
KEPT = b"  \nzero\none\n" + b"".join(line + b"\n" * (len(line) != LINE_MAX) for line in LINES)


@dataclass
class Running:
    """A job that runs and says nothing more by itself; `say` writes to its log as its process would."""

    api: Api
    job_id: str

    @property
    def path(self) -> str:
        return f"/jobs/{self.job_id}/logs"

    async def say(self, data: bytes, tmp_path: Path) -> None:
        """Returns when the journal has it."""
        (tmp_path / "printed").write_bytes(data)
        program = f"import sys; sys.stdout.buffer.write(open({str(tmp_path / 'printed')!r}, 'rb').read())"
        identifier = f"ml-job@{self.job_id}"
        await run("systemd-cat", "-t", identifier, "--level-prefix=false", sys.executable, "-c", program)
        last = data.rpartition(b"\n")[2].decode()

        async def there() -> bool:
            return last in await run("journalctl", "-q", "-t", identifier, "-n", "1", "-o", "cat")

        await until(there)

    async def read(self, accept: str, **params: str) -> bytes:
        async with self.api.open(self.path, params=params, accept=accept) as response:
            return await response.read()

    async def items(self) -> list[tuple[str, Any]]:
        """Lines and gaps as they are now, by lines of JSON."""
        events = [json.loads(line) for line in (await self.read("application/x-ndjson")).splitlines()]
        return [(each["event"], each["data"]) for each in events if each["event"] in ("line", "gap")]

    async def followed(self, **params: str) -> list[tuple[str, Any]]:
        """The same as events, to the job's end."""
        found = []
        stream = follow(self.api, self.path, params=params, notice=lambda text: pytest.fail(text))
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                if event.name in ("line", "gap"):
                    found.append((event.name, json.loads(event.data)))
        return found


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    request = {"script_name": "hello.py", "hyperparameters": {"lines": "1", "sleep": "3000"}}
    async with Api(Profile.load(config_directory(), server=None, identity="alice")) as api:
        job = await api.post("/jobs", request)
        one = Running(api, job["job_id"])

        async def begun() -> bool:
            return b"Hello" in await one.read("text/plain")

        await until(begun)
        yield one
        await api.post(f"/jobs/{job['job_id']}/cancel")


def own_output(items: list[tuple[str, Any]]) -> bytes:
    """What the job itself printed, put together again."""
    lines = [LogLine.model_validate(data) for name, data in items if name == "line"]
    own = [line for line in lines if line.source is LogSource.JOB]
    return b"".join(line.printed + (b"" if line.continued else b"\n") for line in own)


async def test_hostile_lines_come_back_in_every_form_live_from_the_journal_and_when_kept(
    running: Running, tmp_path: Path
) -> None:
    before = asyncio.create_task(running.followed())
    await running.say(PRINTED, tmp_path)
    middle = asyncio.create_task(running.followed())
    text = b"Hello, world! (1 of 1)\n" + KEPT

    assert await running.read("text/plain") == text
    items = await running.items()
    assert own_output(items) == text
    assert [data["number"] for _, data in items] == list(range(1, len(items) + 1))
    cut = [data for _, data in items if data.get("continued")]
    assert all(len(LogLine.model_validate(each).printed) == LINE_MAX for each in cut)

    await running.api.post(f"/jobs/{running.job_id}/cancel")
    live = await before
    assert live[: len(items)] == items
    assert await middle == live
    assert await running.followed() == live

    kept = load().state_directory / "jobs" / running.job_id / "log.gz"

    async def archived() -> bool:
        return kept.exists()

    await until(archived, seconds=60)
    assert await running.followed() == live
    assert await running.items() == live
    assert (await running.read("text/plain")).startswith(text)


async def test_a_log_in_a_pipe_is_the_same_followed_or_not(running: Running, tmp_path: Path) -> None:
    # journald cuts the first between two characters, and the second within one.
    long = "ä".encode() * LINE_MAX + b"!\nx" + "ä".encode() * LINE_MAX + b"\n"
    text = PRINTED + b"\n" + long + b"end"
    begun = tmp_path / "followed from the beginning"
    with begun.open("wb") as out:
        following = await asyncio.create_subprocess_exec(
            "ml-job",
            "-i",
            "alice",
            "logs",
            "-f",
            running.job_id,
            stdout=out,
            stderr=asyncio.subprocess.DEVNULL,
        )
    await running.say(text, tmp_path)
    await running.api.post(f"/jobs/{running.job_id}/cancel")
    assert await following.wait() == 0
    for tail in ([], ["--tail", "3"], ["--tail", "1"], ["--tail", "100"]):
        plain = await printed("ml-job", "-i", "alice", "logs", running.job_id, *tail)
        assert await printed("ml-job", "-i", "alice", "logs", "-f", running.job_id, *tail) == plain
        if not tail:
            assert plain == begun.read_bytes()
            assert plain.startswith(b"Hello, world! (1 of 1)\n" + KEPT + long + b"end\n")


async def test_a_tail_of_a_running_job_has_the_lines_and_numbers_of_the_whole_log(
    running: Running, tmp_path: Path
) -> None:
    for part in range(3):
        text = b"".join(b"%d-%d " % (part, n) + b"x" * (n % 50) + b"\n" for n in range(3000))
        await running.say(text + b"c" * (LINE_MAX + 10) + b"\nend", tmp_path)
        whole = [data for _, data in await running.items()]
        own = [data for data in whole if data["source"] == "job"]
        for lines in (1, 2, 7, 500, 3200, len(own) - 1, len(own), len(own) + 1):
            read = await running.read("application/x-ndjson", tail=str(lines))
            told = [json.loads(line) for line in read.splitlines()]
            shown = [each["data"] for each in told if each["event"] == "line"]
            assert shown == whole[-len(shown) :]
            assert [data for data in shown if data["source"] == "job"] == own[-lines:]


async def test_a_tail_of_long_lines_does_not_fill_the_agents_memory(running: Running, tmp_path: Path) -> None:
    agent = await run("systemctl", "--user", "show", "--value", "--property=MainPID", "ml-agent.service")
    status = Path(f"/proc/{int(agent)}/status")

    def resident() -> int:
        """MiB."""
        return int(status.read_text().partition("VmRSS:")[2].split()[0]) // 1024

    await running.say(b"".join(b"%d %s\n" % (n, b"x" * 4000) for n in range(20_000)) + b"end", tmp_path)
    await running.read("text/plain", tail="10")
    before = most = resident()
    for accept in ("text/plain", "application/x-ndjson"):
        reading = asyncio.create_task(running.read(accept, tail="20000"))
        while not reading.done():
            most = max(most, resident())
            await asyncio.sleep(0.01)
        assert len(await reading) > 80_000_000
    assert most - before < 32


async def printed(*command: str) -> bytes:
    """What a command writes to stdout."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


async def test_lines_that_journald_cuts_while_the_text_is_read_are_whole(running: Running) -> None:
    program = "for n in range(200): print(n, 'short\\n' * 20, 'y' * 200_000, 'end')"
    identifier = f"ml-job@{running.job_id}"
    printing = asyncio.create_task(
        run("systemd-cat", "-t", identifier, "--level-prefix=false", sys.executable, "-uc", program)
    )
    reads = 0
    while not printing.done():
        *whole, _ = (await running.read("text/plain")).splitlines()
        long = [line for line in whole if line.startswith(b" y") or b"yy" in line]
        assert {len(line) for line in long} <= {200_005}
        reads += bool(long)
    await printing
    assert reads


async def test_text_without_cut_lines_is_the_same_the_quick_way(running: Running, tmp_path: Path) -> None:
    lines = [line for line in LINES if len(line) < LINE_MAX]
    await running.say(b"\n  \nzero\0one \t\r\n" + b"\n".join(lines), tmp_path)
    text = await running.read("text/plain")
    assert text == b"Hello, world! (1 of 1)\n  \nzero\none\n" + b"".join(line + b"\n" for line in lines)
    assert own_output(await running.items()) == text
    # A cut line in the middle, after which the quick way begins.
    await running.say(b"c" * (LINE_MAX + 10) + b"\nand\nthen", tmp_path)
    text += b"c" * (LINE_MAX + 10) + b"\nand\nthen\n"
    assert await running.read("text/plain") == text


async def test_a_log_can_be_asked_for_by_number_time_and_expression(running: Running, tmp_path: Path) -> None:
    await running.say(b"\n".join(b"line %d" % number for number in range(1, 101)), tmp_path)
    lines = [data for _, data in await running.items() if data["text"].startswith("line")]
    assert await running.read("text/plain", tail="2") == b"line 99\nline 100\n"
    assert await running.read("text/plain", grep="^line .0$", tail="2") == b"line 80\nline 90\n"
    since = await running.read("application/x-ndjson", since=lines[50]["time"])
    assert json.loads(since.splitlines()[0])["data"]["time"] >= lines[50]["time"]
    assert b"line 100" in since
    assert b"line 1\n" not in await running.read("text/plain", until="2020-01-01T00:00:00Z")


async def test_a_flood_in_one_job_takes_no_line_of_another(running: Running, tmp_path: Path) -> None:
    request = {"script_name": "hello.py", "hyperparameters": {"lines": "100", "sleep": "0.01"}}
    # Far more than journald takes from an account in half a minute, unless it was told to take all.
    flood = b"".join(b"flood %d\n" % number for number in range(60_000))
    flooding = asyncio.create_task(running.say(flood + b"over", tmp_path))
    beside = Running(running.api, (await running.api.post("/jobs", request))["job_id"])
    lines = await beside.followed()
    await flooding
    greetings = [data["text"] for name, data in lines if name == "line" and data["source"] == "job"]
    assert greetings == [f"Hello, world! ({number} of 100)" for number in range(1, 101)]
    assert not [name for name, _ in lines if name == "gap"]
    assert (await running.read("text/plain")).endswith(flood + b"over\n")

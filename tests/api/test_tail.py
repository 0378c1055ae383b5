"""The tail of a log: the same lines in every form, followed or not, and memory that does not grow with it."""

import asyncio
import json
import random
import tracemalloc
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from agent.api.calls import tail
from agent.api.calls.tail import Window, find_tail, is_jobs_own
from agent.logs.lines import Gap, Item, Line, Position
from agent.model.log import GapCause, LogSource
from tests.support.api_client import Client, events
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed, Served
from tests.support.waiting import until

START = Position(0, "")


def log_of(kinds: str, text: bytes = b"text") -> list[Item]:
    """A log, one letter an item: job, system, gap."""
    items: list[Item] = []
    number = 0
    for index, kind in enumerate(kinds):
        if kind == "g":
            items.append(Gap(number, 0, f"c{index}", GapCause.REMOVED))
        else:
            number += 1
            source = LogSource.JOB if kind == "j" else LogSource.SYSTEM
            items.append(Line(number, 0, source, text, f"c{index}"))
    return items


async def in_batches(items: list[Item], sizes: random.Random) -> AsyncGenerator[list[Item]]:
    while items:
        size = sizes.randint(1, 4)
        yield items[:size]
        items = items[size:]
        if sizes.random() < 0.2:
            yield []


async def everything(items: list[Item]) -> list[Item]:
    return items


async def without_system(items: list[Item]) -> list[Item]:
    return [item for item in items if is_jobs_own(item)]


def behind(items: list[Item], position: Position) -> list[Item]:
    return items[next((n for n, item in enumerate(items) if item.position == position), -1) + 1 :]


async def told(items: list[Item], lines: int, seed: int, *, goes_on: bool = False) -> list[Item]:
    """The tail of a log as two passes with different batches tell it."""
    found = random.Random(seed)
    window = await find_tail(in_batches(items, found), everything, START, lines, goes_on=goes_on)
    taken: list[Item] = []
    async for batch in in_batches(behind(items, window.position), found):
        taken += window.select(batch)
    return taken


@pytest.mark.parametrize(
    ("kinds", "lines", "first"),
    [
        ("jjjj", 2, 2),
        ("sjjsjjs", 2, 4),  # with what the system says between and behind them
        ("sjgjs", 1, 3),  # without the gap before the first
        ("sjjs", 3, 0),  # a log that has fewer is shown from its beginning
        ("sjjs", 2, 1),
        ("ssgss", 5, 0),  # of a job that printed nothing, as when its container did not start
        ("gjj", 9, 0),
        ("", 3, 0),
    ],
)
@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_tail_counts_the_lines_of_the_job(kinds: str, lines: int, first: int, goes_on: bool) -> None:
    items = log_of(kinds)
    for seed in range(20):
        assert await told(items, lines, seed, goes_on=goes_on) == items[first:]


async def test_any_tail_of_any_log_is_its_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MAX_PLACES", 5)
    for seed in range(300):
        made = random.Random(seed)
        items = log_of("".join(made.choices("jjjsg", k=made.randint(0, 120))))
        lines = made.randint(1, 60)
        own = [item for item in items if is_jobs_own(item)]
        taken = await told(items, lines, seed)
        assert [item for item in taken if is_jobs_own(item)] == own[-lines:]
        assert taken == items[len(items) - len(taken) :]


async def test_a_log_without_its_beginning_has_the_same_tail() -> None:
    for seed in range(300):
        made = random.Random(seed)
        items = log_of("".join(made.choices("jjjsg", k=made.randint(0, 120))))
        lines = made.randint(0, 40)
        own = [index for index, item in enumerate(items) if is_jobs_own(item)]
        if len(own) <= lines:
            continue
        without = made.randint(0, own[-lines - 1])
        whole = await find_tail(in_batches(items, made), everything, START, lines, goes_on=False)
        window = await find_tail(in_batches(items[without:], made), everything, START, lines, goes_on=False)
        tails = [each.select(behind(items, each.position)) for each in (whole, window)]
        assert tails[0] == tails[1]
        assert sum(map(is_jobs_own, tails[1])) == lines


async def test_a_tail_of_a_log_that_grows_meanwhile_has_no_more_lines_than_were_asked_for() -> None:
    grown = log_of("jjjjsjs")
    window = await find_tail(in_batches(grown[:4], random.Random(1)), everything, START, 2, goes_on=False)
    taken = window.select(behind(grown, window.position))
    assert [item.position.number for item in taken] == [3, 4, 5]
    assert window.over


async def test_a_tail_without_lines_begins_at_the_end() -> None:
    items = log_of("sjjs")
    window = await find_tail(in_batches(items, random.Random(1)), everything, START, 0, goes_on=True)
    assert window == Window(items[-1].position, skipped=0, begun=True, count=None)


async def test_only_lines_that_pass_the_filter_count() -> None:
    items = log_of("jjsjj")

    async def every_second(items: list[Item]) -> list[Item]:
        return [item for item in items if item.position.number % 2 == 0]

    window = await find_tail(in_batches(items, random.Random(1)), every_second, START, 1, goes_on=False)
    shown = window.select(await every_second(behind(items, window.position)))
    assert [item.position.number for item in shown] == [4]


async def test_finding_the_tail_keeps_no_lines() -> None:
    async def long_lines() -> AsyncGenerator[list[Item]]:
        number = 0
        for _ in range(2000):
            batch: list[Item] = []
            for _ in range(10):
                number += 1
                cursor = f"c{number}".ljust(150, "x")
                batch.append(Line(number, 0, LogSource.JOB, b"%d" % number * 4000, cursor))
            yield batch
            await asyncio.sleep(0)

    tracemalloc.start()
    try:
        window = await find_tail(long_lines(), everything, START, 15_000, goes_on=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert window.position.number + window.skipped == 5000
    # The tail has about 300 MB.
    assert peak < 8 * 2**20


# --- over HTTP ------------------------------------------------------------------------------------------


async def own_lines(client: Client, job: Any, tail: int, **headers: str) -> list[str]:
    path = f"/jobs/{job['job_id']}/logs?tail={tail}"
    async with asyncio.timeout(20), client.stream(path, **headers) as response:
        told = [(name, data) async for name, data, _ in events(response)]
    return [data["text"] for name, data in told if name == "line" and data["source"] == "job"]


async def followed(served: Served) -> bool:
    return served.journal.open_now == 2


@over_any_backend
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 9])
async def test_a_tail_has_the_same_lines_followed_or_not(
    served: AnyServed, alice: Client, lines: int
) -> None:
    job = await alice.submit()
    served.log("1", "2", "3", "END")
    await served.finish(job)
    expected = ["1", "2", "3"][-lines:] if lines else []
    path = f"/jobs/{job['job_id']}/logs?tail={lines}"
    assert (await alice.get(path)).body.decode().split() == expected
    for follow in ("true", "false"):
        answer = await alice.get(f"{path}&follow={follow}")
        assert answer.body.decode().split() == expected
        answer = await alice.get(f"{path}&follow={follow}", Accept="application/x-ndjson")
        told = [json.loads(line) for line in answer.body.splitlines()]
        own = [
            one["data"]["text"] for one in told if one["event"] == "line" and one["data"]["source"] == "job"
        ]
        assert own == expected
    assert await own_lines(alice, job, lines) == expected


@pytest.mark.parametrize("lines", [0, 1, 2, 9])
async def test_a_followed_tail_of_a_running_job_goes_on(served: Served, alice: Client, lines: int) -> None:
    job = await served.running_job(alice)
    served.log("1", "2")
    path = f"/jobs/{job['job_id']}/logs?tail={lines}"
    assert (await alice.get(path)).body.decode().split() == (["1", "2"][-lines:] if lines else [])
    async with asyncio.timeout(20), alice.stream(path) as response:
        stream = events(response)
        assert (await anext(stream))[0] == "state"
        before = [(await anext(stream))[1]["text"] for _ in range(min(lines, 2))]
        await until(lambda: followed(served))
        served.log("3")
        assert [*before, (await anext(stream))[1]["text"]] == ["1", "2", "3"][2 - len(before) :]
        served.log("END")
        await served.end(job)
        assert [name async for name, _, _ in stream] == ["line", "end"]

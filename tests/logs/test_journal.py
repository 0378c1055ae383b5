"""The rest of a log whose unit has ended, and the log of a unit of the host's own journald."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from agent.logs import history, journal
from agent.logs.entries import Fields
from agent.logs.journal import Journal, live
from agent.logs.lines import ENDED, Gap, Item, Line, LineNumbering, Position
from agent.logs.tail import Subscription, Tail
from agent.model.log import LogSource
from tests.support.log_entries import MANAGER_STARTED, entry, restarts, texts
from tests.support.transient_unit import Unit
from tests.support.waiting import run, until


@pytest.mark.parametrize(
    ("kinds", "gaps"),
    [
        ("", [0]),
        ("bl", [2]),
        ("ble", []),
        ("blel", []),
        ("blu", [2]),
        ("bleb", [4]),
        ("blf", []),  # the hook that writes the closing entry was killed
        ("blfs", []),  # somebody restarted the unit, which was skipped
        ("blefs", []),
        ("bls", [3]),
        ("blfbl", [5]),
    ],
)
async def test_a_log_that_nothing_closes_ends_with_a_gap(
    kinds: str, gaps: list[int], journal_has: Callable[[list[Fields]], None]
) -> None:
    entries = restarts(kinds)
    journal_has(entries)
    numbering = LineNumbering(Position())
    taken = numbering.number(entries)
    for _ in range(2):
        taken += await Journal().unclosed("x.service", numbering)
    assert [item.after for item in taken if isinstance(item, Gap)] == gaps


@pytest.mark.parametrize(
    ("manager", "boot", "gaps"),
    [
        (2, "0", 0),  # a new manager, after the log's last entry
        (1, "0", 1),  # the one that started the job
        (2, "1", 1),  # the host went down
    ],
)
async def test_a_killed_user_manager_is_no_gap(
    manager: int, boot: str, gaps: int, journal_has: Callable[[list[Fields]], None]
) -> None:
    log = restarts("bl")
    cursor = f"s={'a' * 32};i={manager:x};b={boot * 32};m=1;t={manager:x};x=9"
    journal_has([*log, entry(MESSAGE_ID=MANAGER_STARTED, __CURSOR=cursor.encode())])
    numbering = LineNumbering(Position())
    numbering.number(log)
    assert len(await Journal().unclosed("x.service", numbering)) == gaps


@pytest.mark.parametrize(("kinds", "gaps"), [("ble", 0), ("blel", 0), ("bl", 1), ("blebl", 1), ("blefs", 0)])
async def test_a_reader_behind_the_closing_entry_gets_no_gap(
    kinds: str, gaps: int, either_way_has: Callable[[list[Fields]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SETTLE_LIMIT", 0)
    entries = restarts(kinds)
    either_way_has(entries)
    for back in (1, 2):
        numbering = LineNumbering(Position(3, entries[-back]["__CURSOR"].decode()))
        items = [item async for batch in Journal().rest("x.service", numbering) for item in batch]
        assert [type(item) for item in items[back - 1 :]] == [Gap] * gaps


async def test_a_closed_log_is_whole_after_a_second_look(
    either_way_has: Callable[[list[Fields]], None],
) -> None:
    entries = restarts("blel")
    either_way_has(entries)
    numbering = LineNumbering(Position())
    items = [item async for batch in Journal().rest("x.service", numbering) for item in batch]
    assert [item.position.number for item in items] == list(range(1, len(items) + 1))
    assert numbering.closed


# --- the host's journald ------------------------------------------------------------------------------


async def own(batches: AsyncIterator[list[Item]]) -> list[tuple[int, bytes]]:
    """What the unit itself wrote, with the numbers."""
    return [
        (item.number, item.text)
        async for items in batches
        for item in items
        if isinstance(item, Line) and item.source is LogSource.JOB
    ]


async def followed(unit: Unit, tail: Tail | None = None) -> list[bytes]:
    items = Journal(tail).follow(unit.name, LineNumbering(Position()), unit.ended)
    return [text for _, text in await own(items)]


@pytest.mark.host
async def test_a_follower_from_before_the_start_sees_every_line() -> None:
    unit, tail = Unit(), Tail()
    follower = asyncio.create_task(followed(unit, tail))

    await until(lambda: unit.name in tail.units)
    await unit.start("seq 1 3000")
    assert await follower == [b"%d" % number for number in range(1, 3001)]


@pytest.mark.host
async def test_a_process_that_ends_at_once_keeps_its_line() -> None:
    for _ in range(5):
        unit = Unit()
        await unit.start("echo only")
        assert await followed(unit) == [b"only"]


@pytest.mark.host
async def test_a_log_resumes_with_the_next_line_and_the_same_numbers() -> None:
    unit = Unit()
    await unit.start("seq 1 50")
    await unit.ended()
    batches = Journal().rest(unit.name, LineNumbering(Position()))
    lines = [item for items in [each async for each in batches] for item in items if isinstance(item, Line)]
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    for index in (0, 20, len(lines) - 1):
        position = Position.parse(str(lines[index].position))
        rest = [items async for items in Journal().history(unit.name, LineNumbering(position))]
        assert [item for items in rest for item in items] == lines[index + 1 :]


@pytest.mark.host
async def test_a_short_log_is_the_same_as_the_history() -> None:
    unit, other = Unit(), Unit()
    await other.start("echo other")
    await unit.start(
        r"seq 1 50; printf '\033[31mred\n\377\376\n'; head -c 60000 /dev/zero | tr '\0' x; echo; echo after"
    )
    await unit.ended()
    await other.ended()
    numberings = [LineNumbering(Position()) for _ in range(2)]
    whole = [item async for items in Journal().rest(unit.name, numberings[0]) for item in items]
    assert await Journal().short(unit.name, numberings[1]) == whole
    assert len(whole) > 55
    first, second = numberings
    assert (first.position, first.closed) == (second.position, second.closed)
    assert first.closed


@pytest.mark.host
async def test_the_rest_of_a_short_log_is_read_behind_a_cursor_that_the_journal_has() -> None:
    unit = Unit()
    await unit.start("seq 1 5")
    await unit.ended()
    whole = [item async for items in Journal().rest(unit.name, LineNumbering(Position())) for item in items]
    third = whole[2].position
    assert await Journal().short(unit.name, LineNumbering(third)) == whole[3:]
    gone = third.cursor.replace(";i=", ";i=f")
    assert await Journal().short(unit.name, LineNumbering(Position(3, gone))) is None


@pytest.mark.host
async def test_a_long_log_is_not_read_in_one_go() -> None:
    unit = Unit()
    await unit.start(f"seq 1 {2 * history.SHORT_ENTRIES}")
    await unit.ended()
    numbering = LineNumbering(Position())
    lines = await own(Journal().rest(unit.name, numbering))
    assert len(lines) == 2 * history.SHORT_ENTRIES
    assert await Journal().short(unit.name, LineNumbering(Position())) is None


@pytest.mark.host
async def test_history_does_not_wait_for_more() -> None:
    unit = Unit()
    await unit.start("echo now; sleep 30")
    lines = await until(lambda: own(Journal().history(unit.name, LineNumbering(Position()))))
    assert [text for _, text in lines] == [b"now"]
    await run("systemctl", "--user", "kill", "--signal=KILL", unit.name)
    await unit.ended()


@pytest.mark.host
async def test_hostile_bytes_come_back_as_one_line_each() -> None:
    unit = Unit()
    await unit.start(r"""printf '\033[31mred\033[0m\n 10%%\r 20%%\n\377\376\n<3>not a priority\nno end'""")
    assert await followed(unit) == [
        b"\x1b[31mred\x1b[0m",
        b" 10%\r 20%",
        b"\xff\xfe",
        b"<3>not a priority",
        b"no end",
    ]


@pytest.mark.host
async def test_a_line_longer_than_journalctl_shows_is_whole() -> None:
    unit = Unit()
    await unit.start("head -c 40000 /dev/zero | tr '\\0' x; echo; echo after")
    assert await followed(unit) == [b"x" * 40_000, b"after"]


@pytest.mark.host
async def test_a_missing_closing_entry_is_awaited_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "SETTLE_LIMIT", 0.5)
    async with asyncio.timeout(3):
        assert await own(Journal().rest(Unit().name, LineNumbering(Position()))) == []


@pytest.mark.host
async def test_lines_of_another_unit_are_not_seen() -> None:
    one, other = Unit(), Unit()
    await one.start("echo one")
    await other.start("echo other")
    assert await followed(one) == [b"one"]
    await other.ended()


async def test_a_slow_follower_is_not_at_the_end_while_lines_come() -> None:
    subscription = Subscription()

    async def print_slowly() -> None:
        for number in range(1, 8):
            # Longer than a look, and all together longer than the limit.
            await asyncio.sleep(0.1)
            subscription.put([entry(b"%d" % number)])

    async def has_ended() -> bool:
        return True

    end, printing = asyncio.create_task(has_ended()), asyncio.create_task(print_slowly())
    await asyncio.wait([end])
    numbering = LineNumbering(Position())
    batches = live(subscription, numbering, end, interval=0.01, limit=0.3)
    assert await texts(batches) == [str(number) for number in range(1, 8)]
    await printing


async def test_a_log_is_not_at_its_end_before_the_journal_was_read_to_its_own() -> None:
    looks = [5]
    subscription = Subscription(looks=lambda: looks[-1])

    async def has_ended() -> bool:
        return True

    end = asyncio.create_task(has_ended())
    await end
    following = asyncio.create_task(
        texts(live(subscription, LineNumbering(Position()), end, interval=0.01, limit=10))
    )
    # journald has read the closing entry before the last line, and the machine has no time for another look.
    subscription.put([entry(b"Ended", MESSAGE_ID=ENDED, _TRANSPORT=b"journal")])
    for look in (5, 6):
        looks.append(look)
        await asyncio.sleep(0.1)
        assert not following.done()
    subscription.put([entry(b"last")])
    await asyncio.sleep(0.1)
    assert not following.done()
    looks.append(8)
    assert await following == ["Ended", "last"]


@pytest.mark.host
async def test_a_log_that_ends_at_once_is_followed_to_its_last_line() -> None:
    for _ in range(10):
        unit, tail = Unit(), Tail()
        follower = asyncio.create_task(followed(unit, tail))
        await until(lambda tail=tail, unit=unit: unit.name in tail.units)
        await unit.start("seq 1 3000")
        assert await follower == [b"%d" % number for number in range(1, 3001)]

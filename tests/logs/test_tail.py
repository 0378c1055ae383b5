"""One reader for all followers: what it hands to whom, the slow ones, and a journal that fails."""

import asyncio
import os
import secrets

import pytest

from agent.errors import AgentError
from agent.logs import entries, tail
from agent.logs.sdjournal import JournalError
from agent.logs.tail import Subscription, Tail
from tests.support.stand_in_journal import StandInJournal, entry
from tests.support.waiting import run, until

UNIT, OTHER = "ml-job@x.service", "ml-job@y.service"


@pytest.fixture
def journal() -> StandInJournal:
    return StandInJournal()


async def messages(subscription: Subscription) -> list[bytes]:
    async with asyncio.timeout(5):
        return [each["MESSAGE"] for each in await subscription.get() or []]


async def test_a_follower_gets_the_entries_of_its_unit_only(journal: StandInJournal) -> None:
    reader = Tail(journal.open)
    journal.own.append(entry(1, b"before"))
    async with reader.subscribe(UNIT) as one, reader.subscribe(UNIT) as two, reader.subscribe(OTHER) as other:
        about = {"SYSLOG_IDENTIFIER": b"systemd", "USER_UNIT": OTHER.encode()}
        journal.own.append(entry(2, b"about other", **about))
        journal.own += [entry(3, b"nobody's", "ml-job@z.service"), entry(4, b"after")]
        assert await messages(one) == [b"after"]
        assert await messages(two) == [b"after"]
        assert await messages(other) == [b"about other"]


async def test_journalds_messages_about_itself_go_to_all_followers(journal: StandInJournal) -> None:
    reader = Tail(journal.open)
    async with reader.subscribe(UNIT) as one, reader.subscribe(OTHER) as other:
        started = {"MESSAGE_ID": entries.JOURNALD_STARTED, "SYSLOG_IDENTIFIER": b"systemd-journald"}
        journal.dropped.append(entry(1, b"Journal started", **started))
        assert await messages(one) == [b"Journal started"]
        assert await messages(other) == [b"Journal started"]


async def test_the_journal_is_read_once_for_all_followers_and_only_for_them(
    journal: StandInJournal,
) -> None:
    reader = Tail(journal.open)

    for times in (1, 2):
        async with reader.subscribe(UNIT), reader.subscribe(UNIT), reader.subscribe(OTHER):
            assert journal.opened == 2 * times  # one for what is printed, one for what was dropped
        await until(lambda: journal.open_now == 0)


async def test_dropped_lines_are_reported_in_order(
    journal: StandInJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Tail(journal.open)
    gap = {"OBJECT_SYSTEMD_USER_UNIT": UNIT.encode(), "SYSLOG_IDENTIFIER": b"systemd-journald"}
    got: list[bytes] = []
    async with reader.subscribe(UNIT) as follower:
        for number in range(0, 60, 3):
            # The line is seen first, or with it, or a look after it.
            journal.dropped.append(entry(number + 2, b"%d" % (number + 2), **gap))
            if number % 2:
                await asyncio.sleep(0.01)
            journal.own += [entry(number + 1, b"%d" % (number + 1)), entry(number + 3, b"%d" % (number + 3))]
            while len(got) < number + 3:
                got += await messages(follower)
    assert sorted(got, key=int) == [b"%d" % number for number in range(1, 61)]
    assert {tuple(got[at : at + 3]) for at in range(0, 60, 6)} == {
        (b"%d" % (at + 1), b"%d" % (at + 2), b"%d" % (at + 3)) for at in range(0, 60, 6)
    }


async def test_a_slow_follower_loses_entries_and_delays_nobody(
    journal: StandInJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "QUEUE_ENTRIES", 10)
    reader = Tail(journal.open)
    async with reader.subscribe(UNIT) as slow, reader.subscribe(UNIT) as quick:
        got: list[bytes] = []
        for number in range(1, 31):
            journal.own.append(entry(number, b"%d" % number))
            got += await messages(quick)
        assert got == [b"%d" % number for number in range(1, 31)]
        assert await messages(slow) == [b"%d" % number for number in range(1, 11)]
        assert (slow.lost, await slow.get()) == (True, [])
        slow.renew()
        journal.own.append(entry(31, b"31"))
        assert await messages(slow) == [b"31"]


async def test_a_queue_is_bounded_in_bytes(journal: StandInJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "QUEUE_BYTES", 100)
    reader = Tail(journal.open)
    async with reader.subscribe(UNIT) as follower:
        journal.own.append(entry(1, b"x" * 101))
        assert (await messages(follower), follower.lost) == ([], True)


async def test_all_queues_together_are_bounded_and_the_largest_gives_way(
    journal: StandInJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Tail(journal.open)
    async with reader.subscribe(UNIT) as stuck, reader.subscribe(OTHER) as other:
        journal.own += [entry(number, b"x" * 1000) for number in range(1, 51)]
        await until(lambda: reached(stuck, 50 * (1000 + tail.ENTRY_SIZE)))
        monkeypatch.setattr(tail, "MAX_WAITING", stuck.size + 2000)
        journal.own.append(entry(51, b"fits", OTHER))
        assert await messages(other) == [b"fits"]
        journal.own.append(entry(52, b"x" * 1000, OTHER))
        assert await messages(other) == [b"x" * 1000]
        assert (await messages(stuck), stuck.lost) == ([], True)
        stuck.renew()
        journal.own.append(entry(53, b"again"))
        assert await messages(stuck) == [b"again"]


async def reached(follower: Subscription, size: int) -> bool:
    return follower.size == size


async def test_a_follower_that_goes_leaves_nothing_in_the_count(journal: StandInJournal) -> None:
    reader, waiting = Tail(journal.open), tail.Waiting()
    queue = Subscription(waiting)
    queue.put([entry(1, b"x")])
    assert waiting.size == queue.size > 0
    queue.drop()
    assert (waiting.size, queue.size, queue.lost) == (0, 0, True)
    async with reader.subscribe(UNIT) as follower:
        journal.own.append(entry(1, b"x"))
        await until(lambda: reached(follower, 1 + tail.ENTRY_SIZE))
    assert follower.size == 0


async def test_a_failed_journal_is_opened_again_and_all_followers_lose_entries(
    journal: StandInJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "REOPEN_DELAY", 0.01)
    reader = Tail(journal.open)
    async with reader.subscribe(UNIT) as one, reader.subscribe(OTHER) as other:
        journal.failures.append("Bad message")
        assert (await messages(one), one.lost) == ([], True)
        assert (await messages(other), other.lost) == ([], True)
        one.renew()
        journal.own.append(entry(1, b"again"))
        assert await messages(one) == [b"again"]


async def test_a_deleted_file_may_lose_entries_of_all_followers(
    journal: StandInJournal,
) -> None:
    reader = Tail(journal.open)
    async with reader.subscribe(UNIT) as one, reader.subscribe(OTHER) as other:
        journal.own.append(entry(1, b"read"))
        assert await messages(one) == [b"read"]
        journal.reader.delete_file()
        assert (await messages(one), one.lost) == ([], True)
        assert (await messages(other), other.lost) == ([], True)
        one.renew()
        journal.own.append(entry(2, b"on"))
        assert await messages(one) == [b"on"]


async def test_a_journal_that_cannot_be_opened_is_an_error_and_is_tried_again() -> None:
    journal, fails = StandInJournal(), True

    def open_reader(*matches: bytes) -> object:
        if fails:
            raise JournalError("sd_journal_open: Permission denied")
        return journal.open(*matches)

    reader = Tail(open_reader)  # type: ignore[arg-type]
    with pytest.raises(AgentError, match="Permission denied"):
        async with reader.subscribe(UNIT):
            pass
    fails = False
    async with reader.subscribe(UNIT) as follower:
        journal.own.append(entry(1, b"now"))
        assert await messages(follower) == [b"now"]


# --- the host's journald ------------------------------------------------------------------------------


@pytest.mark.host
async def test_entries_arrive_as_they_are_written() -> None:
    identifier = f"ml-job@{secrets.token_hex(6)}"
    async with Tail().subscribe(f"{identifier}.service") as follower:
        got: list[bytes] = []
        for number in range(20):
            await run("systemd-cat", "-t", identifier, "echo", str(number))
            while len(got) <= number:
                got += await messages(follower)
    assert got == [b"%d" % number for number in range(20)]


@pytest.mark.host
async def test_the_first_matching_entry_is_not_skipped() -> None:
    # Of a match that nothing has yet, sd_journal_next(3) would leave out the first entry behind the end.
    reader = tail.NewEntries(b"SYSLOG_IDENTIFIER=" + (name := secrets.token_hex(8).encode()))
    await run("systemd-cat", "-t", name.decode(), "echo", "first")
    try:
        await until(reader.next)
        assert reader.field(b"MESSAGE") == b"first"
        assert reader.field(b"_UID") == b"%d" % os.getuid()
        assert reader.field(b"NO_SUCH_FIELD") is None
    finally:
        reader.close()

"""What goes on when its caller is cancelled, what ends with it, and what is told to stop."""

import asyncio
import threading

import pytest

from agent.host.tasks import background, finish, in_thread, to_its_end
from tests.support.waiting import until


class Work:
    """Begins, waits until it may go on, and is done."""

    def __init__(self) -> None:
        self.begun, self.may_go_on, self.done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        self.begun.set()
        await self.may_go_on.wait()
        self.done.set()


async def test_work_goes_on_behind_a_caller_that_was_cancelled() -> None:
    work = Work()
    caller = asyncio.create_task(to_its_end(work.run()))
    await work.begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not work.done.is_set()
    work.may_go_on.set()
    async with asyncio.timeout(5):
        await work.done.wait()


async def test_a_clean_up_is_awaited_however_often_the_caller_is_cancelled() -> None:
    work = Work()
    caller = asyncio.create_task(finish(work.run()))
    await work.begun.wait()
    for _ in range(2):
        caller.cancel()
        await asyncio.wait([caller], timeout=0.01)
        assert not caller.done()
    work.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.done.is_set()


async def test_a_clean_up_that_fails_says_so() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await finish(fail())


async def test_background_work_ends_with_the_body() -> None:
    work = Work()
    async with background(work.run()):
        await work.begun.wait()
    assert not work.done.is_set()


async def test_a_failure_in_the_background_ends_the_body() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ExceptionGroup) as caught:
        async with background(fail()):
            await asyncio.Event().wait()
    assert caught.group_contains(ValueError, match="no")


async def test_a_thread_is_told_that_its_caller_was_cancelled_and_its_result_is_discarded() -> None:
    begun, discarded = threading.Event(), []

    def work(stop: threading.Event) -> str:
        begun.set()
        assert stop.wait(10)
        return "result"

    caller = asyncio.create_task(in_thread(work, discard=discarded.append))
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    await until(lambda: discarded == ["result"])


async def test_a_thread_returns_its_result_to_a_caller_that_waits() -> None:
    discarded: list[bool] = []
    assert await in_thread(lambda stop: stop.is_set(), discard=discarded.append) is False
    assert discarded == []

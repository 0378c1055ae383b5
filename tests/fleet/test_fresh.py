"""One question serves all who ask the same within a moment."""

import asyncio

from agent.fleet.backend import fresh
from agent.fleet.backend.fresh import Fresh


class Source:
    """Answers with how often it was asked, after so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[str] = []
        self._seconds = seconds

    async def __call__(self, key: str) -> int:
        await asyncio.sleep(self._seconds)
        self.asked.append(key)
        return len(self.asked)


async def test_one_question_serves_all_who_ask_at_once() -> None:
    source = Source()
    answers = Fresh(source, seconds=60)
    assert await asyncio.gather(*(answers("alice") for _ in range(20))) == [1] * 20
    assert await answers("bob") == 2
    assert source.asked == ["alice", "bob"]


async def test_an_old_answer_is_asked_for_anew() -> None:
    answers = Fresh(Source(), seconds=0.05)
    assert await answers("alice") == 1
    await asyncio.sleep(0.1)
    assert await answers("alice") == 2


async def test_an_answer_that_is_not_wanted_is_asked_for_anew_if_that_is_cheap() -> None:
    answers = Fresh(Source(), seconds=60)
    assert await answers("alice") == 1
    await asyncio.sleep(0.05)
    assert await answers("alice", wanted=lambda value: value > 1) == 2


async def test_questions_that_take_long_are_not_repeated_for_each_who_wants_another_answer() -> None:
    source = Source(seconds=0.1)
    answers = Fresh(source, seconds=60)
    for _ in range(5):
        assert await answers("alice", wanted=lambda _: False) == 1
    assert source.asked == ["alice"]


async def test_so_many_answers_are_remembered_and_no_more() -> None:
    source = Source()
    answers = Fresh(source, seconds=60)
    for number in range(fresh.MAX_KNOWN + 1):
        await answers(f"u{number}")
    before = len(source.asked)
    await answers(f"u{fresh.MAX_KNOWN}")
    assert len(source.asked) == before
    await answers("u0")
    assert len(source.asked) == before + 1

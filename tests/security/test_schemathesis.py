"""A few of the cases of `make security`, and that whoever counts them can count."""

from collections import Counter

import pytest

from .schemathesis_run import Result, report, run
from .standing_agent import standing_agent

GOOD = Result(
    cases=Counter({"GET /jobs": 6000, "POST /jobs": 4000}),
    statuses=Counter({200: 6000, 202: 3999, 422: 1}),
    passed_over=Counter(),
    failed=False,
    before={"Rss": 70_000, "Pss": 50_000},
    after={"Rss": 80_000, "Pss": 60_000},
)


def changed(**values: object) -> Result:
    """A result with other values."""
    return Result(**{**vars(GOOD), **values})


def test_a_good_result_has_nothing_wrong() -> None:
    assert GOOD.wrong(10_000) == []
    assert "  10000  cases" in report(GOOD)


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (changed(failed=True), "failures"),
        (changed(statuses=Counter({200: 9999, 503: 1})), "1 answers of 500 or more"),
        (changed(cases=Counter({"GET /jobs": 9999})), "fewer than 10000"),
        (changed(after={"Rss": 900_000, "Pss": 900_000}), "grew by"),
    ],
)
def test_what_is_wrong_is_said(result: Result, word: str) -> None:
    (said,) = result.wrong(10_000)
    assert word in said


@pytest.mark.host
async def test_the_agent_does_what_its_document_says() -> None:
    async with standing_agent() as agent:
        result = await run(agent, examples=3)
    assert result.wrong(300) == [], report(result)

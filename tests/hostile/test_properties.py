"""Requests that nobody thought of: refused by the name of a field, or received as they are."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api.conftest import Client, Served
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config import shipped
from agent.quadlet import TEMPLATE, Compiler

from .corpus import VALUES
from .extent import CASES
from .received import Received, received, without_tokens
from .refusals import check_refusal
from .test_members import variables

# Half characters too, which JSON can say.
ANY_TEXT = st.one_of(
    st.sampled_from(VALUES),
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40),
    st.lists(st.sampled_from(VALUES), min_size=2, max_size=3).map("".join),
)
NAMES = st.one_of(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,63}", fullmatch=True), ANY_TEXT)
LABELS = st.one_of(st.from_regex(r"[a-z][a-z0-9._/-]{0,62}", fullmatch=True), ANY_TEXT)
REQUESTS = st.fixed_dictionaries(
    {"script_name": st.one_of(st.just("succeed.py"), st.just("succeed.py"), ANY_TEXT)},
    optional={
        "hyperparameters": st.dictionaries(NAMES, ANY_TEXT, max_size=4),
        "name": ANY_TEXT,
        "labels": st.dictionaries(LABELS, ANY_TEXT, max_size=3),
        "ref": st.one_of(st.just("HEAD"), st.just("HEAD"), ANY_TEXT),
        "priority": st.integers(-12, 2),
        "retry_on": st.lists(st.one_of(st.just("timeout"), ANY_TEXT), max_size=2),
    },
)
LENIENT = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def outcomes() -> Iterator[Counter[str]]:
    """How often what came of a request. A property that saw one side only has shown little."""
    counted: Counter[str] = Counter()
    yield counted
    print(", ".join(f"{number} {outcome}" for outcome, number in counted.items()))
    assert min(counted["refused"], counted["received"]) > CASES / 20


@pytest.fixture
async def harmless(served: Served, alice: Client) -> Received:
    """What a harmless job's unit is made of."""
    return await received(served.jobs, await alice.submit())


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    """The host's own generator, and the template that is shipped."""
    return Compiler(shipped("quadlets") / TEMPLATE, [], tmp_path / "scratch")


@pytest.fixture
async def harmless_unit(compiler: Compiler, harmless: Received) -> str:
    """A harmless job's unit without what the agent made for that job alone."""
    return without_tokens(await compiler.compile(harmless.plan), harmless.plan)


@LENIENT
@given(body=REQUESTS)
@pytest.mark.timeout(3600)
async def test_a_request_is_refused_by_name_or_received_as_it_is(
    served: Served, alice: Client, harmless: Received, outcomes: Counter[str], body: dict[str, Any]
) -> None:
    await judged(served, alice, harmless, body, outcomes)


@pytest.mark.host
@LENIENT
@given(body=REQUESTS)
@pytest.mark.timeout(3600)
async def test_a_request_that_is_taken_makes_the_unit_of_a_harmless_job(
    served: Served,
    alice: Client,
    harmless: Received,
    outcomes: Counter[str],
    compiler: Compiler,
    harmless_unit: str,
    body: dict[str, Any],
) -> None:
    if got := await judged(served, alice, harmless, body, outcomes):
        assert without_tokens(await compiler.compile(got.plan), got.plan) == harmless_unit


async def judged(
    served: Served, client: Client, harmless: Received, body: dict[str, Any], outcomes: Counter[str]
) -> Received | None:
    """What a job received, or None where the request was refused for one of its fields."""
    answer = await client.post("/jobs", body)
    if answer.status != 202:
        fields = check_refusal(served.document, answer.status, answer.headers["Content-Type"], answer.body)
        assert all(field.partition(".")[0] in {*body, "body"} for field in fields), fields
        outcomes["refused"] += 1
        return None
    job = answer.json
    got = await received(served.jobs, job)
    assert got.variables == variables(job["job_id"], body)
    assert got.plan_without_tokens == harmless.plan_without_tokens
    assert (await client.post(f"/jobs/{job['job_id']}/cancel")).json["status"] == "CANCELLED"
    outcomes["received"] += 1
    return got

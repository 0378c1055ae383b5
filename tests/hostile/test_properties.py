"""Requests that nobody thought of: refused by the name of a field, or received as they are."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config import shipped
from agent.runtime.quadlet import TEMPLATE, Compiler
from tests.support.api_client import Client
from tests.support.served import Served

from .corpus import VALUES
from .extent import CASES, FEW
from .packed import taken
from .received import Received, received, without_tokens
from .refusals import check_refusal
from .test_members import variables

ANY_TEXT = st.one_of(
    st.sampled_from(VALUES),
    st.text(st.characters(exclude_categories=()), max_size=40),  # half characters too, which JSON can say
    st.lists(st.sampled_from(VALUES), min_size=2, max_size=3).map("".join),
)
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=60),
    st.sampled_from([value for value in VALUES if taken("a.py", name=value)]),
)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,63}", fullmatch=True)
LABELS = st.from_regex(r"[a-z][a-z0-9._/-]{0,62}", fullmatch=True)
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "hyperparameters": st.dictionaries(NAMES, TEXT, max_size=4),
    "name": TEXT,
    "labels": st.dictionaries(LABELS, TEXT, max_size=3),
    "ref": st.just("HEAD"),
    "priority": st.integers(-10, 0),
    "retry_on": st.lists(st.sampled_from(["timeout", "exit-code"]), min_size=1, max_size=2),
}
WELL_MEANT = st.fixed_dictionaries({"script_name": st.just("succeed.py")}, optional=MEMBERS)
# One member at a time: of two that are wrong, one would hide the other.
HOSTILE = st.one_of(
    ANY_TEXT.map(lambda text: {"script_name": text}),
    st.dictionaries(ANY_TEXT, TEXT, max_size=3).map(lambda names: {"hyperparameters": names}),
    st.dictionaries(NAMES, ANY_TEXT, max_size=3).map(lambda values: {"hyperparameters": values}),
    ANY_TEXT.map(lambda text: {"name": text}),
    st.dictionaries(ANY_TEXT, TEXT, max_size=3).map(lambda names: {"labels": names}),
    st.dictionaries(LABELS, ANY_TEXT, max_size=3).map(lambda values: {"labels": values}),
    ANY_TEXT.map(lambda text: {"ref": text}),
    st.lists(ANY_TEXT, max_size=2).map(lambda texts: {"retry_on": texts}),
)
REQUESTS = st.one_of(WELL_MEANT, st.builds(lambda body, more: body | more, WELL_MEANT, HOSTILE))


def lenient(cases: int) -> settings:
    """So many cases, however long one takes."""
    return settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture
def outcomes(told: Callable[[str], None], request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """How often what came of a request. A property that saw one side only has shown little."""
    counted: Counter[str] = Counter()
    yield counted
    numbers = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counted.items()))
    told(f"{request.node.name.removeprefix('test_').replace('_', ' ')}: {numbers}")
    assert min(counted["refused"], counted["received"]) > counted.total() / 20


@pytest.fixture
async def harmless(served: Served, alice: Client) -> Received:
    """What a harmless job's unit is made of."""
    return await received(served.jobs, await alice.submit())


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    """The host's own generator, and the template that is shipped."""
    return Compiler(shipped("quadlets") / TEMPLATE, [], tmp_path / "scratch")


@pytest.fixture
async def harmless_unit(compiler: Compiler, harmless: Received) -> list[str]:
    """A harmless job's unit without what the agent made for that job alone."""
    return without_tokens(await compiler.compile(harmless.plan), harmless.plan)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@lenient(FEW)
@given(body=REQUESTS)
@pytest.mark.timeout(3600)
async def test_a_request_is_refused_by_name_or_received_as_it_is(
    served: Served, alice: Client, harmless: Received, outcomes: Counter[str], body: dict[str, Any]
) -> None:
    await judged(served, alice, harmless, body, outcomes)


@pytest.mark.host
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@lenient(CASES)
@given(body=REQUESTS)
@pytest.mark.timeout(3600)
async def test_a_request_that_is_taken_makes_the_unit_of_a_harmless_job(
    served: Served,
    alice: Client,
    harmless: Received,
    outcomes: Counter[str],
    compiler: Compiler,
    harmless_unit: list[str],
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
    assert got.variables == variables(job, body)
    assert got.plan_without_tokens == harmless.plan_without_tokens
    assert (await client.post(f"/jobs/{job['job_id']}/cancel")).json["status"] == "CANCELLED"
    outcomes["received"] += 1
    return got

"""Every value in every other place of a request: it is refused, or it does what was asked and no more."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.api_client import Client
from tests.support.served import Served

from .channels import PLACES, Place
from .corpus import VALUES
from .extent import SLICES
from .refusals import check_headers, check_refusal
from .wire import Answer, Wire

LOGGERS = ("ml-agent", "aiohttp")


@pytest.fixture
async def job(served: Served, alice: Client) -> Any:
    """A job that has ended and left a file."""
    made = await alice.submit()
    (served.artifacts(made) / "result.txt").write_text("ten bytes\n")
    await served.finish(made)
    return made


@pytest.mark.parametrize("number", range(len(PLACES)), ids=[place.name for place in PLACES])
async def test_a_text_anywhere_is_answered_and_does_nothing_else(
    served: Served,
    alice: Client,
    wire: Wire,
    job: Any,
    told: Callable[[str], None],
    number: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place, job_id = PLACES[number], job["job_id"].encode()
    caplog.set_level(logging.INFO)
    texts, statuses = VALUES[number % SLICES :: SLICES], Counter[int]()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        target = place.target(data).replace(b"{job}", job_id)
        headers = {place.header: data} if place.header else None
        answer = await wire.ask(place.method, target, headers, place.body)
        check(served, place, answer, text)
        statuses[answer.status] += 1
    assert (await alice.get(f"/jobs/{job['job_id']}")).json["status"] == "COMPLETED"
    assert served.scene.units.started == []
    told(f"{place.name}: {dict(sorted(statuses.items()))}")
    assert [record.getMessage() for record in caplog.records if record.name.startswith(LOGGERS)] == []


def check(served: Served, place: Place, answer: Answer, text: str) -> None:
    """No failure, no header of the client's making, and a problem document if it is refused."""
    check_headers(answer.headers)
    if answer.status < 400:
        assert answer.status in (200, 202, 206, 304), (place.name, text)
        if place.name == "/jobs?script":
            found = {job["script_name"] for job in answer.json["jobs"]}
            assert found == {text} & {"succeed.py"}
        return
    fields = check_refusal(served.document, answer.status, answer.header("Content-Type"), answer.body)
    if place.field and answer.status == 422:
        assert fields == [place.field], text

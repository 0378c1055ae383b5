"""Every value in every place of a job's request: refused by its name, or what the job receives, exactly."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.api_client import Client
from tests.support.served import Served

from .channels import MEMBERS, Member
from .corpus import VALUES
from .extent import SLICES
from .received import received
from .refusals import check_refusal

FIELD_CHARACTERS = 80  # of a name that is refused


def escaped(name: str) -> str:
    """A refused name as an answer can say it."""
    return name[:FIELD_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def named(member: Member, text: str) -> set[str]:
    """The fields that may be blamed for a text in a place."""
    # Half a character has no form of its own: it is written in ASCII, or by its stand-in.
    names = {escaped(text), text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")}
    parts = {f"{member.field}.{name}" if member.field else name or "body" for name in names}
    parts |= {"body"} if not member.field and "\N{REPLACEMENT CHARACTER}" in "".join(names) else set()
    return {member.field, f"{member.field}.0", *parts, member.other.replace("{}", text)}


@pytest.mark.parametrize("place", range(len(MEMBERS)), ids=[member.name for member in MEMBERS])
async def test_a_text_in_a_request_is_refused_by_name_or_received_as_it_is(
    served: Served, alice: Client, told: Callable[[str], None], place: int
) -> None:
    member = MEMBERS[place]
    harmless = (
        await received(served.jobs, await alice.submit(hyperparameters={"p": "1"}))
    ).plan_without_tokens
    outcomes = {"refused": 0, "received": 0}
    for text in VALUES[place % SLICES :: SLICES]:
        body = member.body(text)
        answer = await alice.post("/jobs", body)
        if answer.status != 202:
            fields = check_refusal(
                served.document, answer.status, answer.headers["Content-Type"], answer.body
            )
            assert set(fields) <= named(member, text), (text, fields)
            outcomes["refused"] += 1
            continue
        job = answer.json
        await told_as_it_was_sent(alice, job, body)
        got = await received(served.jobs, job)
        assert got.script == "/scripts/succeed.py"
        assert got.variables == variables(job, body)
        assert got.plan_without_tokens == harmless
        outcomes["received"] += 1
    told("{}: {refused} refused, {received} received, 0 differences".format(member.name, **outcomes))


async def told_as_it_was_sent(client: Client, job: Any, body: dict[str, Any]) -> None:
    """The record repeats what was sent, to whoever may see it."""
    told = (await client.get(f"/jobs/{job['job_id']}")).json
    for name in ("script_name", "hyperparameters", "labels", "name"):
        assert told.get(name, {}) == body.get(name, {}), name


def variables(job: Any, body: dict[str, Any]) -> dict[bytes, bytes]:
    """What the script must find in its environment, beside what the image has."""
    given = body.get("hyperparameters", {})
    own = {"JOB_ID": job["job_id"], "JOB_OWNER": job["owner"], "JOB_COMMIT": job["commit"]}
    return {name.encode(): value.encode() for name, value in own.items()} | {
        b"HP_" + name.upper().encode(): value.encode() for name, value in given.items()
    }

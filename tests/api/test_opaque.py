"""What a user gets does not tell what others do: ids and cursors are sealed, and nothing else counts."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.api.routes import ROUTES
from agent.api.server.opaque import KEY_BYTES, Opaque
from agent.service import id_key
from tests.support.api_client import Client, events
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed

KEY = secrets.token_bytes(KEY_BYTES)
# What `GET /host` tells everybody on purpose (docs/security.md).
TOLD = ("waiting", "running", "in_use")


def test_what_is_sealed_is_opened_with_the_same_key_and_context_alone() -> None:
    sealed = Opaque(KEY).seal("a text", "event", "alice")
    assert Opaque(KEY).open(sealed, "event", "alice") == "a text"
    others = [("event", "bob"), ("page", "alice"), ("event",), ("event", "alice", ""), ("eventalice",), ()]
    assert [Opaque(KEY).open(sealed, *other) for other in others] == [None] * len(others)
    assert Opaque(secrets.token_bytes(KEY_BYTES)).open(sealed, "event", "alice") is None


def test_the_key_of_a_context_opens_what_was_sealed_in_the_same_context_alone() -> None:
    sealed = Opaque(KEY).within("line", "a").seal("a text")
    assert Opaque(KEY).within("line", "a").open(sealed) == "a text"
    others = [("line", "b"), ("page", "a"), ("line",), ("line", "a", ""), ("linea",), ("line", "a\0"), ()]
    assert [Opaque(KEY).within(*other).open(sealed) for other in others] == [None] * len(others)
    assert [Opaque(KEY).open(sealed, *context) for context in ((), ("line", "a"))] == [None] * 2
    assert Opaque(secrets.token_bytes(KEY_BYTES)).within("line", "a").open(sealed) is None
    assert Opaque(KEY).within("line", "a").open(Opaque(KEY).seal("a text", "line", "a")) is None


def test_the_same_line_has_the_same_id_and_the_next_one_has_nothing_in_common() -> None:
    """A reader that asks twice gets the same bytes; neighbours do not tell how far they are apart."""
    lines = Opaque(KEY).within("line", "a")
    texts = [f"{number}:s={'0' * 32};i={number:x}" for number in range(1000)]
    sealed = [lines.seal(text) for text in texts]
    assert sealed == [lines.seal(text) for text in texts]
    for place in range(0, len(sealed[0]) - 8):
        assert len({each[place : place + 8] for each in sealed}) == len(texts), place


@pytest.mark.parametrize("opaque", [Opaque(KEY), Opaque(KEY).within("line", "a")])
def test_nothing_that_is_changed_is_opened(opaque: Opaque) -> None:
    sealed = opaque.seal_number(4711, "event")
    for place, letter in enumerate(sealed):
        changed = sealed[:place] + ("A" if letter != "A" else "Q") + sealed[place + 1 :]
        assert opaque.open_number(changed, "event") is None
    for other in (
        "",
        "A",
        "AAAA",
        sealed[:-4],
        sealed + "AAAA",
        "1-00000000",
        "ä",
        "\0",
        "=" * 40,
        "A" * 8190,
    ):
        assert opaque.open_number(other, "event") is None


def test_numbers_of_all_sizes_look_alike_and_never_the_same() -> None:
    opaque = Opaque(KEY)
    numbers = [0, 1, 2, 10**6, 2**63 - 1] * 20
    sealed = [opaque.seal_number(number, "event") for number in numbers]
    assert [opaque.open_number(each, "event") for each in sealed] == numbers
    assert len(set(sealed)) == len(sealed)
    assert len({len(each) for each in sealed}) == 1


def test_the_key_is_kept_and_a_damaged_one_is_replaced(tmp_path: Any) -> None:
    path = tmp_path / "ids.key"
    key = id_key(path)
    assert (len(key), id_key(path), path.stat().st_mode & 0o777) == (KEY_BYTES, key, 0o600)
    path.write_bytes(key[:-1])
    assert id_key(path) not in (key, key[:-1])
    assert len(id_key(path)) == KEY_BYTES


def test_without_room_for_the_key_the_agent_starts(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert len(id_key(tmp_path / "nowhere" / ".." / "file" / "ids.key")) == KEY_BYTES
    (tmp_path / "directory").mkdir()
    assert len(id_key(tmp_path / "directory")) == KEY_BYTES
    assert "clients will begin again" in caplog.text


async def first_id(client: Client) -> str:
    async with client.stream("/events") as response:
        async for name, _, event_id in events(response):
            if name == "current":
                return event_id
    raise AssertionError("the stream ended")


async def everything(client: Client, job_id: str) -> AsyncIterator[tuple[str, Any]]:
    """What each call that only reads answers, with what it answers to everybody left out."""
    for route in ROUTES:
        if route.method != "GET" or route.operation_id in ("getEvents", "getJobEvents"):
            continue
        path = route.path.replace("{job_id}", job_id).replace("{path}", "a.txt")
        answer = await client.get(f"{path}?limit=1" if path == "/jobs" else path)
        value: Any = answer.body.decode()
        if answer.headers["Content-Type"].endswith("json"):
            value = {name: each for name, each in answer.json.items() if name not in TOLD}
        headers = {name: each for name, each in answer.headers.items() if name != "Date"}
        yield route.operation_id, (answer.status, headers, value)


@over_any_backend
async def test_nothing_that_a_user_reads_depends_on_the_number_of_others_jobs(
    served: AnyServed, alice: Client, bob: Client
) -> None:
    """Sealed cursors are compared by their form, and everything else by its content."""
    jobs = [await bob.submit() for _ in range(2)]
    served.add_artifact(jobs[0], "a.txt", b"x")
    for job in jobs:
        await served.finish(job)
    answers = []
    for _ in range(2):
        found = [each async for each in everything(bob, jobs[0]["job_id"])]
        answers.append({name: (status, headers, value) for name, (status, headers, value) in found})
        for _ in range(30):
            await alice.post(f"/jobs/{(await alice.submit())['job_id']}/cancel")
    for name, before in answers[0].items():
        after = answers[1][name]
        if name == "listJobs":
            cursors = [each[2].pop("next_cursor") for each in (before, after)]
            assert len(cursors[0]) == len(cursors[1])
            assert cursors[0] != cursors[1]
        # What only the clock moves.
        if name == "getUsage":
            for each in (before, after):
                each[2].pop("at")
        if name in ("getHost", "listHosts"):
            for row in [*before[2].get("hosts", ()), *after[2].get("hosts", ())]:
                del row["seen_at"], row["reachable"]
        if name == "listSecrets":
            for secret in [*before[2]["secrets"], *after[2]["secrets"]]:
                secret.pop("age_seconds")
        assert before == after, name


@over_any_backend
async def test_an_event_id_does_not_tell_whether_anything_has_changed(alice: Client, bob: Client) -> None:
    quiet = [await first_id(bob) for _ in range(3)]
    for _ in range(5):
        await alice.submit()
    ids = [*quiet, *[await first_id(bob) for _ in range(3)]]
    assert len(set(ids)) == 6
    assert len({len(each) for each in ids}) == 1


@over_any_backend
async def test_a_cursor_is_of_use_to_its_user_alone(alice: Client, bob: Client) -> None:
    for client in (alice, bob):
        for _ in range(3):
            await client.submit()
    cursor = (await alice.get("/jobs?limit=1")).json["next_cursor"]
    assert len((await alice.get(f"/jobs?limit=1&cursor={cursor}")).json["jobs"]) == 1
    # Of another user, of an earlier version, changed, and of another kind.
    event_id = await first_id(bob)
    for client, other in ((bob, cursor), (alice, "2"), (alice, cursor[:-1] + "AA"), (bob, event_id)):
        refused = await client.get(f"/jobs?cursor={other}")
        assert (refused.status, refused.fields) == (422, ["cursor"])

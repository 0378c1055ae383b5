"""Secrets: how many a user may have, one change at a time, and no value in any answer."""

import asyncio
import contextlib
import errno
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from agent.errors import AgentError, Problem
from agent.host.podman import Podman, Secret
from agent.model.job import JobState
from agent.secrets import secrets as secrets_module
from agent.secrets.secrets import Secrets, checked_value, holders
from tests.support.jobs import make_job
from tests.support.small_site import IMAGE, import_image
from tests.support.stand_in_podman import StandInPodman
from tests.support.waiting import run

CANARY = "hunter2-do-not-show"
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

# Holds the lock that another process's change waits for, until its input ends.
HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> StandInPodman:
    return StandInPodman(tmp_path)


@pytest.fixture
async def kept(stand_in: StandInPodman, tmp_path: Path) -> AsyncIterator[Secrets]:
    socket = tmp_path / "podman.sock"
    async with stand_in.listening(socket), Podman(socket) as client:
        yield Secrets(client, runtime_directory=tmp_path / "run", state_directory=tmp_path)


@contextlib.asynccontextmanager
async def held(lock: Path) -> AsyncIterator[None]:
    """Another process holds the lock for as long as the body runs."""
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(lock), stdin=pipe, stdout=pipe
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        await other.communicate(b"")


async def test_setting_again_rotates(kept: Secrets, stand_in: StandInPodman) -> None:
    first = await kept.set("api", "alice", b"one", running=[])
    again = await kept.set("api", "alice", b"two", running=[])
    assert (first.rotated, again.rotated) == (False, True)
    assert stand_in.values == {"ml-agent.api.alice": b"two"}


async def test_a_connections_file_is_stored_without_its_byte_order_mark(
    kept: Secrets, stand_in: StandInPodman
) -> None:
    await kept.set("snowflake", "alice", b'\xef\xbb\xbf[default]\naccount = "x"\n', running=[])
    assert stand_in.values == {"ml-agent.snowflake.alice": b'[default]\naccount = "x"\n'}


async def test_an_entry_says_how_old_the_value_is(kept: Secrets) -> None:
    await kept.set("api", None, b"one", running=[])
    (entry,) = await kept.all()
    assert (entry.created_at.year, entry.updated_at.day) == (2026, 2)
    assert entry.age_seconds > 0


async def test_a_user_sees_own_and_shared_secrets(kept: Secrets) -> None:
    for user in (None, "alice", "bob"):
        await kept.set("api", user, b"x", running=[])
    assert [each.user for each in await kept.of("alice")] == [None, "alice"]
    assert [each.user for each in await kept.all()] == [None, "alice", "bob"]


async def test_a_user_at_the_limit_may_only_rotate(kept: Secrets) -> None:
    for name in ("a", "b"):
        await kept.set(name, "alice", b"x", running=[], limit=2)
    with pytest.raises(AgentError, match="have 2 secrets") as caught:
        await kept.set("c", "alice", b"x", running=[], limit=2)
    assert caught.value.problem is Problem.TOO_MANY_SECRETS
    assert (await kept.set("b", "alice", b"y", running=[], limit=2)).rotated
    await kept.set("c", None, b"x", running=[])
    await kept.set("c", "bob", b"x", running=[], limit=2)


async def test_remove_returns_the_removed_secret(kept: Secrets, stand_in: StandInPodman) -> None:
    await kept.set("api", "alice", b"x", running=[])
    for user in (None, "bob"):
        with pytest.raises(AgentError) as caught:
            await kept.remove("api", user)
        assert caught.value.problem is Problem.SECRET_NOT_FOUND
    assert (await kept.remove("api", "alice")).user == "alice"
    assert stand_in.secrets == {}


async def test_concurrent_changes_lose_nothing_and_do_not_look_like_losses(kept: Secrets) -> None:
    await asyncio.gather(*(kept.set(f"api-{n}", None, b"x", running=[]) for n in range(8)))
    removed = [kept.remove(f"api-{n}", None) for n in range(0, 8, 2)]
    added = [kept.set(f"new-{n}", None, b"x", running=[]) for n in range(4)]
    await asyncio.gather(*removed, *added)
    assert [each.name for each in await kept.all()] == sorted(
        [f"api-{n}" for n in range(1, 8, 2)] + [f"new-{n}" for n in range(4)]
    )


async def test_a_change_waits_for_another_process(kept: Secrets, tmp_path: Path) -> None:
    await kept.set("first", None, b"x", running=[])
    async with held(tmp_path / "run/ml-agent/secrets.lock"):
        change = asyncio.create_task(kept.set("second", None, b"x", running=[]))
        await asyncio.wait([change], timeout=0.2)
        assert not change.done()
        assert [each.name for each in await kept.all()] == ["first"]
    await change


async def test_a_change_waits_only_for_a_time(
    kept: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets_module, "LOCK_TIMEOUT", 0.05)
    await kept.set("first", None, b"x", running=[])
    async with held(tmp_path / "run/ml-agent/secrets.lock"):
        with pytest.raises(AgentError, match="Another process"):
            await kept.set("second", None, b"x", running=[])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_room_that_cannot_be_allocated_does_not_count(
    kept: Secrets, stand_in: StandInPodman, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    await kept.set("first", None, b"x", running=[])
    monkeypatch.setattr(os, "posix_fallocate", full)
    for change in (kept.set("second", None, b"x", running=[]), kept.remove("first", None)):
        with pytest.raises(AgentError, match=os.strerror(number)) as caught:
            await change
        assert caught.value.problem is Problem.STORAGE_FULL
    assert stand_in.values == {"ml-agent.first": b"x"}


async def test_an_error_from_podman_carries_no_value(kept: Secrets, stand_in: StandInPodman) -> None:
    stand_in.refuses = web.json_response({"message": "no space left on device"}, status=500)
    with pytest.raises(AgentError, match="no space left") as caught:
        await kept.set("api", None, CANARY.encode(), running=[])
    assert CANARY not in str(caught.value)


def test_running_jobs_with_the_earlier_value_are_listed() -> None:
    secrets = [Secret("api", None, MOMENT, MOMENT), Secret("api", "bob", MOMENT, MOMENT)]
    jobs = [
        make_job(owner, job_id=job_id, status=status, secrets=names)
        for job_id, owner, status, names in (
            ("a" * 12, "alice", JobState.RUNNING, ["api"]),
            ("b" * 12, "bob", JobState.CREATED, ["api", "other"]),
            ("c" * 12, "alice", JobState.RUNNING, ["other"]),
            ("d" * 12, "alice", JobState.PENDING, ["api"]),
            ("e" * 12, "bob", JobState.COMPLETED, ["api"]),
        )
    ]

    def told(user: str | None) -> list[str]:
        return [job.job_id[0] for job in holders(jobs, "api", user, secrets)]

    assert told(None) == ["a"]
    assert told("bob") == ["b"]
    # Alice has no secret of her own yet, so her running job has the shared one.
    assert told("alice") == ["a"]


# --- the account's own Podman --------------------------------------------------------------------------


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[list[Secrets]]:
    """Two clients of the account's own Podman, as the agent and an operator's command."""
    socket = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")) / "podman/podman.sock"
    if not socket.exists():
        pytest.skip(f"podman.socket does not listen at {socket}")
    async with Podman(socket) as one, Podman(socket) as other:
        both = [Secrets(each, runtime_directory=tmp_path, state_directory=tmp_path) for each in (one, other)]
        yield both
        for secret in await one.secrets():
            if secret.name.startswith("test-"):
                await one.remove_secret(secret.name, secret.user)


@pytest.mark.host
async def test_concurrent_changes_of_two_processes_lose_nothing(real: list[Secrets]) -> None:
    changes = [
        secrets.set(f"test-{who}-{number}", None, b"x", running=[])
        for who, secrets in enumerate(real)
        for number in range(4)
    ]
    await asyncio.gather(*changes)
    names = [each.name for each in await real[0].all() if each.name.startswith("test-")]
    assert names == [f"test-{who}-{number}" for who in range(2) for number in range(4)]


@pytest.mark.host
async def test_a_container_that_starts_during_a_rotation_gets_a_whole_value(
    real: list[Secrets],
) -> None:
    await asyncio.to_thread(import_image)
    await real[0].set("test-rotating", None, b"0", running=[])
    started = asyncio.Event()

    async def rotate() -> None:
        for number in itertools.count(1):
            await real[number % 2].set("test-rotating", None, b"%d" % number, running=[])
            started.set()

    rotation = asyncio.create_task(rotate())
    await started.wait()
    mount = "--secret=ml-agent.test-rotating,target=value"
    command = [
        "podman",
        "run",
        "--rm",
        "--network=none",
        mount,
        "--entrypoint=cat",
        IMAGE,
        "/run/secrets/value",
    ]
    values = [int(await run(*command)) for _ in range(4)]
    assert not rotation.done()
    rotation.cancel()
    await asyncio.gather(rotation, return_exceptions=True)
    assert values == sorted(values)


@pytest.mark.host
async def test_a_full_disk_costs_no_secret(tmp_path: Path) -> None:
    place = Path("/var/tmp") / tmp_path.name
    place.mkdir()
    done = await asyncio.create_subprocess_exec(
        *(
            "podman",
            "unshare",
            "unshare",
            "--mount",
            sys.executable,
            "-m",
            "tests.support.full_disk",
            str(place),
        ),
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, error = await done.communicate()
    finally:
        place.rmdir()
    assert done.returncode == 0, error.decode()
    told = json.loads(said)
    values = {name: f"the value of {name}" for name in ("first", "second", "third")}
    assert told["full"] == told["nearly full"] == ["storage-full"] * 3
    assert told["values on a full disk"] == told["values afterwards"] == values
    assert told["with room again"] == "done"
    # Without the check of the free space, Podman fails and loses every value.
    assert told["unguarded"] == "host"
    assert told["values unguarded"] == {}


def accepted(name: str, value: bytes) -> bool:
    try:
        checked_value(name, value)
    except AgentError as error:
        return error.problem is not Problem.INVALID_REQUEST
    return True


def test_a_connections_file_with_a_connection_is_accepted() -> None:
    assert accepted("snowflake", b'[default]\naccount = "ab123"\n')
    assert accepted("snowflake-dev", b'[a]\naccount = "x"\n[b]\naccount = "y"\n')


def test_a_byte_order_mark_is_left_out_of_a_connections_file_only() -> None:
    connection = b'[default]\naccount = "x"\n'
    assert checked_value("snowflake", b"\xef\xbb\xbf" + connection) == connection
    assert checked_value("api-key", b"\xef\xbb\xbfkey") == b"\xef\xbb\xbfkey"


def test_other_secrets_may_have_any_value() -> None:
    assert accepted("api-key", b"\xff\x00")
    assert not accepted("snowflake", b"\xff\x00")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f'password = "{CANARY}', "not TOML"),
        (f'[default]\naccount = "x"\npassword = {CANARY}', "line 3"),
        (f'password = "{CANARY}"', "no connection"),
        (f'[default]\npassword = "{CANARY}"', "no connection"),
        (f'[connections.default]\naccount = "x"\npassword = "{CANARY}"', r"\[connections\]"),
        ("\udcff", "UTF-8"),
        (f"{CANARY} = {'[' * 100_000}", "nested too deeply"),
        (f"{CANARY}{'.a' * 100_000} = 1", "dots in line 1"),
        (f"{CANARY} = {'1' * 5000}", "too many digits"),
    ],
)
def test_a_refused_connections_file_is_not_quoted(value: str, why: str) -> None:
    with pytest.raises(AgentError, match=why) as caught:
        checked_value("snowflake", value.encode(errors="surrogateescape"))
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None

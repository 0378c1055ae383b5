"""`ml-agent secret`: values go to Podman, their names into the audit, and remarks to stderr."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.cli.failure import EXIT_FAILURE
from agent.config_files import load
from tests.support.ml_agent import Ended, Run
from tests.support.stand_in_podman import StandInPodman


@pytest.fixture
async def podman(ready: Run, home: Path) -> AsyncIterator[StandInPodman]:
    """Podman's service of the account."""
    socket = load().podman_socket
    socket.parent.mkdir(parents=True)
    stand_in = StandInPodman(home)
    async with stand_in.listening(socket):
        yield stand_in


async def secret(ready: Run, *arguments: str) -> Ended:
    """Runs `ml-agent secret` beside the stand-in."""
    return await asyncio.to_thread(ready, "secret", *arguments)


async def test_a_secret_leaves_its_name_in_the_audit_and_its_value_nowhere(
    ready: Run, home: Path, podman: StandInPodman
) -> None:
    (home / "value").write_text("canary-value")
    done = await secret(ready, "set", "api-key", "--user", "alice", "--file", str(home / "value"))
    assert done.out == "Set: jobs that start from now on get api-key of alice.\n"
    assert list(podman.values.values()) == [b"canary-value"]
    assert (await secret(ready, "rm", "api-key", "--user", "alice")).out == "Removed api-key of alice.\n"
    assert podman.values == {}
    rows = json.loads((await asyncio.to_thread(ready, "audit", "--json")).out)
    assert [(row["action"], row["subject"], row.get("details")) for row in rows[1:]] == [
        ("setSecret", "api-key", {"owner": "alice"}),
        ("removeSecret", "api-key", {"owner": "alice"}),
    ]
    for file in load().database.parent.glob("jobs.db*"):
        assert b"canary" not in file.read_bytes()


async def test_secrets_are_listed_by_name_and_user(ready: Run, podman: StandInPodman) -> None:
    podman.add("api-key", "alice", b"x")
    podman.add("snowflake", None, b"x")
    times = "2026-01-01T00:00:00.123Z\t2026-01-02T00:00:00.000Z"
    shown = await secret(ready, "list")
    assert shown.out == f"api-key\talice\t{times}\nsnowflake\teverybody\t{times}\n"
    listed = json.loads((await secret(ready, "list", "--json")).out)
    assert [(one["name"], one["user"]) for one in listed] == [("api-key", "alice"), ("snowflake", None)]


async def test_a_missing_secret_cannot_be_removed(ready: Run, podman: StandInPodman) -> None:
    refused = await secret(ready, "rm", "api-key")
    assert refused.status == EXIT_FAILURE
    assert "api-key" in refused.err


async def test_a_secret_for_a_user_who_never_had_a_certificate_is_remarked(
    ready: Run, home: Path, podman: StandInPodman
) -> None:
    async def set_for(user: str) -> str:
        done = await secret(ready, "set", "api-key", "--user", user, "--file", str(home / "value"))
        assert done.status == 0
        return done.err

    (home / "value").write_text("x")
    await asyncio.to_thread(ready, "issue", "alice", "--output", str(home / "ids"))
    assert "certificate" not in await set_for("alice")
    assert "alise never had a certificate" in await set_for("alise")

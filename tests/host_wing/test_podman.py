"""The Podman client, against a stand-in for faults and against the host's own Podman."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from agent.errors import AgentError, Problem
from agent.host import podman
from agent.host.podman import Podman, podman_name
from agent.model import secret as secret_module
from tests.support.stand_in_podman import StandInPodman


@pytest.fixture
def stand_in(tmp_path: Path) -> StandInPodman:
    return StandInPodman(tmp_path / "containers/storage")


@pytest.fixture
async def client(stand_in: StandInPodman, tmp_path: Path) -> AsyncIterator[Podman]:
    async with stand_in.listening(tmp_path / "podman.sock"), Podman(tmp_path / "podman.sock") as client:
        yield client


def test_no_two_secrets_share_a_podman_name() -> None:
    pairs = [("a", None), ("a", "b"), ("a-b", None), ("a", "b.c"), ("a-b", "c"), ("a", "b-c"), ("a", "b_c")]
    assert len({podman_name(name, user) for name, user in pairs}) == len(pairs)


async def test_an_image_has_its_digests_and_names(client: Podman) -> None:
    image = await client.image("localhost/ml-runner:latest")
    names = ("localhost/ml-runner:latest",)
    assert image == podman.Image("sha256:" + "ab" * 32, "sha256:" + "cd" * 32, names, "0123456789abcdef")


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("localhost/ml-runner:latest", "localhost/ml-runner:kept-cdcdcdcdcdcd"),
        ("registry.example.com:5000/team/ml", "registry.example.com:5000/team/ml:kept-cdcdcdcdcdcd"),
        ("a/ml@sha256:" + "cd" * 32, "a/ml:kept-cdcdcdcdcdcd"),
    ],
)
def test_the_name_of_a_kept_image_comes_from_its_digest(name: str, own: str) -> None:
    digest = "sha256:" + "cd" * 32
    assert podman.kept_name(name, digest) == own
    assert podman.by_digest(name, digest) == f"{own.partition(':kept')[0]}@{digest}"


async def test_a_kept_image_gets_its_own_name_once(client: Podman, stand_in: StandInPodman) -> None:
    name, digest = "localhost/ml-runner:latest", "sha256:" + "cd" * 32
    assert await client.kept_image("localhost/other:latest") is None
    for _ in range(2):
        assert (await client.kept_image(name) or podman.Image("", "")).digest == digest
    assert stand_in.names == [name, "localhost/ml-runner:kept-cdcdcdcdcdcd"]
    assert not await client.is_only_kept(name, digest)
    stand_in.names.remove(name)
    assert await client.is_only_kept(name, digest)
    for _ in range(2):
        await client.drop_kept(name, digest)
    assert stand_in.names == []
    assert not await client.is_only_kept(name, digest)


async def test_an_image_is_looked_up_again_after_podman_wrote_its_list_of_images(
    client: Podman, stand_in: StandInPodman
) -> None:
    images = stand_in.storage / "overlay-images/images.json"
    images.parent.mkdir(parents=True)
    images.write_text("[]")
    first = await client.image("localhost/ml-runner:latest")
    stand_in.answer = web.json_response({"Id": "ef" * 32, "Digest": "sha256:" + "01" * 32})
    assert await client.image("localhost/ml-runner:latest") == first
    images.write_text("[ ]")
    assert await client.image("localhost/ml-runner:latest") != first


async def test_concurrent_lookups_ask_podman_once(client: Podman, stand_in: StandInPodman) -> None:
    images = stand_in.storage / "overlay-images/images.json"
    images.parent.mkdir(parents=True)
    images.write_text("[]")
    found = await asyncio.gather(*(client.image("localhost/ml-runner:latest") for _ in range(50)))
    assert found[0] is not None
    assert found == [found[0]] * 50
    assert stand_in.asked_for_images == 1


async def test_the_variables_of_an_image_are_asked_for_once(client: Podman, stand_in: StandInPodman) -> None:
    digest = "sha256:" + "cd" * 32
    variables = {"PATH", "OMP_NUM_THREADS"}
    answer = {"Id": "ab" * 32, "Digest": digest, "Config": {"Env": ["PATH=/bin", "OMP_NUM_THREADS="]}}
    for _ in range(2):
        stand_in.answer = web.json_response(answer)
        assert await client.image_variables("localhost/ml-runner:latest", digest) == variables
    assert stand_in.asked_for_images == 1


async def test_an_image_says_the_packages_that_it_was_built_with(
    client: Podman, stand_in: StandInPodman
) -> None:
    name, digest = stand_in.names[0], "sha256:" + "cd" * 32
    stand_in.names.append(f"localhost/ml-runner@{digest}")
    assert await client.image_packages(name, digest) == {"numpy": "2.3.4", "pandas": "3.0.0"}
    assert await client.image_packages("localhost/other:latest", "sha256:" + "ef" * 32) == {}
    assert await client.image_packages(name, "") == {}


async def test_a_missing_image_sets_no_variables(client: Podman) -> None:
    assert await client.image_variables("localhost/other:latest", "sha256:" + "ef" * 32) == frozenset()


async def test_a_missing_image_is_none(client: Podman) -> None:
    assert await client.image("localhost/other:latest") is None


async def test_a_container_is_killed_and_a_missing_one_is_no_error(
    client: Podman, stand_in: StandInPodman
) -> None:
    await client.kill("ml-job-abcdefghij23")
    await client.kill("ml-job-absent")
    assert stand_in.killed == [("ml-job-abcdefghij23", "KILL")]


async def test_the_containers_of_jobs_are_listed(client: Podman, stand_in: StandInPodman) -> None:
    assert await client.containers() == []
    stand_in.containers = ["ml-job-abcdefghij23", "ml-warehouse"]
    assert await client.containers() == ["ml-job-abcdefghij23"]


async def test_a_container_is_removed_with_its_volumes_and_a_missing_one_is_no_error(
    client: Podman, stand_in: StandInPodman
) -> None:
    stand_in.containers = ["ml-job-abcdefghij23"]
    for _ in range(2):
        await client.remove_container("ml-job-abcdefghij23")
    assert stand_in.containers == []


async def test_podman_info_is_parsed(client: Podman, stand_in: StandInPodman) -> None:
    assert await client.host() == podman.Host(
        version="5.4.2",
        cgroup_version="v2",
        controllers=frozenset({"memory", "pids"}),
        subordinate_ids=65536,
        storage=stand_in.storage,
    )


async def test_a_users_own_secret_goes_before_the_shared_one(client: Podman) -> None:
    assert await client.secret_for("snowflake", "alice") is None
    await client.set_secret("snowflake", None, b"shared")
    assert await client.secret_for("snowflake", "alice") == "ml-agent.snowflake"
    await client.set_secret("snowflake", "alice", b"own")
    assert await client.secret_for("snowflake", "alice") == "ml-agent.snowflake.alice"
    assert await client.secret_for("snowflake", "bob") == "ml-agent.snowflake"
    assert await client.secret_for("snowflake", "alice", shared=False) == "ml-agent.snowflake.alice"
    assert await client.secret_for("snowflake", "bob", shared=False) is None


async def test_secrets_are_listed_again_after_podman_wrote_its_list_of_them(
    client: Podman, stand_in: StandInPodman
) -> None:
    written = stand_in.storage / "secrets/secrets.json"
    written.parent.mkdir(parents=True)
    written.write_text("{}")
    assert await client.secrets() == []
    stand_in.add("snowflake", "alice", b"elsewhere")
    assert await client.secret_for("snowflake", "alice") is None
    written.write_text("{ }")
    assert await client.secret_for("snowflake", "alice") == "ml-agent.snowflake.alice"
    # What this object changes itself, it never takes from before.
    await client.set_secret("snowflake", None, b"shared")
    assert [each.user for each in await client.secrets()] == [None, "alice"]
    assert await client.remove_secret("snowflake", "alice")
    assert [each.user for each in await client.secrets()] == [None]


async def test_a_value_is_sent_as_the_body_byte_for_byte(client: Podman, stand_in: StandInPodman) -> None:
    value = bytes(range(256))
    await client.set_secret("snowflake", None, value)
    assert stand_in.values == {"ml-agent.snowflake": value}


async def test_the_listing_has_this_agents_secrets_only(client: Podman, stand_in: StandInPodman) -> None:
    await client.set_secret("snowflake", "bob", b"x")
    await client.set_secret("snowflake", None, b"x")
    await client.set_secret("api", "alice.b", b"x")
    stand_in.secrets["ml-agent.fake"] = {"Spec": {"Name": "ml-agent.fake", "Labels": None}}
    stand_in.secrets["other"] = {"Spec": {"Name": "other", "Labels": {podman.LABEL_NAME: "snowflake"}}}
    assert [(secret.name, secret.user) for secret in await client.secrets()] == [
        ("api", "alice.b"),
        ("snowflake", None),
        ("snowflake", "bob"),
    ]


async def test_remove_says_whether_the_secret_existed(client: Podman, stand_in: StandInPodman) -> None:
    await client.set_secret("snowflake", None, b"x")
    assert await client.remove_secret("snowflake", None)
    assert not await client.remove_secret("snowflake", None)
    assert stand_in.secrets == {}


@pytest.mark.parametrize("size", [0, secret_module.MAX_SECRET_BYTES])
async def test_a_value_of_a_size_that_podman_refuses_is_refused(client: Podman, size: int) -> None:
    with pytest.raises(AgentError, match=f"has {size} bytes"):
        await client.set_secret("snowflake", None, b"x" * size)


async def test_no_secret_is_stored_on_a_nearly_full_disk(
    client: Podman, stand_in: StandInPodman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(podman, "FREE_BYTES_FOR_SECRETS", 2**63)
    with pytest.raises(AgentError, match="free") as caught:
        await client.set_secret("snowflake", None, b"x")
    assert caught.value.problem is Problem.STORAGE_FULL
    assert stand_in.secrets == {}


async def test_secrets_lost_during_a_store_are_named(client: Podman, stand_in: StandInPodman) -> None:
    await client.set_secret("first", None, b"x")
    stand_in.forgets = True
    with pytest.raises(AgentError, match=r"lost secrets .*ml-agent\.first\."):
        await client.set_secret("second", None, b"x")


async def test_a_refusal_quotes_podman(client: Podman, stand_in: StandInPodman) -> None:
    stand_in.answer = web.json_response({"message": "database is locked"}, status=500)
    with pytest.raises(AgentError, match="database is locked") as caught:
        await client.image("localhost/ml-runner:latest")
    assert caught.value.problem is Problem.HOST


async def test_an_answer_that_is_not_json_is_an_error(client: Podman, stand_in: StandInPodman) -> None:
    stand_in.answer = web.Response(text="<html>")
    with pytest.raises(AgentError, match="not JSON"):
        await client.image("localhost/ml-runner:latest")
    stand_in.answer = web.Response(text="<html>", status=502)
    with pytest.raises(AgentError, match="status 502"):
        await client.image("localhost/ml-runner:latest")


async def test_a_socket_without_a_listener_is_named_with_the_remedy(tmp_path: Path) -> None:
    async with Podman(tmp_path / "absent.sock") as client:
        with pytest.raises(AgentError, match=r"absent\.sock.*podman\.socket") as caught:
            await client.host()
    assert caught.value.problem is Problem.HOST


# --- the account's own Podman --------------------------------------------------------------------------


@pytest.fixture
async def real() -> AsyncIterator[Podman]:
    """The account's own Podman, with the secrets of these tests removed afterwards."""
    socket = Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")) / "podman/podman.sock"
    if not socket.exists():
        pytest.skip(f"podman.socket does not listen at {socket}")
    async with Podman(socket) as client:
        yield client
        for secret in await client.secrets():
            if secret.name.startswith("test-"):
                await client.remove_secret(secret.name, secret.user)


@pytest.mark.host
async def test_podman_accepts_every_valid_user_name(real: Podman) -> None:
    longest = "test-" + "n" * 58
    users = ["u" * 63, "a.b-c_d", "x.", "x-"]
    for user in users:
        await real.set_secret(longest, user, b"value")
        assert await real.secret_for(longest, user) == podman_name(longest, user)
    assert {secret.user for secret in await real.secrets() if secret.name == longest} == set(users)


@pytest.mark.host
async def test_podman_replaces_a_secret_and_keeps_its_labels(real: Podman) -> None:
    await real.set_secret("test-replaced", "alice", b"one")
    await real.set_secret("test-replaced", "alice", b"two")
    secrets = [secret for secret in await real.secrets() if secret.name == "test-replaced"]
    assert [(secret.user, secret.created_at <= secret.updated_at) for secret in secrets] == [("alice", True)]


@pytest.mark.host
async def test_podman_accepts_a_secret_of_the_maximum_size(real: Podman) -> None:
    await real.set_secret("test-great", None, b"x" * (secret_module.MAX_SECRET_BYTES - 1))
    assert await real.remove_secret("test-great", None)


@pytest.mark.host
async def test_podman_knows_the_cgroups_and_ids_of_its_account(real: Podman) -> None:
    host = await real.host()
    assert host.cgroup_version == "v2"
    assert host.subordinate_ids >= 65536


@pytest.mark.host
async def test_an_image_that_the_real_podman_does_not_have_is_none(real: Podman) -> None:
    assert await real.image("localhost/there-is-no-such-image:latest") is None

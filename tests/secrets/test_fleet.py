"""Secrets of a fleet in a real Podman: it keeps versions with values, and a container gets the newest."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.audit.chain import Caller
from agent.errors import AgentError, Problem
from agent.host.podman import Podman
from agent.identity import host_key
from agent.identity.authority import FLEET, Authority
from agent.model.fleet import HostKey, host_server_name
from agent.secrets.fleet import FleetSecrets
from agent.secrets.sealing import About
from agent.secrets.secrets import Secrets
from agent.store.store import Store
from tests.support.fleet_pki import put_into_fleet
from tests.support.fleet_secrets import removed, sealed, version
from tests.support.small_site import IMAGE, import_image
from tests.support.waiting import run

pytestmark = pytest.mark.host

NAME, USER = "test-fleet", "test.user"
BY = Caller(actor=USER, role="analyst", source="192.0.2.7", via="h1")


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[FleetSecrets]:
    """The secrets of the host h1, in the account's own Podman."""
    fleet = Authority.make("fleet CA")
    put_into_fleet(tmp_path / "pki", fleet, host_server_name("h1"))
    socket = Path(os.environ["XDG_RUNTIME_DIR"]) / "podman/podman.sock"
    async with Podman(socket) as podman, Store.open(tmp_path / "jobs.db") as store:
        secrets = Secrets(podman, runtime_directory=tmp_path / "run", state_directory=tmp_path)
        try:
            yield FleetSecrets(
                "h1",
                secrets,
                store.secret_versions,
                tmp_path / "fleet-secrets.key",
                sign=lambda name, key: host_key.signed(tmp_path / "pki" / FLEET, name, key),
                check=lambda key: host_key.check(key, [fleet.certificate]),
                write_audit=store.audit.append,
            )
        finally:
            with contextlib.suppress(AgentError):
                await secrets.remove(NAME, USER)


async def bring(kept: FleetSecrets, value: bytes, number: int) -> None:
    key = await kept.key()
    assert isinstance(key, HostKey)
    await kept.take(NAME, sealed(value, key, About(USER, NAME, version(number))), by=BY)


async def versions(kept: FleetSecrets) -> list[str | None]:
    return [each.version for each in (await kept.held()).secrets if (each.name, each.user) == (NAME, USER)]


async def mounted() -> str:
    """What a container finds where the secret is mounted."""
    mount = f"--secret=ml-agent.{NAME}.{USER},target=value"
    return await run(
        *("podman", "run", "--rm", "--network=none", mount, "--entrypoint=cat"), IMAGE, "/run/secrets/value"
    )


async def test_podman_keeps_the_version_with_the_value(kept: FleetSecrets) -> None:
    import_image()
    await bring(kept, b"one", 1)
    (first,) = await versions(kept)
    assert await mounted() == "one"
    await bring(kept, b"two", 2)
    (second,) = await versions(kept)
    assert first is not None
    assert second is not None
    assert first < second
    assert await mounted() == "two"
    with pytest.raises(AgentError) as caught:
        await bring(kept, b"old", 0)
    assert caught.value.problem is Problem.SECRET_OUTDATED
    await kept.remove(NAME, removed(3), by=BY)
    assert await versions(kept) == []

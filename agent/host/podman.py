"""The Podman REST socket: images by name, secrets for users, and what the host says of itself.

Paths and shapes are those of Podman's libpod API, version 5 (docs.podman.io, Reference: libpod).
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from ..errors import AgentError, FieldError, Problem
from ..model.base import SecretName, UserName
from ..model.secret import MAX_SECRET_BYTES


@dataclass(frozen=True)
class Mounted:
    """A podman secret that a job sees as `/run/secrets/<name>/connections.toml`."""

    name: str
    podman_secret: str


SECRET_PREFIX = "ml-agent."  # noqa: S105 (a name, not a value)
LABEL_NAME = "ml-agent.name"
LABEL_USER = "ml-agent.user"

# Podman rewrites the file of all secrets in place. On a full disk it would be truncated, and every other
# secret lost, so there must be room for several copies of what a host plausibly keeps.
FREE_BYTES_FOR_SECRETS = 64 * 2**20

_IMAGE_KEPT = 60.0  # seconds; images in additional, shared stores are not in the list that is looked at
_API = "http://podman/v5.0.0/libpod"  # the host part is not looked at
_TIMEOUT = aiohttp.ClientTimeout(total=30)  # seconds; the socket starts Podman first


@dataclass(frozen=True)
class Image:
    """An image in the local storage; both digests are `sha256:<hex>`, `id` of its configuration.

    `names` are its own, with their tags.
    """

    id: str
    digest: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Secret:
    """A secret of this agent, without its value; `user` is None where it is every user's."""

    name: SecretName
    user: UserName | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Host:
    """What `podman info` knows about the account it runs in; `subordinate_ids` counts mapped user ids."""

    version: str
    rootless: bool
    cgroup_version: str
    controllers: frozenset[str]
    subordinate_ids: int
    network_backend: str
    storage: Path


@dataclass(frozen=True)
class _Known:
    """An image as it was found while the list of images had that stamp; good until a monotonic time."""

    image: Image
    stamp: tuple[int, ...]
    until: float


def podman_name(name: SecretName, user: UserName | None) -> str:
    """`ml-agent.<name>` or `ml-agent.<name>.<user>`; unambiguous, since `name` has no dot."""
    return SECRET_PREFIX + (name if user is None else f"{name}.{user}")


def by_digest(image: str, digest: str) -> str:
    """The name by which Podman finds an image, for as long as that has any name in its repository."""
    return f"{_repository(image)}@{digest}"


def kept_name(image: str, digest: str) -> str:
    """A name of an image that no build gives to another one."""
    return f"{_repository(image)}:kept-{digest.removeprefix('sha256:')[:12]}"


class Podman:
    """A client of `podman.socket`; use it as an asynchronous context manager.

    Every method raises `AgentError` (host) where Podman does not answer or refuses.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None
        self._storage: Path | None = None
        self._images: dict[str, _Known] = {}
        self._looking_up = asyncio.Lock()

    async def __aenter__(self) -> Self:
        # A connection that is kept open would keep podman.service from leaving when it is idle.
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def host(self) -> Host:
        """Versions, controllers and mappings, for those who look after the host."""
        info = await self._json("GET", "/info")
        host = info["host"]
        mapped = (host.get("idMappings") or {}).get("uidmap") or []
        return Host(
            version=info["version"]["Version"],
            rootless=host["security"]["rootless"],
            cgroup_version=host["cgroupVersion"],
            controllers=frozenset(host.get("cgroupControllers") or []),
            subordinate_ids=sum(entry["size"] for entry in mapped) - 1 if mapped else 0,
            network_backend=host.get("networkBackend", ""),
            storage=Path(info["store"]["graphRoot"]),
        )

    async def version(self) -> str:
        """Podman's version."""
        return str((await self._json("GET", "/version"))["Version"])

    async def image(self, name: str) -> Image | None:
        """The local image of that name, or None; nothing is ever pulled.

        Asking an idle Podman means starting it, so an answer is kept for as long as the storage's list of
        images has not been written again.
        """
        # One at a time: a burst of submissions asks once, instead of drowning Podman in the same question.
        async with self._looking_up:
            if self._storage is None:
                self._storage = (await self.host()).storage
            known, stamp = self._images.get(name), _stamp(self._storage)
            if known is not None and known.stamp == stamp and time.monotonic() < known.until:
                return known.image
            image = await self._inspect(name)
            if image is not None and stamp:
                self._images[name] = _Known(image, stamp, time.monotonic() + _IMAGE_KEPT)
            return image

    async def kept_image(self, name: str) -> Image | None:
        """As `image`; the image has a name of its own from then on, and stays when this one moves on.

        What has no name in its repository, as after a build of the next one, is not found by its digest.
        """
        image = await self.image(name)
        if image is not None and not _has(image, own := kept_name(name, image.digest)):
            repository, _, tag = own.rpartition(":")
            query = {"repo": repository, "tag": tag}
            await self._ask("POST", f"/images/{image.id.removeprefix('sha256:')}/tag", query=query)
        return image

    async def is_only_kept(self, name: str, digest: str) -> bool:
        """Whether the image that once was `name` is there by nothing but what `kept_image` gave it."""
        image = await self._inspect(own := kept_name(name, digest))
        return image is not None and len(image.names) == 1 and _has(image, own)

    async def drop_kept(self, name: str, digest: str) -> None:
        """Removes such an image; one that another image is made of, or a container, stays."""
        await self._json("DELETE", f"/images/{quote(kept_name(name, digest), safe='')}", missing=True)

    async def _inspect(self, name: str) -> Image | None:
        found = await self._json("GET", f"/images/{quote(name, safe='')}/json", missing=True)
        if found is None:
            return None
        return Image(
            id=f"sha256:{found['Id'].removeprefix('sha256:')}",
            digest=found["Digest"],
            names=tuple(found.get("RepoTags") or ()),
        )

    async def kill(self, container: str) -> None:
        """Sends SIGKILL to a container; one that is not there has ended already."""
        query = {"signal": "KILL"}
        await self._json("POST", f"/containers/{container}/kill", query=query, missing=True)

    async def remove_container(self, container: str) -> None:
        """Removes a container, its volumes and its copies of secrets, if it is there."""
        query = {"force": "true", "v": "true"}
        await self._json("DELETE", f"/containers/{container}", query=query, missing=True)

    async def secrets(self) -> list[Secret]:
        """This agent's secrets by name and user, those for every user first. Others' are left out."""
        listed = [_secret(entry) for entry in await self._json("GET", "/secrets/json")]
        return sorted((one for one in listed if one is not None), key=lambda one: (one.name, one.user or ""))

    async def secret_for(self, name: SecretName, user: UserName) -> str | None:
        """Podman's name of the secret a job of `user` gets: the user's own, else everyone's, else None."""
        for candidate in (podman_name(name, user), podman_name(name, None)):
            if await self._exists(candidate):
                return candidate
        return None

    async def set_secret(self, name: SecretName, user: UserName | None, value: bytes) -> None:
        """Stores a secret, in place of an earlier one; running jobs keep the value they began with.

        Raises `AgentError`: invalid-request for an empty or too long value, storage-full where the disk is
        so full that Podman could lose other secrets, host where the listing afterwards is not as it must be.
        """
        if not 0 < len(value) < MAX_SECRET_BYTES:
            raise AgentError(
                Problem.INVALID_REQUEST,
                f"The value of secret {name} has {len(value)} bytes.",
                f"Podman takes 1 to {MAX_SECRET_BYTES - 1}.",
                (FieldError("value", f"must have 1 to {MAX_SECRET_BYTES - 1} bytes"),),
            )
        storage, before = (await self.host()).storage, await self._names()
        labels = {LABEL_NAME: name} | ({LABEL_USER: user} if user else {})
        query = {"name": podman_name(name, user), "replace": "true", "labels": json.dumps(labels)}
        # At last: until Podman writes, somebody else could fill the disk.
        _demand_room(storage)
        await self._json("POST", "/secrets/create", query=query, body=value)
        lost = (before | {podman_name(name, user)}) - await self._names()
        if lost:
            raise AgentError(
                Problem.HOST,
                f"Podman has lost secrets while storing one: {', '.join(sorted(lost))}.",
                "Look at the disk's free space, then set them again.",
            )

    async def remove_secret(self, name: SecretName, user: UserName | None) -> bool:
        """Removes a secret; False where there is none. Raises `AgentError` (storage-full) as `set_secret`."""
        target = podman_name(name, user)
        # Podman takes ids and their prefixes where it takes names: ask for the exact name first.
        if not await self._exists(target):
            return False
        _demand_room((await self.host()).storage)
        await self._json("DELETE", f"/secrets/{target}", missing=True)
        return True

    async def _exists(self, name: str) -> bool:
        return await self._json("GET", f"/secrets/{name}/json", missing=True) is not None

    async def _names(self) -> set[str]:
        return {entry["Spec"]["Name"] for entry in await self._json("GET", "/secrets/json")}

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        missing: bool = False,
    ) -> Any:
        """The decoded answer (None where it has no body); None for 404 where `missing` allows it."""
        content = await self._ask(method, path, query=query, body=body, missing=missing)
        try:
            return json.loads(content or b"null")
        except ValueError as error:
            raise AgentError(
                Problem.HOST,
                f"Podman's answer to {method} {path} is no JSON.",
                "`ml-agent doctor` checks it.",
            ) from error

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        missing: bool = False,
    ) -> bytes | None:
        """The answer's body; None for 404 where `missing` allows it."""
        if self._session is None:
            raise RuntimeError("Podman is used outside of its context")
        try:
            async with self._session.request(method, _API + path, params=query, data=body) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise AgentError(
                Problem.HOST,
                f"Podman does not answer at {self._socket}: {error or 'timed out'}.",
                "`systemctl --user enable --now podman.socket` starts its socket.",
            ) from error
        if response.status == 404 and missing:
            return None
        if response.status >= 400:
            raise AgentError(
                Problem.HOST,
                f"Podman refused {method} {path}: {_message(content) or f'status {response.status}'}.",
                "`journalctl --user -u podman.service` may say more.",
            )
        return content


def _stamp(storage: Path) -> tuple[int, ...]:
    """What changes when the storage's list of images does; empty where that cannot be seen."""
    try:
        lists = [path.stat() for path in sorted(storage.glob("*-images/images.json"))]
    except OSError:
        return ()
    return tuple(number for each in lists for number in (each.st_ino, each.st_size, each.st_mtime_ns))


def _repository(image: str) -> str:
    """An image's name without its tag or digest: what follows a colon or an @ behind the last slash."""
    head, slash, tail = image.rpartition("/")
    return head + slash + tail.partition("@")[0].partition(":")[0]


def _has(image: Image, name: str) -> bool:
    """Whether a name is one of an image's; Podman says the registry too, which a short name leaves out."""
    return any(each == name or each.endswith(f"/{name}") for each in image.names)


def _message(content: bytes) -> str | None:
    """The sentence of a libpod error document, or None where it is none."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, TypeError, KeyError):
        return None


def _secret(entry: Mapping[str, Any]) -> Secret | None:
    """One entry of the listing, or None where it is not this agent's."""
    labels = entry["Spec"].get("Labels") or {}
    name, user = labels.get(LABEL_NAME), labels.get(LABEL_USER)
    if name is None or entry["Spec"]["Name"] != podman_name(name, user):
        return None
    created, updated = (datetime.fromisoformat(entry[key]) for key in ("CreatedAt", "UpdatedAt"))
    return Secret(name, user, created, updated)


def _demand_room(storage: Path) -> None:
    # The directory itself may be out of bounds for a sandboxed caller, or not exist yet.
    directory = next(path for path in (storage, *storage.parents) if os.access(path, os.X_OK))
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < FREE_BYTES_FOR_SECRETS:
        raise AgentError(
            Problem.STORAGE_FULL,
            f"{directory} has only {free // 2**20} MiB free.",
            f"Make room for {FREE_BYTES_FOR_SECRETS // 2**20} MiB before changing secrets.",
        )

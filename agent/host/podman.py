"""Podman's images, containers and secrets, and what it knows about the account that it runs in.

Paths and shapes are those of the libpod API, version 5 (docs.podman.io, Reference: libpod).
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

import aiohttp

from ..errors import AgentError, FieldError, Problem, host_failed, invalid_request
from ..model.base import SecretName, UserName, container_name
from ..model.secret import MAX_SECRET_BYTES
from .images import Content, Image, by_digest, kept_name

API = "http://podman/v5.0.0/libpod"  # Podman ignores the host name
TIMEOUT = aiohttp.ClientTimeout(total=30)  # seconds; the socket starts Podman first

SECRET_PREFIX = "ml-agent."  # noqa: S105 (a name, not a value)
LABEL_NAME = "ml-agent.name"
LABEL_USER = "ml-agent.user"
LABEL_VERSION = "ml-agent.version"

# Podman rewrites the one file of all secrets in place. A full disk would truncate it and lose all secrets,
# so there must be room for several copies of the largest file to expect.
FREE_BYTES_FOR_SECRETS = 64 * 2**20

_IMAGES_KNOWN = 64  # whose content is remembered
_KEPT = 60.0  # seconds; the list of images that is checked lacks those of additional, shared stores
# Below the storage directory: what Podman writes again when an image, or a secret, is another one.
_IMAGES = "*-images/images.json"
_SECRETS = "secrets/secrets.json"


T = TypeVar("T")


@dataclass(frozen=True)
class Secret:
    """A secret of this agent, without its value. `user` is None for a secret that all users share.

    `version` is the fleet's, and empty for a secret that was set on this host.
    """

    name: SecretName
    user: UserName | None
    created_at: datetime
    updated_at: datetime
    version: str = ""


@dataclass(frozen=True)
class Host:
    """What `podman info` says about the account. `subordinate_ids` is the number of mapped user ids."""

    version: str
    cgroup_version: str
    controllers: frozenset[str]
    subordinate_ids: int
    storage: Path


@dataclass(frozen=True)
class _Known(Generic[T]):
    """Podman's answer from when its files had that stamp; valid until a monotonic time."""

    answer: T
    stamp: tuple[int, ...]
    until: float

    def holds(self, stamp: tuple[int, ...]) -> bool:
        return self.stamp == stamp and time.monotonic() < self.until


def podman_name(name: SecretName, user: UserName | None) -> str:
    """`ml-agent.<name>` or `ml-agent.<name>.<user>`; unambiguous, since `name` has no dot."""
    return SECRET_PREFIX + (name if user is None else f"{name}.{user}")


class Podman:
    """What the agent asks of `podman.socket`; use it as an asynchronous context manager.

    Every method raises `AgentError` (host) if Podman does not answer, or refuses.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None
        self._storage: Path | None = None
        self._images: dict[str, _Known[Image]] = {}
        self._secrets: _Known[list[Any]] | None = None
        self._contents: dict[str, Content] = {}  # by digest, which stands for the same image for ever
        self._looking_up = asyncio.Lock()

    async def __aenter__(self) -> Self:
        # podman.service stops when it is idle, which an open connection would prevent.
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        missing: bool = False,
    ) -> Any:
        """The decoded answer; None if it has no body, or if it is 404 and `missing` allows that."""
        if self._session is None:
            raise RuntimeError("Podman is used outside of its context")
        try:
            async with self._session.request(method, API + path, params=query, data=body) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise host_failed(
                f"Podman does not answer at {self._socket}: {error or 'timed out'}.",
                "`systemctl --user enable --now podman.socket` starts its socket.",
            ) from error
        if (response.status == 404 and missing) or response.status == 201:  # a new tag, which has no JSON
            return None
        if response.status >= 400:
            raise host_failed(
                f"Podman refused {method} {path}: {_message(content) or f'status {response.status}'}.",
                "`journalctl --user -u podman.service` may say more.",
            )
        try:
            return json.loads(content or b"null")
        except ValueError as error:
            raise host_failed(
                f"Podman's answer to {method} {path} is not JSON.",
                "`ml-agent doctor` checks Podman.",
            ) from error

    async def host(self) -> Host:
        """Podman's version, the cgroup controllers, the id mappings and the storage directory."""
        info = await self._ask("GET", "/info")
        try:
            host = info["host"]
            mapped = (host.get("idMappings") or {}).get("uidmap") or []
            return Host(
                version=info["version"]["Version"],
                cgroup_version=host["cgroupVersion"],
                controllers=frozenset(host.get("cgroupControllers") or []),
                subordinate_ids=sum(entry["size"] for entry in mapped) - 1 if mapped else 0,
                storage=Path(info["store"]["graphRoot"]),
            )
        except (KeyError, TypeError) as error:
            raise host_failed(
                "What answers at Podman's socket is not Podman, or another version of it.",
                "`systemctl --user status podman.socket` shows what listens.",
            ) from error

    async def storage(self) -> Path:
        """The storage directory, which is the same as long as this object is used."""
        if self._storage is None:
            self._storage = (await self.host()).storage
        return self._storage

    async def version(self) -> str:
        """Podman's version."""
        return str((await self._ask("GET", "/version"))["Version"])

    async def image(self, name: str) -> Image | None:
        """The local image of that name, or None. Nothing is ever pulled.

        A question starts an idle Podman, so an answer is kept until Podman writes its list of images again.
        """
        # One at a time: a burst of submissions asks the same question once.
        async with self._looking_up:
            known, stamp = self._images.get(name), _stamp(await self.storage(), _IMAGES)
            if known is not None and known.holds(stamp):
                return known.answer
            image = await self._inspect(name)
            if image is not None and stamp:
                self._images[name] = _Known(image, stamp, time.monotonic() + _KEPT)
            return image

    async def image_variables(self, name: str, digest: str) -> frozenset[str]:
        """The names of the variables that an image sets; none if it is missing, or `digest` empty."""
        return (await self._content(name, digest)).variables

    async def image_packages(self, name: str, digest: str) -> Mapping[str, str]:
        """The versions of an image's Python packages, by name; none where its label does not say them."""
        return (await self._content(name, digest)).packages

    async def _content(self, name: str, digest: str) -> Content:
        """Podman is not asked about an image that it has been asked about before."""
        if digest and digest not in self._contents:
            await self._inspect(by_digest(name, digest))
        return self._contents.get(digest, Content())

    async def kept_image(self, name: str) -> Image | None:
        """As `image`, and gives the image a name of its own, for when `name` moves to another image.

        Podman does not find an image by its digest once the image has no name in its repository.
        """
        image = await self.image(name)
        if image is not None and not image.has(own := kept_name(name, image.digest)):
            repository, _, tag = own.rpartition(":")
            query = {"repo": repository, "tag": tag}
            await self._ask("POST", f"/images/{image.id.removeprefix('sha256:')}/tag", query=query)
        return image

    async def is_only_kept(self, name: str, digest: str) -> bool:
        """Whether the image that once was `name` has only the name that `kept_image` gave it."""
        image = await self._inspect(own := kept_name(name, digest))
        return image is not None and len(image.names) == 1 and image.has(own)

    async def drop_kept(self, name: str, digest: str) -> None:
        """Removes an image by its kept name, unless a container or another image needs it."""
        await self._ask("DELETE", f"/images/{quote(kept_name(name, digest), safe='')}", missing=True)

    async def _inspect(self, name: str) -> Image | None:
        found = await self._ask("GET", f"/images/{quote(name, safe='')}/json", missing=True)
        if found is None:
            return None
        while len(self._contents) >= _IMAGES_KNOWN:
            del self._contents[next(iter(self._contents))]
        self._contents[found["Digest"]] = Content.of(found)
        return Image.of(found)

    async def kill(self, container: str) -> None:
        """Sends SIGKILL to a container. A missing container is no error: it has ended."""
        await self._ask("POST", f"/containers/{container}/kill", query={"signal": "KILL"}, missing=True)

    async def containers(self) -> list[str]:
        """The names of the containers of all jobs, whatever their state."""
        query = {"all": "true", "filters": json.dumps({"name": [f"^{container_name('')}"]})}
        found = await self._ask("GET", "/containers/json", query=query)
        return [name for each in found for name in each["Names"]]

    async def remove_container(self, container: str) -> None:
        """Removes a container with its volumes and its copies of secrets. A missing container is no error."""
        query = {"force": "true", "v": "true"}
        await self._ask("DELETE", f"/containers/{container}", query=query, missing=True)

    async def secrets(self) -> list[Secret]:
        """This agent's secrets by name and user, the shared one of a name first."""
        listed = [_secret(entry) for entry in await self._listed()]
        return sorted((one for one in listed if one is not None), key=lambda one: (one.name, one.user or ""))

    async def secret_for(self, name: SecretName, user: UserName, *, shared: bool = True) -> str | None:
        """Podman's name of the secret for a job of `user`: the user's own, the `shared` one, or None."""
        known = await self._names()
        for candidate in (podman_name(name, user), *([podman_name(name, None)] if shared else [])):
            if candidate in known:
                return candidate
        return None

    async def set_secret(
        self, name: SecretName, user: UserName | None, value: bytes, *, version: str = ""
    ) -> None:
        """Stores a secret and replaces an earlier value. Running jobs keep the value that they started with.

        Raises `AgentError`: invalid-request if the value is empty or too long, storage-full if Podman could
        lose other secrets on so full a disk, host if a secret is missing afterwards.
        """
        if not 0 < len(value) < MAX_SECRET_BYTES:
            raise invalid_request(
                f"The value of secret {name} has {len(value)} bytes.",
                f"Podman accepts 1 to {MAX_SECRET_BYTES - 1} bytes.",
                (FieldError("value", f"must have 1 to {MAX_SECRET_BYTES - 1} bytes"),),
            )
        storage, before = await self.storage(), await self._names()
        labels = {LABEL_NAME: name, LABEL_USER: user, LABEL_VERSION: version}
        labels = {label: text for label, text in labels.items() if text}
        query = {"name": podman_name(name, user), "replace": "true", "labels": json.dumps(labels)}
        # As late as possible: somebody else could fill the disk meanwhile.
        _demand_room(storage)
        self._secrets = None
        await self._ask("POST", "/secrets/create", query=query, body=value)
        lost = (before | {podman_name(name, user)}) - await self._names()
        if lost:
            raise host_failed(
                f"Podman lost secrets while it stored one: {', '.join(sorted(lost))}.",
                "Check the free space of the disk, then set them again.",
            )

    async def remove_secret(self, name: SecretName, user: UserName | None) -> bool:
        """Removes a secret; False if there is none. Raises `AgentError` (storage-full), as `set_secret`."""
        target = podman_name(name, user)
        # Podman accepts ids, and prefixes of ids, in place of a name: check the exact name first.
        if target not in await self._names():
            return False
        _demand_room(await self.storage())
        self._secrets = None
        await self._ask("DELETE", f"/secrets/{target}", missing=True)
        return True

    async def _names(self) -> set[str]:
        return {entry["Spec"]["Name"] for entry in await self._listed()}

    async def _listed(self) -> list[Any]:
        """All secrets. A question starts an idle Podman, so an answer is kept as `image` keeps its own."""
        stamp = _stamp(await self.storage(), _SECRETS)
        if self._secrets is not None and self._secrets.holds(stamp):
            return self._secrets.answer
        listed: list[Any] = await self._ask("GET", "/secrets/json")
        self._secrets = _Known(listed, stamp, time.monotonic() + _KEPT) if stamp else None
        return listed


def _message(content: bytes) -> str | None:
    """The message of a libpod error document; None if the content is something else."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, TypeError, KeyError):
        return None


def _stamp(storage: Path, files: str) -> tuple[int, ...]:
    """Changes with what these files below the storage say; empty if they cannot be read."""
    try:
        found = [path.stat() for path in sorted(storage.glob(files))]
    except OSError:
        return ()
    return tuple(number for each in found for number in (each.st_ino, each.st_size, each.st_mtime_ns))


def _secret(entry: Mapping[str, Any]) -> Secret | None:
    """One entry of the listing; None if it is not this agent's."""
    labels = entry["Spec"].get("Labels") or {}
    name, user = labels.get(LABEL_NAME), labels.get(LABEL_USER)
    if name is None or entry["Spec"]["Name"] != podman_name(name, user):
        return None
    created, updated = (datetime.fromisoformat(entry[key]) for key in ("CreatedAt", "UpdatedAt"))
    return Secret(name, user, created, updated, labels.get(LABEL_VERSION, ""))


def _demand_room(storage: Path) -> None:
    # A sandboxed caller may not reach the directory itself, or it may not exist yet.
    directory = next(path for path in (storage, *storage.parents) if os.access(path, os.X_OK))
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < FREE_BYTES_FOR_SECRETS:
        raise AgentError(
            Problem.STORAGE_FULL,
            f"{directory} has only {free // 2**20} MiB free.",
            f"Make room for {FREE_BYTES_FOR_SECRETS // 2**20} MiB before changing secrets.",
        )

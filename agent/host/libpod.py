"""Podman's REST API on its Unix socket: requests, answers and errors.

Paths and shapes are those of the libpod API, version 5 (docs.podman.io, Reference: libpod).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from ..errors import AgentError, Problem

API = "http://podman/v5.0.0/libpod"  # Podman ignores the host name
TIMEOUT = aiohttp.ClientTimeout(total=30)  # seconds; the socket starts Podman first


class Libpod:
    """A client of `podman.socket`; use it as an asynchronous context manager.

    Every method raises `AgentError` (host) if Podman does not answer, or refuses.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # podman.service stops when it is idle, which an open connection would prevent.
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        missing: bool = False,
    ) -> Any:
        """The decoded answer; None if it has no body, or if it is 404 and `missing` allows that."""
        content = await self._ask(method, path, query=query, body=body, missing=missing)
        try:
            return json.loads(content or b"null")
        except ValueError as error:
            raise AgentError(
                Problem.HOST,
                f"Podman's answer to {method} {path} is not JSON.",
                "`ml-agent doctor` checks Podman.",
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
        """The body of the answer; None if it is 404 and `missing` allows that."""
        if self._session is None:
            raise RuntimeError("Podman is used outside of its context")
        try:
            async with self._session.request(method, API + path, params=query, data=body) as response:
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


def _message(content: bytes) -> str | None:
    """The message of a libpod error document; None if the content is something else."""
    try:
        return str(json.loads(content)["message"])
    except (ValueError, TypeError, KeyError):
        return None

"""A client of the API, which checks every answer against the OpenAPI document."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from .openapi import Document


@dataclass
class Answer:
    """A response that was read to its end; `problem` is the code of a problem document."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> str:
        return str(self.json["type"]).rpartition(":")[2]

    @property
    def fields(self) -> list[str]:
        """The names of the refused fields."""
        return [error["field"] for error in self.json["errors"]]


@dataclass
class Client:
    """The holder of one certificate."""

    session: aiohttp.ClientSession
    base: str
    document: Document
    tls: ssl.SSLContext  # for connections of one's own with this certificate

    async def __call__(self, method: str, path: str, **options: Any) -> Answer:
        """Any request; without options, a change sends an empty object."""
        if method in ("POST", "PUT", "DELETE") and not options:
            options = {"json": {}}
        async with self.session.request(method, self.base + path, **options) as response:
            body = await response.read()
            answer = Answer(response.status, {k.title(): v for k, v in response.headers.items()}, body)
        self.document.check(method, path.partition("?")[0], answer.status, answer.headers, answer.body)
        return answer

    async def get(self, path: str, **headers: str) -> Answer:
        return await self("GET", path, headers=headers)

    async def post(self, path: str, data: Any = None, **headers: str) -> Answer:
        """Posts JSON, by default an empty object, or bytes as they are."""
        body = data if isinstance(data, bytes) else json.dumps({} if data is None else data)
        return await self("POST", path, data=body, headers={"Content-Type": "application/json"} | headers)

    async def submit(self, script_name: str = "succeed.py", **fields: Any) -> Any:
        answer = await self.post("/jobs", {"script_name": script_name, "hyperparameters": {}} | fields)
        assert answer.status == 202, answer.body
        return answer.json

    @contextlib.asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """An event stream; `events` reads it."""
        headers = {"Accept": "text/event-stream"} | headers
        async with self.session.get(self.base + path, headers=headers) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            yield response


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any, str]]:
    """Name, data and id of each event; a comment is named ":"."""
    fields: dict[str, str] = {}
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line.startswith(":"):
            yield ":", None, ""
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
            fields = {}

"""The agent of the member's own host, over HTTPS: what a member asks of it."""

import contextlib
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import aiohttp
from pydantic import ValidationError

from ..errors import AgentError, FieldError, Problem
from ..model.fleet import (
    HeldSecret,
    HeldSecrets,
    RemovedSecret,
    Reseal,
    Resealed,
    Room,
    SealedSecret,
)
from ..model.job import Job
from .entries import Claim

TIMEOUT = 30.0  # seconds for an answer; an agent that was idle starts first
STREAM_SILENCE = 45.0  # seconds without a byte of a stream, which has a heartbeat of 15
MAX_LINE = 2**20  # bytes of an event
SOURCE = "fleet"  # where a member's own requests come from


class HostAgent:
    """Implements `parts.Agent`. Every method raises `AgentError`: the agent's own, or host if it is away."""

    def __init__(self, session: aiohttp.ClientSession, url: str, server_name: str | None = None) -> None:
        self._session = session
        self._url = url
        self._server_name = server_name

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(
        cls, url: str, context: ssl.SSLContext, server_name: str | None = None
    ) -> AsyncIterator["HostAgent"]:
        """Connects when it is asked, with the member's certificate in `context`.

        `server_name` is the name in the agent's certificate, by default that of the URL.
        """
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, read_bufsize=MAX_LINE
        ) as session:
            yield cls(session, url, server_name)

    async def room(self) -> Room:
        """What the host can still give."""
        return Room.told(await self._ask("GET", "/fleet/room"))

    async def take(self, claim: Claim, not_after: float) -> Job:
        """Gives a job to the agent. The claim's request has role, source and request of the job's owner.

        The request is the agent's to judge: it may be of a later version than this one.
        """
        asked = json.loads(claim.request)
        if claim.attempt > 1:  # lost hosts have had the attempts before
            asked["request"]["max_attempts"] -= claim.attempt - 1
        user = f"{claim.owner} {asked['role']} {asked['source']}"
        body = {
            "job_id": claim.job_id,
            "key": str(claim.attempt),
            "not_after": not_after,
            "request": asked["request"],
        }
        return Job.told(await self._ask("POST", "/fleet/jobs", user=user, body=body))

    async def secrets(self) -> HeldSecrets:
        """Every secret that the host has."""
        return HeldSecrets.told(await self._ask("GET", "/fleet/secrets"))

    async def take_secret(self, by: str, name: str, sealed: SealedSecret) -> HeldSecret:
        """Brings a user's secret to the host. `by` is on whose behalf: user, role and source."""
        body = sealed.model_dump()
        return HeldSecret.told(await self._ask("PUT", f"/fleet/secrets/{name}", user=by, body=body))

    async def drop_secret(self, by: str, name: str, removed: RemovedSecret) -> None:
        """Removes a user's secret from the host, likewise."""
        await self._ask("DELETE", f"/fleet/secrets/{name}", user=by, body=removed.model_dump())

    async def reseal(self, asked: Reseal) -> Resealed:
        """Has the host seal keys for another one."""
        return Resealed.told(await self._ask("POST", "/fleet/reseal", body=asked.model_dump()))

    async def cancel(self, job: Job) -> None:
        """Asks for a job's end."""
        await self._ask("POST", f"/jobs/{job.job_id}/cancel", user=f"{job.owner} analyst {SOURCE}", body={})

    async def tell(self, job_id: str) -> None:
        """The fleet has heard of the end of a job."""
        await self._ask("POST", "/fleet/told", body={"job_ids": [job_id]})

    async def job(self, job_id: str) -> Job | None:
        """A job of the fleet, or None."""
        try:
            return Job.told(await self._ask("GET", f"/jobs/{job_id}"))
        except AgentError as error:
            if error.problem is Problem.JOB_NOT_FOUND:
                return None
            raise

    async def jobs(self) -> list[Job]:
        """The fleet's jobs that have not ended."""
        found = []
        async with contextlib.aclosing(self._events()) as events:
            async for name, data in events:
                if name == "job":
                    found.append(Job.told(json.loads(data)))
                if name == "current":
                    break
        return [job for job in found if not job.status.terminal]

    async def changes(self) -> AsyncGenerator[Job]:
        """Each job of the fleet as it is, and then at each change."""
        async with contextlib.aclosing(self._events()) as events:
            async for name, data in events:
                if name == "job":
                    yield Job.told(json.loads(data))
                if name == "error":
                    raise problem_of(json.loads(data))

    async def _events(self) -> AsyncGenerator[tuple[str, str]]:
        """Name and data of each event, from a snapshot on."""
        timeout = aiohttp.ClientTimeout(sock_read=STREAM_SILENCE)
        with answered("host's agent"):
            async with self._session.get(
                f"{self._url}/events", timeout=timeout, server_hostname=self._server_name
            ) as response:
                if response.status != 200:
                    raise problem_of(await response.json(content_type=None))
                async with contextlib.aclosing(events_of(response)) as events:
                    async for event in events:
                        yield event

    async def _ask(self, method: str, path: str, *, user: str = "", body: Any = None) -> Any:
        headers = {"On-Behalf-Of": user} if user else {}
        with answered("host's agent"):
            async with self._session.request(
                method, self._url + path, json=body, headers=headers, server_hostname=self._server_name
            ) as response:
                answer = await response.json(content_type=None)
                if response.status >= 400:
                    raise problem_of(answer)
                return answer


async def events_of(response: aiohttp.ClientResponse) -> AsyncGenerator[tuple[str, str]]:
    """Name and data of each server-sent event, as an agent writes it: a name, and data in one line."""
    name = ""
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, value


@contextlib.contextmanager
def answered(what: str) -> Iterator[None]:
    """Raises `AgentError` (host) where `what` is asked and does not answer as it should."""
    try:
        yield
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, ValidationError) as error:
        raise AgentError(
            Problem.HOST, f"The {what} does not answer: {str(error) or type(error).__name__}."
        ) from error


def problem_of(document: dict[str, Any]) -> AgentError:
    """The error of a problem document; one that this version does not know is the agent's own fault."""
    code = str(document.get("type", "")).rpartition(":")[2]
    problem = Problem(code) if code in set(Problem) else Problem.INTERNAL
    fields = tuple(FieldError(each["field"], each["message"]) for each in document.get("errors", ()))
    return AgentError(problem, str(document.get("detail", "")), str(document.get("hint", "")), fields)

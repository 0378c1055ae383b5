"""The fleet's fronts, over HTTPS: what a member asks of them instead of the record."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import aiohttp
from pydantic import TypeAdapter

from ..errors import AgentError, Problem
from ..model.fleet import (
    FRONT_SERVER_NAME,
    HeldSecret,
    HostKey,
    Reseal,
    SealedFor,
    SealedForHost,
    SecretNews,
)
from ..model.member import MemberSecret, MemberSecretOf, MemberSecrets, MemberShared
from .entries import Claim, HostReport, Joined, NoClaim, Offer, Revision, Step
from .host_agent import answered, problem_of

CONNECT_TIMEOUT = 2.0  # seconds; then the next front is asked
TIMEOUT = 10.0  # seconds for an answer, which waits for Redis and its replicas

_CLAIM = TypeAdapter(Claim)
_CLAIMS = TypeAdapter(list[Claim])
_JOINED = TypeAdapter(Joined)


class Fronts:
    """Implements `parts.Fleet` over the fronts' calls for members. `host` is what the certificate names.

    One front is asked until it fails, and then the next one. A call that is lost on its way may have been
    carried out, and is repeated at the next front only where that is safe:

    - `join`, `back`, `confirm` and `acknowledge` say what is so, and saying it twice changes nothing. A
      claim that is confirmed late begins no later: its deadline is counted from before the first request.
    - `release` and `project` show a fence, and a revision: the second time is answered "stale" or "old".
    - `claims_of`, `secret_news` and `sealed_secret` read; `tell_secrets` and `share_keys` say what is so.
    - `claim_next` is not repeated once it may have been sent: a second claim is another job's. The member
      then asks which claims it has.

    Every method raises `AgentError`: the front's own, or host where no front answers.
    """

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
        self._session = session
        self._urls = list(urls)

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, urls: Sequence[str], context: ssl.SSLContext) -> AsyncIterator["Fronts"]:
        """Connects when it is asked, with the member's certificate in `context`."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context), timeout=timeout
        ) as session:
            yield cls(session, urls)

    async def join(self, host: str, report: HostReport) -> Joined:
        """The host is there. The front knows its name from the certificate, and so in all that follows."""
        return _JOINED.validate_python(await self._say("join", asdict(report)))

    async def back(self, host: str, epoch: str) -> bool:
        """The host was forgotten, and has ended what it had."""
        return bool((await self._say("back", {"epoch": epoch}))["back"])

    async def claim_next(self, offer: Offer) -> Claim | NoClaim:
        """Claims the job whose turn it is among those that the host can run now."""
        offered = {name: value for name, value in asdict(offer).items() if value is not None}
        del offered["host"]
        answer = await self._say("claim", offered, once=True)
        return _CLAIM.validate_python(answer["claim"]) if "claim" in answer else NoClaim(answer["why"])

    async def confirm(self, job_id: str, host: str, epoch: str, fence: str) -> Step:
        """Whether a claim still holds, right before the job is given to the host's agent."""
        return await self._step("confirm", {"job_id": job_id, "epoch": epoch, "fence": fence})

    async def acknowledge(self, job_id: str, host: str, fence: str) -> Step:
        """The host's agent has the job."""
        return await self._step("acknowledge", {"job_id": job_id, "fence": fence})

    async def release(self, job_id: str, host: str, fence: str, *, elsewhere: bool) -> Step:
        """The host's agent will never have the job."""
        return await self._step("release", {"job_id": job_id, "fence": fence, "elsewhere": elsewhere})

    async def project(self, job_id: str, host: str, fence: str, revision: Revision) -> Step:
        """A revision of a job. The front reads all the rest from the document."""
        body = b'{"fence": "%s", "job": %s}' % (fence.encode(), revision.document.encode())
        return await self._step("project", body)

    async def claims_of(self, host: str) -> list[Claim]:
        """The host's claims that have not ended."""
        found: list[Claim] = []
        while True:
            after = found[-1].job_id if found else ""
            page = await self._ask("GET", f"claims?after={after}")
            found += _CLAIMS.validate_python(page["claims"])
            if not page["more"]:
                return found

    async def secret_news(self, host: str, after: int) -> SecretNews:
        """What has changed of users' secrets after a number."""
        return SecretNews.told(await self._ask("GET", f"secrets?after={after}"))

    async def sealed_secret(self, host: str, user: str, name: str) -> SealedForHost | None:
        """A user's secret in its newest version, sealed for the host."""
        answer = await self._say("secret", {"user": user, "name": name})
        return MemberSecret.told(answer).secret

    async def share_keys(self, to: HostKey, secrets: list[SealedFor]) -> int:
        """Keys that this host has sealed for another one; how many of them were still wanted."""
        answer = await self._say("share", Reseal(to=to, secrets=secrets).model_dump())
        return MemberShared.told(answer).shared

    async def tell_secrets(self, host: str, held: Mapping[str, HeldSecret | None], *, whole: bool) -> None:
        """What the host has, by `held_name`; None for what it no longer has."""
        gone = [name.partition("/") for name, secret in held.items() if secret is None]
        told = MemberSecrets(
            whole=whole,
            secrets=[secret for secret in held.values() if secret is not None],
            gone=[MemberSecretOf(user=user, name=name) for user, _, name in gone],
        )
        await self._say("held", told.model_dump(mode="json", exclude_none=True))

    async def _step(self, call: str, body: Mapping[str, Any] | bytes) -> Step:
        return Step((await self._say(call, body))["step"])

    async def _say(self, call: str, body: Mapping[str, Any] | bytes, *, once: bool = False) -> Any:
        return await self._ask("POST", call, body, once=once)

    async def _ask(
        self, method: str, call: str, body: Mapping[str, Any] | bytes | None = None, *, once: bool = False
    ) -> Any:
        """The answer of the first front that has one. With `once`, of the first one that is connected."""
        left = len(self._urls)
        while True:
            left -= 1
            try:
                return await self._ask_one(method, f"{self._urls[0]}/fleet/member/{call}", body)
            except AgentError as error:
                if error.problem is not Problem.HOST and error.problem is not Problem.STOPPING:
                    raise
                self._urls.append(self._urls.pop(0))
                unsent = isinstance(error.__cause__, aiohttp.ClientConnectorError)
                if left == 0 or (once and not unsent):
                    raise

    async def _ask_one(self, method: str, url: str, body: Mapping[str, Any] | bytes | None) -> Any:
        sent: dict[str, Any] = {"data" if isinstance(body, bytes) else "json": body}
        with answered("front"):
            async with self._session.request(
                method,
                url,
                **sent,
                headers={"Content-Type": "application/json"},
                server_hostname=FRONT_SERVER_NAME,
            ) as response:
                answer = await response.json(content_type=None)
                if response.status >= 400:
                    raise problem_of(answer)
                return answer

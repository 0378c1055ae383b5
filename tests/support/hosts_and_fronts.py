"""Several hosts and fronts over one record, for tests of what a fleet is to its users."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config import Settings
from agent.fleet.record import Record

from .api_fixtures import BOUNDS
from .openapi import Document
from .served import Authorities, use_stand_in_journalctl
from .served_fleet import FrontServed, MemberByHand, joined_host, served_by_a_front
from .small_site import make_settings


class Fleet:
    """Hosts and fronts that a test starts; all end with it."""

    def __init__(
        self,
        stack: contextlib.AsyncExitStack,
        record: Record,
        settings: Callable[[str], Settings],
        authorities: Authorities,
        document: Document,
        directory: Path,
    ) -> None:
        self._stack = stack
        self.record = record
        self._settings = settings
        self._where = authorities, document
        self._directory = directory
        self.members: list[MemberByHand] = []

    async def host(self, name: str, **report: Any) -> MemberByHand:
        """A host that has joined, with its member in the test's hands."""
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        settings = self._settings(name)
        host = joined_host(name, self.record, settings, *self._where, directory)
        member = await self._stack.enter_async_context(host)
        if report:
            await member.join(**report)
        self.members.append(member)
        return member

    @contextlib.asynccontextmanager
    async def front(self, name: str = "front-1", **options: Any) -> AsyncIterator[FrontServed]:
        """A front, until the context ends."""
        settings = self._settings(name)
        front = served_by_a_front(
            self.record,
            self.members,
            settings.http,
            settings,
            *self._where,
            self._directory / name,
            name=name,
            **options,
        )
        async with front as served:
            yield served


@pytest.fixture
async def fleet(
    record: Record,
    tmp_path: Path,
    authorities: Authorities,
    repository: Path,
    document: Document,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Fleet]:
    (tmp_path / "h1").mkdir()
    use_stand_in_journalctl(monkeypatch, tmp_path / "h1/journal")

    def settings(name: str) -> Settings:
        site, runtime = tmp_path / f"{name}-site", tmp_path / f"{name}-run"
        usual = make_settings(site, runtime=runtime, repository=repository)
        return usual.model_copy(update={"http": usual.http.model_copy(update=BOUNDS)})

    async with contextlib.AsyncExitStack() as stack:
        yield Fleet(stack, record, settings, authorities, document, tmp_path)

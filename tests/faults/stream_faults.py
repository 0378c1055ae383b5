"""A long log and a follower whose connection, agent and journal are taken away from it again and again."""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace

from agent.cli.job.http import Api
from agent.cli.job.stream import follow

from .audit import Verdict
from .client import Clients, Told
from .privilege import FaultError, Root
from .report import Made
from .site import LINES_A_SECOND, USERS, Site

PATIENCE = 900.0  # seconds that the follower may take after the last line was printed
CHUNK = 1 << 16  # bytes


class Wire:
    """A door of its own to the agent, on the loopback: what goes through it can be cut off at any moment."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.cuts = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Yields the door's port."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self._abort()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> bool:
        """Resets every connection; whether there was one."""
        there_was = bool(self._open)
        self._abort()
        self.cuts += there_was
        return there_was

    def _abort(self) -> None:
        for each in self._open:
            each.transport.abort()
        self._open.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        for source, target in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(_pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.transport.abort()


@dataclass
class Received:
    """What arrived of the lines 1 to `printed`: those that were not as they should be, as sentences."""

    printed: int
    lines: int = 0
    last: int = 0
    gaps: int = 0
    covered: int = 0
    wrong: list[str] = field(default_factory=list)
    _gap: bool = False
    _number: int = 0

    def line(self, number: int, text: str) -> None:
        """A line of the job's, with the number that it came under."""
        if number <= self._number:
            self.wrong.append(f"number {number} after {self._number}")
        self._number = number
        if not text.isdecimal():
            return
        value = int(text)
        if value <= self.last:
            self.wrong.append(f"line {value} after {self.last}: again, or out of order")
        elif value > self.last + 1:
            self._jumped(value)
        self.lines += 1
        self.last, self._gap = value, False

    def gap(self) -> None:
        """A gap was declared here."""
        self.gaps += 1
        self._gap = True

    def end(self) -> None:
        """The end was told: nothing may be missing behind the last line, unless a gap says so."""
        if self.last != self.printed:
            self._jumped(self.printed + 1)

    def _jumped(self, value: int) -> None:
        missing = value - self.last - 1
        if self._gap:
            self.covered += missing
        else:
            self.wrong.append(f"{missing} lines are missing after {self.last}, and no gap says so")


async def followed_through_faults(
    site: Site, root: Root, *, lines: int, cuts: int, kills: int, rotations: int
) -> AsyncIterator[Made]:
    """A job prints so many numbered lines. Received = printed, in order, once, or inside a declared gap."""
    told = Told(USERS[0], f"count-{lines}.py")
    received, again = Received(lines), Received(lines)
    wire = Wire(site.port)
    async with Clients.connected(site) as clients, wire.listening() as port:
        await clients.submit(told)
        seconds = lines / LINES_A_SECOND
        async with asyncio.timeout(seconds + PATIENCE):
            following = asyncio.create_task(_follow(site, told, port, received))
            made = await asyncio.gather(
                _spread(cuts, seconds, _now(wire.cut), following),
                _spread(kills, seconds, lambda: _kill(site), following),
                _spread(rotations, seconds, lambda: _rotate(root), following),
            )
            await following
        await clients.wait(told)
        await _follow(site, told, site.port, again)
    verdict = Verdict(jobs=1)
    for what, each in (("followed", received), ("read after the end", again)):
        print(
            f"    {what}: {each.lines:,} of {lines:,} lines received, {each.gaps} gaps for"
            f" {each.covered:,} lines, {len(each.wrong)} wrong",
            flush=True,
        )
        for sentence in each.wrong[:20]:
            verdict.violated(4, f"{told.job_id}, {what}: {sentence}")
    print(
        f"    {made[0]} connections cut, {made[1]} agents killed, {made[2]} rotations with a vacuum",
        flush=True,
    )
    if told.ended.get("status") != "COMPLETED":
        verdict.violated(5, f"{told.job_id} is {told.ended.get('status')}: {told.ended.get('message')}")
    yield Made("a long log, followed through all", sum(made), verdict)


async def _follow(site: Site, told: Told, port: int, received: Received) -> None:
    """With the client that analysts have, to the end."""
    profile = replace(site.profile(told.user), server=f"https://localhost:{port}")
    async with Api(profile) as api:
        events = follow(api, f"/jobs/{told.job_id}/logs", params={}, notice=lambda _: None)
        async with contextlib.aclosing(events):
            async for event in events:
                if event.name == "line":
                    data = json.loads(event.data)
                    if data["source"] == "job":
                        received.line(data["number"], data["text"])
                elif event.name == "gap":
                    received.gap()
                elif event.name == "end":
                    received.end()


async def _spread(
    times: int,
    seconds: float,
    fault: Callable[[], Coroutine[None, None, bool]],
    following: asyncio.Task[None],
) -> int:
    """Makes a fault so many times, at random moments while the job prints; how often it was made."""
    made = 0
    deadline = time.monotonic() + seconds + PATIENCE
    while made < times and not following.done():
        await asyncio.sleep(random.uniform(0, 1.8) * seconds / times)
        made += await fault()
        if time.monotonic() > deadline:
            raise FaultError("there was nothing to make the fault of")
    return made


def _now(act: Callable[[], bool]) -> Callable[[], Coroutine[None, None, bool]]:
    async def fault() -> bool:
        return act()

    return fault


async def _kill(site: Site) -> bool:
    await site.forgive()
    return await site.kill(signal.SIGKILL)


async def _rotate(root: Root) -> bool:
    await root.run("journalctl", "--rotate", "--vacuum-files=1")
    return True

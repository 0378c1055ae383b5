"""All HTTP connections: limits on their number, and on the bytes that wait in them."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

from aiohttp import web
from aiohttp.typedefs import Handler

from ...config_base import HttpSettings
from ...errors import AgentError, Problem
from ...identity.subject import URI_PREFIX
from .connection import Connection

# Bytes of requests, of one user and of all, that have not been answered yet.
MAX_UNANSWERED_PER_USER = 8 * 1024 * 1024
MAX_UNANSWERED = 64 * 1024 * 1024
# Bytes of answers that one user, and all, have not read. Those of up to `WRITE_BUFFER` always pass.
MAX_UNREAD_PER_USER = 16 * 1024 * 1024
MAX_UNREAD = 128 * 1024 * 1024
# Requests of one user, and pieces of answers, that may begin in one round of the event loop. Hundreds of
# connections can be ready at once, and what each of them begins would delay everybody else's requests.
BEGIN_AT_ONCE = 1
CHECK_INTERVAL = 1.0  # seconds between two checks of all connections
FIRST_REQUEST_INTERVAL = 0.01  # seconds between two checks whether each connection has sent a request


class Rounds:
    """Shares out the rounds of the event loop: what is too much for one begins in the next ones, in order."""

    def __init__(self) -> None:
        # By user. An entry is there as long as the user has begun something in the present round.
        self._waiting: dict[str, deque[Callable[[], object]]] = {}
        self._begun = Counter[str]()

    def begin(self, user: str, step: Callable[[], object]) -> None:
        """Calls `step` now or in a later round."""
        if user not in self._waiting:
            self._waiting[user] = deque()
            asyncio.get_running_loop().call_soon(self._next, user)
        if self._begun[user] < BEGIN_AT_ONCE:
            self._begun[user] += 1
            step()
        else:
            self._waiting[user].append(step)

    async def turn(self, user: str) -> None:
        """Waits for a round in which something may begin, or returns at once in such a round."""
        turn = asyncio.Event()
        self.begin(user, turn.set)
        await turn.wait()

    def _next(self, user: str) -> None:
        waiting = self._waiting[user]
        self._begun[user] = begun = min(len(waiting), BEGIN_AT_ONCE)
        if not begun:
            del self._waiting[user], self._begun[user]
            return
        asyncio.get_running_loop().call_soon(self._next, user)
        for _ in range(begun):
            waiting.popleft()()


class Connections:
    """All connections, within their limits.

    At the limit, the connection that has waited longest for its client gives way to the new one. If all are
    at work, the first request on the new one is refused.
    """

    def __init__(self, server: web.Server, bounds: HttpSettings) -> None:
        self.server = server
        self.bounds = bounds
        self.stopping = False  # from then on, each answer is the last of its connection
        self._of: dict[str, dict[Connection, None]] = {}  # by holder, each in order of arrival
        self._count = 0
        self._unanswered = Counter[str]()  # bytes, by holder
        self.rounds = Rounds()

    def __len__(self) -> int:
        return self._count

    def __call__(self, handshaken: Callable[[], None]) -> Connection:
        """A new connection; it calls `handshaken` after its handshake."""
        return Connection(self, handshaken)

    def add(self, connection: Connection) -> None:
        """Counts a connection, and makes room for it or marks it as refused."""
        mine = self._of.setdefault(connection.holder, {})
        if len(mine) >= self.bounds.connections_per_user and not _make_room(mine):
            connection.refusal = self._too_many()
        elif self._count >= self.bounds.connections and not _make_room(self.all()):
            connection.refusal = AgentError(
                Problem.BUSY,
                f"The agent has {self.bounds.connections} connections open already.",
                "Try again in a while.",
            )
        mine[connection] = None
        self._count += 1

    def remove(self, connection: Connection) -> None:
        """No longer counts a connection."""
        mine = self._of.get(connection.holder, {})
        if connection in mine:
            del mine[connection]
            self._count -= 1
            self.answered(connection, 0)
        if not mine:
            self._of.pop(connection.holder, None)

    def received(self, connection: Connection, size: int) -> None:
        """Counts bytes of a request. Beyond the limit, the connection that has most of them is reset."""
        if connection not in self._of.get(connection.holder, ()):
            return
        connection.unanswered += size
        self._unanswered[connection.holder] += size
        holder = connection.holder
        if self._unanswered.total() > MAX_UNANSWERED:
            holder = max(self._unanswered, key=self._unanswered.__getitem__)
        elif self._unanswered[holder] <= MAX_UNANSWERED_PER_USER:
            return
        max(self._of[holder], key=lambda each: each.unanswered).reset()

    def answered(self, connection: Connection, left: int) -> None:
        """No longer counts the bytes of a connection, but those that are of its next request."""
        self._unanswered[connection.holder] -= connection.unanswered - left
        connection.unanswered = left
        self._unanswered += Counter()  # without those that have none

    @contextlib.contextmanager
    def held_for(self, connection: Connection, user: str) -> Iterator[None]:
        """Counts a connection as one of the user's inside the context. Raises `AgentError` at the limit."""
        holder, own = str((("URI", URI_PREFIX + user),)), connection.holder
        theirs = self._of.get(holder, {})
        if len(theirs) >= self.bounds.connections_per_user and not _make_room(theirs):
            raise self._too_many()
        self._move(connection, holder)
        try:
            yield
        finally:
            self._move(connection, own)

    def _move(self, connection: Connection, holder: str) -> None:
        """Changes the holder, unless the connection is closed."""
        if connection in self._of.get(connection.holder, {}):
            unanswered = connection.unanswered
            self.remove(connection)
            connection.holder = holder
            self._of.setdefault(holder, {})[connection] = None
            self._count += 1
            connection.unanswered = unanswered
            self._unanswered[holder] += unanswered

    def _too_many(self) -> AgentError:
        return AgentError(
            Problem.TOO_MANY_CONNECTIONS,
            f"You have {self.bounds.connections_per_user} connections open already.",
            "Close some, or use one for several requests.",
        )

    def refuse_unread(self, holder: str, size: int) -> AgentError | None:
        """Why a user gets no answer of `size` bytes: too many bytes of others have not been read.

        If that is so of all users together, the connection with most of them is reset, of the user who has
        the most.
        """
        waiting = {each: sum(one.unread for one in theirs) for each, theirs in self._of.items()}
        unread = waiting.get(holder, 0)
        if not unread or unread + size <= MAX_UNREAD_PER_USER:
            if sum(waiting.values()) + size > MAX_UNREAD:
                most = max(waiting, key=waiting.__getitem__)
                max(self._of[most], key=lambda each: each.unread).reset()
            return None
        return AgentError(
            Problem.TOO_MUCH_UNREAD,
            f"You have not read {unread // 1024} KiB of earlier answers. This one would exceed the limit.",
            "Read the answers on your other connections first, or close these.",
        )

    async def watch(self) -> None:
        """Closes connections that take too long, until it is cancelled."""
        shortest = min(self.bounds.header_seconds, self.bounds.unread_seconds)
        while True:
            await asyncio.sleep(min(CHECK_INTERVAL, shortest / 4))
            self._enforce_time_limits(asyncio.get_running_loop().time())

    async def first_requests(self, seconds: float) -> None:
        """Waits at most `seconds` until each connection has sent its first request."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(each.unused for each in self.all()):  # noqa: ASYNC110
                    await asyncio.sleep(FIRST_REQUEST_INTERVAL)

    def _enforce_time_limits(self, now: float) -> None:
        # Not in `watch`, whose loop variable would keep the last connection alive.
        for connection in self.all():
            connection.enforce_time_limits(now)

    def all(self) -> list[Connection]:
        """The open connections."""
        return [connection for mine in self._of.values() for connection in mine]


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses the request of a connection above the limit."""
    connection = request.protocol
    if isinstance(connection, Connection) and connection.refusal is not None:
        raise connection.refusal
    return await handler(request)


def awaiting_body(request: web.BaseRequest) -> contextlib.AbstractContextManager[None]:
    """Marks that the connection of a request waits for the body."""
    connection = request.protocol
    return connection.awaiting_body() if isinstance(connection, Connection) else contextlib.nullcontext()


async def turn(request: web.BaseRequest) -> None:
    """Waits for a round of the event loop in which a piece of the answer may be made."""
    connection = request.protocol
    if isinstance(connection, Connection):
        await connection.connections.rounds.turn(connection.holder)


def held_for(request: web.BaseRequest, user: str) -> contextlib.AbstractContextManager[None]:
    """Counts the connection of a request as one of the user's. Raises `AgentError` at the user's limit."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        return contextlib.nullcontext()
    return connection.connections.held_for(connection, user)


def _make_room(connections: Iterable[Connection]) -> bool:
    """Closes the connection that has waited longest for its client; False if none waits."""
    waiting = [(since, each) for each in connections if (since := each.waiting_since) is not None]
    if not waiting:
        return False
    min(waiting, key=lambda found: found[0])[1].reset()
    return True

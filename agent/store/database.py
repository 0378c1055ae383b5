"""One SQLite file: its connections, its thread and its transactions.

One connection lives on a worker thread, where every piece of work is a transaction that is on disk when it
returns (`synchronous=FULL`). Commands open the same file beside a running agent; WAL allows that.

A second connection reads on the event loop's own thread what nearly every request asks for: that takes
microseconds, where another thread would wait up to 5 ms for a busy loop's interpreter lock.
"""

import asyncio
import functools
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, closing
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..errors import AgentError, Problem, host_failed
from ..host.files import alone
from ..host.tasks import Listeners, to_its_end
from ..model.base import Model
from .migrations import migrate

T = TypeVar("T")
P = ParamSpec("P")
M = TypeVar("M", bound=Model)

BUSY_TIMEOUT = 10.0  # seconds to wait for the other process's transaction
CHECKPOINT_PAGES = 1000
MAX_PAGE_SIZE = 2**20  # characters of a page; more are the next page's
SHARED_MEMORY = 32768  # bytes of the file that SQLite makes beside the database while it is open


class Database:
    """Runs work on a SQLite file, for one event loop. Open it with `Database.open`."""

    def __init__(self, connection: Connection, thread: ThreadPoolExecutor, reader: Connection) -> None:
        """`connection` belongs to the thread, `reader` to the caller's."""
        self._connection = connection
        self._thread = thread
        self._reader = reader
        self._listeners = Listeners()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["Database"]:
        """Opens the file, creates it (mode 0600) if it is missing, and migrates its schema."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, connect, path)
            try:
                with closing(connect_reader(path)) as reader:
                    yield cls(connection, thread, reader)
            finally:
                await loop.run_in_executor(thread, connection.close)
        finally:
            thread.shutdown()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` on the thread, as one transaction.

        Raises `AgentError`: storage-full where the disk is full, host where the file cannot be used.
        """
        loop = asyncio.get_running_loop()

        def transaction() -> T:
            before = self._connection.total_changes
            try:
                with self._connection:
                    result = work(self._connection)
            except sqlite3.OperationalError as error:
                raise _translated(error) from error
            if self._connection.total_changes != before:
                loop.call_soon_threadsafe(self._listeners.notify)
            return result

        return await to_its_end(loop.run_in_executor(self._thread, transaction))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` on the caller's thread: one statement that ends within a few steps of an index."""
        try:
            return work(self._reader)
        except sqlite3.OperationalError:
            # Another process has locked the file for a moment, or something is wrong: the thread can wait.
            return await self.run(work)

    def on_commit(self, listener: Callable[[], None]) -> AbstractContextManager[None]:
        """Calls `listener` after each transaction of this process that wrote something."""
        return self._listeners.listening(listener)


class Tables:
    """The base of the classes that read and write some of the tables."""

    def __init__(self, database: Database) -> None:
        self._database = database


S = TypeVar("S", bound=Tables)


def transaction(
    method: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A method of a `Tables` as one transaction: callers await it and leave the connection out."""

    @functools.wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.run(lambda db: method(self, db, *args, **kwargs))

    return call


def quick_read(
    method: Callable[Concatenate[S, Connection, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """The same for what `Database.read` may run."""

    @functools.wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.read(lambda db: method(self, db, *args, **kwargs))

    return call


def fitting(rows: Iterable[tuple[Any, ...]], limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """The first rows that one answer may have, by their second column, a text; and whether more follow."""
    found: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        size += len(row[1])
        if found and (len(found) == limit or size > MAX_PAGE_SIZE):
            return found, True
        found.append(row)
    return found, False


def as_model(model: type[M], row: Sequence[object]) -> M:
    """A row whose columns are the fields of the model, in their order."""
    return model.model_validate(dict(zip(model.model_fields, row, strict=True)))


def connect(path: Path) -> Connection:
    """Connects on the calling thread, to stay there. Explicit transactions (`BEGIN`) only where needed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT)
    try:
        # A command may create the file at the same moment, and SQLite does not wait for locks here.
        with alone(path.parent):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            migrate(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise _translated(error, path) from error
        raise
    return connection


def connect_reader(path: Path) -> Connection:
    """Connects on the calling thread to an existing file, read-only; it fails at once on a lock."""
    connection = sqlite3.connect(path, timeout=0)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _translated(error: sqlite3.DatabaseError, path: Path | None = None) -> AgentError:
    # Without room for its shared memory, SQLite reports an I/O error.
    no_room = path and "I/O" in str(error) and shutil.disk_usage(path.parent).free < SHARED_MEMORY
    if "full" in str(error) or no_room:
        return AgentError(
            Problem.STORAGE_FULL,
            "The disk that holds the job store is full.",
            "Nothing was accepted; try again when the operator has made room.",
        )
    return host_failed(
        f"The job store{f' {path}' if path else ''} cannot be used: {error}.",
        "Check the state directory's permissions and `ml-agent doctor`.",
    )

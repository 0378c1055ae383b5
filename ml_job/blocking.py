"""The client for notebooks and scripts: the same methods, which block."""

import functools
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from .asynchronous import AsyncClient
from .background import Background

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Client", P], T]:
    @functools.wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._background.run(method(self._client, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate["Client", P], Iterator[T]]:
    @functools.wraps(method)
    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        stream = method(self._client, *args, **kwargs)
        try:
            while found := self._background.run(_next(stream)):
                yield found[0]
        finally:
            self._background.run(stream.aclose())

    return call


async def _next(stream: AsyncGenerator[T, None]) -> tuple[T] | None:
    """The next item, alone in a tuple; None after the last."""
    async for item in stream:
        return (item,)
    return None


class Client:
    """One agent, as one user. It works beside a running event loop, and in several threads at once.

    `close` gives its connections back, as does the end of a `with` block, or of the program.
    """

    def __init__(self, *, server: str | None = None, identity: str | None = None) -> None:
        """As `AsyncClient`."""
        self._client = AsyncClient(server=server, identity=identity)
        self._background = Background()
        self._background.run(self._client.__aenter__())
        self._closing = weakref.finalize(self, _close, self._client, self._background)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Closing again does nothing."""
        self._closing()

    submit_job = _blocking(AsyncClient.submit_job)
    rerun_job = _blocking(AsyncClient.rerun_job)
    get_job = _blocking(AsyncClient.get_job)
    list_jobs = _blocking(AsyncClient.list_jobs)
    cancel_job = _blocking(AsyncClient.cancel_job)
    wait_for_job = _blocking(AsyncClient.wait_for_job)
    get_metrics = _blocking(AsyncClient.get_metrics)
    get_logs = _blocking(AsyncClient.get_logs)
    follow_logs = _iterating(AsyncClient.follow_logs)
    list_artifacts = _blocking(AsyncClient.list_artifacts)
    download_artifacts = _blocking(AsyncClient.download_artifacts)
    load_model = _blocking(AsyncClient.load_model)
    load_pickle = _blocking(AsyncClient.load_pickle)
    list_models = _blocking(AsyncClient.list_models)
    get_model = _blocking(AsyncClient.get_model)
    get_alias = _blocking(AsyncClient.get_alias)
    set_alias = _blocking(AsyncClient.set_alias)
    download_alias = _blocking(AsyncClient.download_alias)
    load_alias = _blocking(AsyncClient.load_alias)
    load_alias_pickle = _blocking(AsyncClient.load_alias_pickle)
    submit_sweep = _blocking(AsyncClient.submit_sweep)
    get_sweep = _blocking(AsyncClient.get_sweep)
    list_sweeps = _blocking(AsyncClient.list_sweeps)
    list_trials = _blocking(AsyncClient.list_trials)
    cancel_sweep = _blocking(AsyncClient.cancel_sweep)
    wait_for_sweep = _blocking(AsyncClient.wait_for_sweep)


def _close(client: AsyncClient, background: Background) -> None:
    background.close(client.__aexit__())

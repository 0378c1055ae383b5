"""An event loop in a thread of its own: blocking calls work also where a loop runs already, as in Jupyter."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# A connection of TLS that was broken off is closed when its other side has answered; aiohttp's documentation
# advises to wait.
CLOSING_SECONDS = 0.1


class Background:
    """Runs coroutines, and waits for them. Several threads may call it at the same time."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="ml-job client", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises. It is cancelled where the caller is interrupted meanwhile."""
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("The client is closed.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancels what runs, does `last`, and ends the thread."""
        asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
        # A client that is forgotten in a circle is collected by any thread.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    async def _end(self, last: Coroutine[Any, Any, None]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        try:
            await last
            await self._loop.shutdown_asyncgens()
            await asyncio.sleep(CLOSING_SECONDS)
        finally:
            self._loop.stop()

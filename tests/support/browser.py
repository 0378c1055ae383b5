"""A real browser for tests: Chromium without a window, driven over the DevTools protocol."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from .waiting import run, until

CHROMIUM = "chromium"
# It answers the question for a certificate. `make browser` writes it; a browser reads no other place.
CHOICE = Path("/etc/chromium/policies/managed/ml-agent-tests.json")
MISSING = "needs Chromium, certutil and a policy that chooses a certificate: `make browser` installs them"
OPTIONS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--window-size=1280,1600",
)
# Events of the protocol that nothing good makes; what scripts print has a type besides.
COMPLAINTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Network.loadingFailed")


def is_installed() -> bool:
    """Whether a test can use it."""
    return bool(shutil.which(CHROMIUM) and shutil.which("certutil") and CHOICE.exists())


class Page:
    """One page of a browser, and all that it reports."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requested: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Takes in what the browser reports, until it ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if (number := told.get("id")) is not None:
                self._answers.pop(number).set_result(told)
            elif told["method"] == "Network.requestWillBeSent":
                self.requested.append(told["params"]["request"]["url"])
            elif told["method"] in COMPLAINTS or told["params"].get("type") in ("error", "warning"):
                self.complaints.append(json.dumps(told))

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, 60)
        assert "error" not in told, told["error"]
        result: dict[str, Any] = told["result"]
        return result

    async def open(self, url: str) -> None:
        """Goes to a page."""
        for domain in ("Network", "Log", "Runtime", "Page"):
            await self.command(f"{domain}.enable")
        went = await self.command("Page.navigate", url=url)
        assert "errorText" not in went, went["errorText"]

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = await self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    async def screenshot(self, file: Path) -> None:
        """Writes what is seen as PNG."""
        file.write_bytes(base64.b64decode((await self.command("Page.captureScreenshot"))["data"]))


@contextlib.asynccontextmanager
async def browsing(home: Path, authority: Path, identity: Path | None) -> AsyncIterator[Page]:
    """A page of a new browser that trusts the authority (PEM), with a certificate of a PKCS #12 file."""
    database = home / ".pki/nssdb"
    database.mkdir(parents=True)
    await run("certutil", "-N", "-d", f"sql:{database}", "--empty-password")
    await run("certutil", "-A", "-d", f"sql:{database}", "-n", "authority", "-t", "C,,", "-i", str(authority))
    if identity:
        await run("pk12util", "-i", str(identity), "-d", f"sql:{database}", "-W", "password", "-K", "")
    profile = home / "profile"
    # Root's processes have no sandbox.
    options = (*OPTIONS, *(["--no-sandbox"] if os.getuid() == 0 else []), f"--user-data-dir={profile}")
    with (home / "browser.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 (it takes a moment)
            [CHROMIUM, *options, "about:blank"],
            env=os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        active = profile / "DevToolsActivePort"
        await until(lambda: active.exists() and len(active.read_text().split()) == 2, seconds=60)
        port = active.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                (target,) = [each for each in await response.json() if each["type"] == "page"]
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                try:
                    yield page
                finally:
                    await socket.close()
                    await listening
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)

"""A headless Chromium that tests drive by its debugging protocol, where there is one on this machine."""

import asyncio
import base64
import itertools
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LIMIT = 60.0  # seconds that a page gets to become what it should


class Navigated(AssertionError):
    """The page that was asked gave way to another one meanwhile."""


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.asked: list[str] = []  # addresses that the page has loaded
        self.faults: list[str] = []  # what went wrong in its scripts
        self._trace: list[dict[str, Any]] = []
        self._trace_ended = asyncio.Event()

    async def listen(self) -> None:
        """Take what the browser says, until it is closed."""
        async for message in self._socket:
            said = message.json()
            if future := self._waiting.pop(said.get("id", 0), None):
                future.set_result(said)
            elif said.get("method") == "Network.requestWillBeSent":
                self.asked.append(said["params"]["request"]["url"])
            elif said.get("method") == "Runtime.exceptionThrown":
                self.faults.append(str(said["params"]["exceptionDetails"]))
            elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.faults.append(str(said["params"]["entry"]))
            elif said.get("method") == "Tracing.dataCollected":
                self._trace += said["params"]["value"]
            elif said.get("method") == "Tracing.tracingComplete":
                self._trace_ended.set()

    async def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol."""
        number = next(self._numbers)
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        said: dict[str, Any] = await asyncio.wait_for(future, LIMIT)
        if "navigated" in said.get("error", {}).get("message", ""):
            raise Navigated(said)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def open(self, address: str) -> None:
        """Go to an address."""
        await self.send("Page.navigate", url=address)

    async def value(self, script: str) -> Any:  # noqa: ANN401 - whatever the script comes to
        """What an expression of JavaScript comes to."""
        said = await self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + LIMIT
        while not await self._holds(script):
            assert time.monotonic() < end, f"{script}: {await self.value('document.body.innerText')}"
            await asyncio.sleep(0.05)

    async def _holds(self, script: str) -> bool:
        try:
            return bool(await self.value(f"Boolean({script})"))
        except Navigated:
            return False

    async def press(self, key: str) -> None:
        """Press and let go a key."""
        text = {"Enter": "\r"}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")

    async def resize(self, width: int, height: int) -> None:
        """Be a screen of this size."""
        phone = width < 600
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )

    async def dark(self, on: bool) -> None:
        """Prefer dark colours."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def trace(self) -> None:
        """Begin to note what the page's threads do."""
        self._trace_ended.clear()
        await self.send("Tracing.start", traceConfig={"includedCategories": ["devtools.timeline"]})

    async def traced(self) -> list[dict[str, Any]]:
        """End it: the events, as Chromium writes them."""
        await self.send("Tracing.end")
        await asyncio.wait_for(self._trace_ended.wait(), LIMIT)
        events, self._trace = self._trace, []
        return events

    async def picture(self, path: Path) -> None:
        """Keep a PNG of the whole page."""
        said = await self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(said["data"]))


@asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """A tab of a browser of its own, which ends with the block."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await asyncio.to_thread(_port, Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                tab = await _tab(session, f"http://127.0.0.1:{port}/json/list")
                async with session.ws_connect(tab, max_msg_size=0) as socket:
                    page = Page(socket)
                    listening = asyncio.create_task(page.listen())
                    for domain in ("Page", "Runtime", "Network", "Log"):
                        await page.send(f"{domain}.enable")
                    yield page
                    listening.cancel()
        finally:
            if browser.returncode is None:
                browser.kill()
            await browser.wait()


async def _tab(session: aiohttp.ClientSession, address: str) -> str:
    """Where the first tab takes commands, once there is one."""
    end = time.monotonic() + LIMIT
    while True:
        async with session.get(address) as answer:
            for each in await answer.json():
                if each["type"] == "page":
                    return str(each["webSocketDebuggerUrl"])
        assert time.monotonic() < end, "the browser opened no tab"
        await asyncio.sleep(0.05)


def _port(file: Path) -> int:
    """Where the browser listens, once it does and its first line is whole."""
    end = time.monotonic() + LIMIT
    while not (file.is_file() and "\n" in file.read_text()):
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])

"""A headless Chromium, by its DevTools protocol: what the tests of the page share.

It needs the browser alone, no driver; tornado comes with Jupyter.

    async with browser() as tabs:
        tab = await tabs.new()
        await tab.ask("Page.navigate", url="http://127.0.0.1:8000/")
        await tab.value("document.title")
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from tornado.websocket import websocket_connect

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
# Nothing else may answer: a name that is looked up is a request that would leave the machine.
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, "Tab": 9}


class Tab:
    """One page; what it tells unasked is kept in `events`."""

    def __init__(self, socket):
        self.socket, self.sent, self.events = socket, 0, []

    async def ask(self, method, **params):
        self.sent += 1
        await self.socket.write_message(
            json.dumps({"id": self.sent, "method": method, "params": params})
        )
        while True:
            answer = json.loads(await self.socket.read_message())
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    async def value(self, expression):
        """What an expression, or its promise, comes to."""
        answer = await self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def press(self, key):
        for kind in ("keyDown", "keyUp"):
            await self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=KEYS[key],
            )

    async def mouse(self, kind, x, y):
        await self.ask(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1, buttons=1
        )


class Tabs:
    """The pages of one browser, which listens at a port of this machine."""

    def __init__(self, port):
        self.port, self.sockets = port, []

    async def _reach(self, path):
        socket = await websocket_connect(
            f"ws://127.0.0.1:{self.port}{path}",
            max_message_size=2**26,
            ping_interval=None,
        )
        self.sockets.append(socket)
        return Tab(socket)

    async def open(self, whole):
        """Talk to the browser as a whole, which makes pages."""
        self.whole = await self._reach(whole)
        return self

    async def new(self):
        """An empty page."""
        made = await self.whole.ask("Target.createTarget", url="about:blank", newWindow=True)
        return await self._reach(f"/devtools/page/{made['targetId']}")

    async def close(self):
        for socket in self.sockets:
            socket.close()
            while await socket.read_message() is not None:
                pass


@contextlib.asynccontextmanager
async def browser(wide=1280):
    """A browser of its own, with an empty profile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        command += [f"--user-data-dir={profile}", ALONE, "--remote-debugging-port=0"]
        command += [f"--window-size={wide},1000", "about:blank"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            told = Path(profile) / "DevToolsActivePort"  # its port, and the path of the browser
            while not (told.exists() and len(told.read_text().split()) == 2):
                assert process.poll() is None, "the browser did not start"
                await asyncio.sleep(0.05)
            port, whole = told.read_text().split()
            tabs = Tabs(port)
            try:
                yield await tabs.open(whole)
            finally:
                await tabs.close()
        finally:
            process.kill()
            process.wait()

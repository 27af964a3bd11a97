"""A real browser for the tests: Debian's chromium, headless, over its own protocol; no driver and no network."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60.0  # seconds
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
)


class Tab:
    """One page, with all that its console has said and all that it has asked for."""

    def __init__(self, socket: Any, folder: Path) -> None:
        self._socket = socket
        self._last = 0
        self._session = ""
        self.console: list[str] = []
        self.requests: list[str] = []
        self.loaded = 0
        self.folder = folder  # where downloads come to

    def attach(self) -> None:
        """Open a blank page and listen to it."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command of the protocol."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            said = json.loads(self._socket.recv(timeout=PATIENCE))
            if said.get("id") == self._last:
                assert "error" not in said, (method, said["error"])
                answer: dict[str, Any] = said["result"]
                return answer
            self._heard(said)

    def _heard(self, said: dict[str, Any]) -> None:
        told, method = said.get("params", {}), said.get("method")
        if method == "Runtime.consoleAPICalled":
            self.console.append(f"{told['type']}: {told['args']}")
        elif method == "Runtime.exceptionThrown":
            self.console.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.console.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded += 1

    def open(self, path: Path, width: int = 1280, dark: bool = False) -> None:
        """A file, at a width in CSS pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        before = self.loaded
        self.ask("Page.navigate", url=path.absolute().as_uri())
        self.until(lambda: self.loaded > before)

    def run(self, code: str) -> Any:
        """The value of an expression in the page, awaited, as if by a person's click."""
        told = self.ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, condition: Any) -> None:
        """Wait for a condition, of Python or of the page."""
        end = time.monotonic() + PATIENCE
        while not (self.run(condition) if isinstance(condition, str) else condition()):
            assert time.monotonic() < end, condition
            time.sleep(0.05)
            self.run("0")  # and take in what has been said meanwhile

    def picture(self, path: Path, **clip: float) -> None:
        """What is seen, as PNG: of a stretch of the page, or all of it."""
        if not clip:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}
        told = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip | {"scale": 1})
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A fresh chromium whose profile and downloads lie in a folder; it ends with the block."""
    from websockets.sync.client import connect

    assert CHROMIUM
    profile = folder / "profile"
    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        told = profile / "DevToolsActivePort"
        end = time.monotonic() + PATIENCE
        while not (told.is_file() and len(told.read_text().split()) == 2):
            assert process.poll() is None, "chromium has ended"
            assert time.monotonic() < end, "chromium does not answer"
            time.sleep(0.05)
        port, path = told.read_text().split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None, ping_interval=None) as socket:
            tab = Tab(socket, folder)
            tab.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
            tab.attach()
            yield tab
    finally:
        process.terminate()
        process.wait(PATIENCE)

"""Chromium without a window, driven through its debugging pipe; tests of pages are skipped where it is not installed."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
)
KEYS = {
    "Enter": (13, "\r"),
    " ": (32, " "),
    "ArrowDown": (40, ""),
    "ArrowRight": (39, ""),
    "End": (35, ""),
    "Escape": (27, ""),
}
SECONDS = 60
BREAKING = ("serious", "critical")
"""Impacts of faults that axe-core finds and that no page may have."""


def found_chromium() -> str | None:
    """Path of Chromium: that of the variable CHROMIUM, or the first of `NAMES` on the path."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def axe_source() -> str:
    """Source of axe-core, which the variable AXE_CORE names; the test is skipped without it."""
    path = os.environ.get("AXE_CORE")
    if not path:
        pytest.skip("no axe-core: set AXE_CORE to the axe.min.js of the npm package axe-core")
    return Path(path).read_text()


class Page:
    """One tab of Chromium."""

    def __init__(self, browser: "Chromium", session: str) -> None:
        self._browser, self._session = browser, session
        self.requests: list[str] = []
        self.errors: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self, self._session, **parameters)

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript, awaited if it is a promise."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"]["exception"].get("description", found))
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.run(f"!!({condition})"):
            assert time.monotonic() < end, f"{condition} was not true within {SECONDS} s"
            time.sleep(0.05)

    def show(self, width: int, height: int, *, dark: bool = False, media: str = "screen") -> None:
        """Set the size of the window in CSS pixels, the colours, and whether the page is printed."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        code, text = KEYS[key]
        one = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **one)
        self.call("Input.dispatchKeyEvent", type="keyUp", **one)

    def picture(self) -> bytes:
        """A screenshot as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def faults(self, axe: str) -> list[str]:
        """Serious and critical faults of accessibility that axe-core finds, each with the first element that has it."""
        self.run(f"{axe}; 0")
        found = json.loads(self.run("axe.run().then((found) => JSON.stringify(found.violations))"))
        serious = [one for one in found if one["impact"] in BREAKING]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in serious]


class Chromium:
    """A process of Chromium that reads commands from one pipe and writes answers and events to another."""

    def __init__(self, path: str, profile: str) -> None:
        to_read, self._commands = os.pipe()
        self._answers, to_write = os.pipe()
        # The program reads from descriptor 3 and writes to 4, which the shell gives it.
        line = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        command = [
            "bash",
            "-c",
            line,
            path,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        self.process = subprocess.Popen(
            command, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._numbers, self._rest = 0, b""

    def page(self) -> Page:
        """Open a tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call("Page.setBypassCSP", enabled=False)
        return page

    def call(
        self, method: str, page: Page | None = None, session: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Send a command and return its result; requests and errors of the page that come meanwhile are kept there."""
        self._numbers += 1
        message = {"id": self._numbers, "method": method, "params": parameters}
        os.write(self._commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._numbers:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]
            if page is not None:
                self._keep(answer, page)

    @staticmethod
    def _keep(event: dict[str, Any], page: Page) -> None:
        values = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            page.requests.append(values["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            page.errors.append(values["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event.get("method") == "Log.entryAdded" and values["entry"]["level"] == "error":
            page.errors.append(values["entry"]["text"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._answers, 2**20)
            assert more, "Chromium ended"
            self._rest += more
        first, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        os.close(self._commands)
        os.close(self._answers)


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start Chromium; the test is skipped where it is not installed."""
    path = found_chromium()
    if path is None:
        pytest.skip("no Chromium: install the package chromium, or name the program in CHROMIUM")
    with tempfile.TemporaryDirectory(prefix="chromium_", ignore_cleanup_errors=True) as profile:
        browser = Chromium(path, profile)
        try:
            yield browser
        finally:
            browser.end()

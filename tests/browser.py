"""Drives a Chromium by the WebDriver protocol (W3C), over chromedriver. Needs Debian's chromium and chromium-driver."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_S

_SWITCHES = (
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id (WebDriver, section 12)
needs_chromium = pytest.mark.skipif(
    shutil.which("chromedriver") is None, reason="Chromium is not installed (Debian packages chromium, chromium-driver)"
)


class BrowserError(Exception):
    """The browser refused a command. The message is its reason."""


class Browser:
    """One window of a browser."""

    def __init__(self, port: int, profile: Path) -> None:
        self._port = port
        self._session = ""
        options = {"args": [*_SWITCHES, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            session = f"/session/{self._session}" if self._session else "/session"
            connection.request(method, session + path, json.dumps(body) if body is not None else None)
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise BrowserError(f"{path}: {value['error']}: {value['message']}")
        return value

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script as the body of a function, and return its result."""
        return self._call("POST", "/execute/sync", {"script": script, "args": arguments})

    def text(self, selector: str) -> str:
        """Return the text of an element as a person sees it."""
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def rows(self, selector: str) -> list[list[str]]:
        """Return the texts of the cells of a table's body."""
        script = (
            "return [...document.querySelector(arguments[0]).rows].map(row => [...row.cells].map(c => c.innerText))"
        )
        found: list[list[str]] = self.run(script, selector)
        return found

    def type(self, selector: str, text: str) -> None:
        """Type a text into an element."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{found[_ELEMENT]}/clear", {})
        self._call("POST", f"/element/{found[_ELEMENT]}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def dev_tools(self, command: str, **arguments: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": arguments})

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Set the size of the page, for example to the size of a phone's screen."""
        self.dev_tools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer light or dark colours."""
        self.dev_tools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self) -> bytes:
        """Return a picture of the whole page, as PNG."""
        taken = self.dev_tools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])

    def log(self) -> list[str]:
        """Return what the browser has logged since the last call: errors of scripts and violations of policies."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def close(self) -> None:
        """End the browser."""
        self._call("DELETE", "")


@contextmanager
def chromium(flags: Sequence[str] = ()) -> Iterator[Browser]:
    """Yield a new browser with an empty profile."""
    with (
        tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile,
        subprocess.Popen(
            ["chromedriver", "--port=0", *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as driver,
    ):
        try:
            assert driver.stdout is not None
            port = next(
                int(found[1]) for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line))
            )
            browser = Browser(port, Path(profile))
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.kill()

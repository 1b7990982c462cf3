"""Chromium without a window, driven over its pipe: opens pages of a folder that is served on this machine."""

from __future__ import annotations

import base64
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_LONGEST = 60.0  # seconds

_WITH_PIPES = """
import fcntl, os, sys
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, pipe in enumerate(high, 3):
    os.dup2(pipe, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Starts a program with two pipes as its files 3 and 4, where Chromium expects them."""


class Browser:
    """A tab. Messages of the DevTools protocol go through a pipe, each closed by a zero byte."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        program = [sys.executable, "-c", _WITH_PIPES, str(theirs_in), str(theirs_out), CHROMIUM, *words]
        self._process = subprocess.Popen(program, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number, self._session = b"", 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answer()
            if answer.get("id") == self._number:
                assert "result" in answer, answer
                return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, address: str, until: str) -> None:
        """Open a page and wait until an expression is true in it."""
        self.call("Page.navigate", url=address)
        self.wait(until)

    def wait(self, until: str) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + _LONGEST
        while not self.value(f"(() => {{ try {{ return Boolean({until}); }} catch {{ return false; }} }})()"):
            assert time.monotonic() < end, f"{until} did not come true: {self.value('document.body.innerText')}"
            time.sleep(0.05)

    def picture(self, path: Path, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        """Write a picture of the whole page at a width in pixels, as a PNG file."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Emulation.setTouchEmulationEnabled", enabled=width < 500)
        size = {"width": width, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", height=height, **size)
        whole = self.value("document.documentElement.scrollHeight")
        self.call("Emulation.setDeviceMetricsOverride", height=whole, **size)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the program."""
        os.close(self._out)
        os.close(self._in)
        self._process.terminate()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            assert more, "Chromium ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with an empty profile."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(Path(profile))
        try:
            yield opened
        finally:
            opened.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, served on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

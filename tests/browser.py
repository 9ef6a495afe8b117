"""Browser: a real headless Chromium, steered through a pipe by its own protocol (Chrome DevTools Protocol)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 120.0
_CODES = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40}


class Page:
    """A page of a browser. `problems` has the errors of its console and of its scripts."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._file = write, os.fdopen(read, "rb")
        self._number, self._session = 0, ""
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._ended, self._loads = False, 0
        self._pointer = [0, 0]
        self.problems: list[str] = []
        self.requested: list[str] = []
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def _listen(self) -> None:
        data = b""
        with self._file:
            while block := self._file.read1(1 << 16):
                *messages, data = (data + block).split(b"\0")
                for message in map(json.loads, messages):
                    with self._changed:
                        self._take(message)
                        self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        elif message["method"] == "Runtime.exceptionThrown":
            self.problems.append(str(message["params"]["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.problems.append(str(message["params"]["entry"]))
        elif message["method"] == "Page.loadEventFired":
            self._loads += 1
        elif message["method"] == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        with self._changed:
            self._number += 1
            number = self._number
            session = {"sessionId": self._session} if self._session else {}
            message = json.dumps({"id": number, "method": method, "params": params} | session).encode() + b"\0"
            os.write(self._write, message)
            assert self._changed.wait_for(lambda: number in self._answers or self._ended, SECONDS), method
            assert not self._ended, "the browser has ended"
            answer = self._answers.pop(number)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the window, and the colours that the user prefers."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go to an address of another document, and wait until it is loaded."""
        before = self._loads
        self._call("Page.navigate", url=url)
        with self._changed:
            assert self._changed.wait_for(lambda: self._loads > before or self._ended, SECONDS), url

    def run(self, script: str) -> Any:
        """The value of an expression in the page, for JSON; of a promise, once it is there."""
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.run(f"Boolean({script})"):
            assert time.monotonic() < end, f"{script}\n{self.problems}\n{self.run('document.body.innerText')}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press a key, such as "/" or "ArrowDown"."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        code = _CODES.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self._call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def click(self, script: str) -> None:
        """Click at an element with the mouse."""
        self.mouse_down(script)
        self.mouse_up()

    def mouse_down(self, script: str) -> None:
        """Press the button of the mouse at an element, once it no longer moves."""
        find_where = "e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect();"
        find_where += "const at = [b.x + b.width / 2, b.y + b.height / 2];"
        pause = "await new Promise((done) => setTimeout(done, 30));"
        turn = f"const e = {script}; {find_where} if (String(at) === last) return at; last = String(at); {pause}"
        self._pointer = self.run(f"(async () => {{ for (let last = ''; ;) {{ {turn} }} }})()")
        self._mouse("mousePressed")

    def mouse_up(self) -> None:
        """Release the button of the mouse."""
        self._mouse("mouseReleased")

    def _mouse(self, kind: str) -> None:
        x, y = self._pointer
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hide(self, hidden: bool) -> None:
        """Hide the page, as another tab would, or show it."""
        state = "hidden" if hidden else "visible"
        self.run(
            f"Object.defineProperty(document, 'hidden', {{value: {str(hidden).lower()}, configurable: true}});"
            f"Object.defineProperty(document, 'visibilityState', {{value: '{state}', configurable: true}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    def picture(self, path: Path) -> None:
        """Write a screenshot."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium with a profile of its own."""
    assert CHROMIUM is not None
    profile = tempfile.mkdtemp(prefix="slurm-browser-")
    to_browser, ours = os.pipe(), os.pipe()
    argv = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    argv += ["--disable-background-networking", f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    steps = f'exec 3<&{to_browser[0]} 4>&{ours[1]}; exec "$@"'
    process = subprocess.Popen(
        ["bash", "-c", steps, "bash", *argv],
        pass_fds=(to_browser[0], ours[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for descriptor in (to_browser[0], ours[1]):
        os.close(descriptor)
    page = None
    try:
        page = Page(to_browser[1], ours[0])
        yield page
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(to_browser[1])
        if page:
            page.listener.join(SECONDS)
        shutil.rmtree(profile, ignore_errors=True)

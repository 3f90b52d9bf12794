"""A real browser without a screen, driven over a pipe by the DevTools protocol."""

import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time

from conftest import PATIENCE_S

# The second is the same browser with a screen, which can do without.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")


class Browser:
    def __init__(self, process, commands, answers):
        self._process, self._commands, self._answers = process, commands, answers
        self._numbers, self._unread = itertools.count(1), b""

    def do(self, method, session=None, **params):
        """Gives the result of a command; events are passed over."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self, deadline, method):
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the browser gave no answer to {method} in {PATIENCE_S} s"
            read = os.read(self._answers, 65_536)
            assert read, f"the browser is gone: {self._process.poll()}"
            self._unread += read
        answer, _, self._unread = self._unread.partition(b"\0")
        return json.loads(answer)

    def open(self, url):
        """A new tab, when its page is there."""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, target, self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        tab.go(url)
        return tab

    def kill(self):
        """All of its processes, without a word to anybody."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(PATIENCE_S)


class Tab:
    def __init__(self, browser, target, session):
        self._browser, self._target, self._session = browser, target, session

    def go(self, url):
        self._browser.do("Page.navigate", self._session, url=url)
        self.run("new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))")

    def run(self, script):
        """The value of JavaScript; of a promise, what it is fulfilled with."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True}
        told = self._browser.do("Runtime.evaluate", self._session, **asked)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def close(self):
        self._browser.do("Target.closeTarget", targetId=self._target)


@contextlib.contextmanager
def run_browser(folder):
    """A browser with a profile of its own, which takes any certificate: whether ours is good is not asked here."""
    options = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--ignore-certificate-errors"]
    options += ["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # it refuses to run as root with one
    (read_by_it, commands), (answers, written_by_it) = os.pipe(), os.pipe()
    # It reads from 3 and writes to 4, which may be other files here.
    its = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (read_by_it, written_by_it)]
    command = ["bash", "-c", f'exec "$@" 3<&{its[0]} 4>&{its[1]}', "bash", CHROMIUM, *options]
    with open(folder / "stderr", "wb") as log:
        process = subprocess.Popen(command, pass_fds=its, stderr=log, stdout=log, start_new_session=True)
    for fd in (read_by_it, written_by_it, *its):
        os.close(fd)
    browser = Browser(process, commands, answers)
    try:
        yield browser
    finally:
        browser.kill()
        os.close(commands)
        os.close(answers)
        print((folder / "stderr").read_text(errors="replace"))

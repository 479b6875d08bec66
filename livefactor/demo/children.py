"""Other processes of the demo: started in sessions of their own, so that Ctrl-C reaches only their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from state.errors import LivefactorError

STOP_PATIENCE_S = 10.0
LOG_TAIL_BYTES = 2_000


class ChildFailedError(LivefactorError):
    """A process of the demo ended or did not get ready: the message holds the end of its log."""


class Child:
    """One `livefactor` command running in a process of its own; its output goes to a log file."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name, self._log = name, log
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("LIVEFACTOR_")
        }
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "livefactor.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
                text=True,
            )
        self._first_line = ""
        self._heard = threading.Event()
        threading.Thread(target=self._listen, name=f"output of {name}", daemon=True).start()

    @property
    def process_id(self) -> int:
        """Of the running process."""
        return self._process.pid

    def first_line(self, timeout_s: float) -> str:
        """The first line of its standard output. Raises ChildFailedError if it does not come in time."""
        deadline_s = time.monotonic() + timeout_s
        while not self._heard.wait(0.1):
            if time.monotonic() > deadline_s:
                raise ChildFailedError(f"the {self.name} said nothing for {timeout_s:.0f} s{self.log_tail()}")
        if not self._first_line:
            self.check()
        return self._first_line

    def check(self) -> None:
        """Raise ChildFailedError if the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise ChildFailedError(f"the {self.name} ended with exit code {code}{self.log_tail()}")

    def kill(self) -> None:
        """End it at once, as a power cut or the kernel would: SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises ChildFailedError if it runs on."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildFailedError(
                f"the {self.name} still runs after {timeout_s:.0f} s{self.log_tail()}"
            ) from None

    def stop(self) -> None:
        """End it in good order, or by force when it does not listen; nothing if it has ended."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not self._heard.is_set():
                self._first_line = line.strip()
                self._heard.set()
        self._heard.set()

    def log_tail(self) -> str:
        """The end of what it logged, to be appended to a message."""
        content = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
        return f"; the end of its log:\n{content}" if content else ""

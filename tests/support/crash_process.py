"""Starting, watching and killing learner processes."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from crash_learner import Order

REPOSITORY = Path(__file__).resolve().parents[2]
T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, deadline_s: float = 120.0) -> T:
    """Poll until the condition gives something true, and return that."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        select.select([], [], [], 0.002)
    return value


def spawn(script: str, *arguments: str, **streams: object) -> subprocess.Popen[str]:
    """Run a script of this folder with our packages importable."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "support")])
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, str(REPOSITORY / "tests" / "support" / script), *arguments],
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        **streams,
    )


def said_by(script: str, *arguments: str) -> list[str]:
    """The lines that a script of this folder prints; it has 240 s."""
    process = spawn(script, *arguments, stdout=subprocess.PIPE)
    try:
        said, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    return said.splitlines()


class Learner:
    """One learner in a Python of its own; its output is in the order's log."""

    def __init__(self, order: Order) -> None:
        self._log = Path(order.log)
        self._process = spawn(
            "crash_learner.py", order.to_json(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pid = self._process.pid

    def said(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait(self, deadline_s: float = 120.0) -> int:
        """Its exit code, negative for the signal that ended it."""
        return self._process.wait(deadline_s)

    def __enter__(self) -> "Learner":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


class Nursery:
    """Learners one after the other, forked from a process that is warm already."""

    def __init__(self) -> None:
        self._process = spawn("crash_learner.py", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._buffer = ""
        assert self._answer(120.0) == "ready"
        self.pid = 0

    def bear(self, order: Order) -> int:
        """Start a learner; its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.to_json() + "\n")
        self._process.stdin.flush()
        self.pid = int(self._answer(10.0).removeprefix("born "))
        return self.pid

    def kill(self) -> int:
        """SIGKILL the learner that lives, and its exit code: that of an earlier end, if there was one."""
        if not self.ended_within(0):
            os.kill(self.pid, signal.SIGKILL)
        return self.bury(10.0)

    def ended_within(self, seconds: float) -> bool:
        """Wait for so long at most; whether the learner has ended."""
        assert self._process.stdout is not None
        return bool(self._buffer or select.select([self._process.stdout], [], [], seconds)[0])

    def bury(self, deadline_s: float) -> int:
        """Wait for the end of the learner; its exit code, negative for a signal."""
        return int(self._answer(deadline_s).removeprefix("died "))

    def close(self) -> None:
        """End the nursery and with it the learner."""
        self._process.kill()
        self._process.wait()

    def _answer(self, deadline_s: float) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + deadline_s
        while "\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"the learner did not end within {deadline_s} s")
            read = os.read(self._process.stdout.fileno(), 4096).decode()
            assert read, "the nursery ended"
            self._buffer += read
        line, _, self._buffer = self._buffer.partition("\n")
        return line

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

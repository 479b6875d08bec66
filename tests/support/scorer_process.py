"""Starting, asking and stopping a scorer process."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Any

import grpc
from toy_model import BOUNDS, TOPIC

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 120.0


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Poll until the condition gives something true, and return that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        select.select([], [], [], 0.005)
    raise AssertionError(f"not within {seconds} s: {condition}")


def spawn(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a script of this folder with our packages importable."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests" / "support")])
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "support" / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
    )


def first_line(process: subprocess.Popen[str], seconds: float = START_S) -> str:
    """The first line a process prints; fails with what it said on standard error if there is none."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    line = process.stdout.readline().strip() if ready else ""
    if not line:
        process.kill()
        _, error = process.communicate()
        raise AssertionError(f"the process said nothing; standard error:\n{error}")
    return line


@contextmanager
def printing(*command: str, environment: Mapping[str, str] | None = None) -> Iterator[Callable[[], str]]:
    """The next line a command prints, each time this is called; it fails if there is none in time.

    The command, which may import our packages, runs until the block ends.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
    )
    printed: Queue[str] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            printed.put(line.rstrip("\n"))

    threading.Thread(target=read, daemon=True).start()
    try:
        yield lambda: printed.get(timeout=START_S)
    finally:
        process.kill()
        process.wait()


class ScorerProcess:
    """A scorer on a free port, ended with the block it is used in."""

    def __init__(self, directory: Path, **serving: Any) -> None:
        self.arguments = {
            "state": {"directory": str(directory), **BOUNDS},
            "serving": {"listen": "127.0.0.1:0", **serving},
            "model": {},
            "topic": TOPIC,
        }

    def __enter__(self) -> "ScorerProcess":
        self.process = spawn("run_scorer.py", json.dumps(self.arguments))
        self.address = f"127.0.0.1:{int(first_line(self.process))}"
        self.channel = grpc.insecure_channel(self.address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def terminate(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> tuple[int, str]:
        """Its exit code and what it said on standard error."""
        _, error = self.process.communicate(timeout=120)
        return self.process.returncode, error

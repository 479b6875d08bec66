"""Ends what a process started once that process has ended, however it ended.

What a process starts inherits its environment, so a mark in there finds children, their children, and
those in sessions of their own.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "STARTED_BY_TESTS"
PATIENCE_S = 10.0
_janitors: list[tuple[int, subprocess.Popen[bytes]]] = []


def clean_up_after_this_process() -> None:
    """Mark what this process starts from now on, and start the janitor that waits for its end."""
    mark = f":{os.getpid()}:"
    unmarked = dict(os.environ)
    os.environ[MARK] = os.environ.get(MARK, "") + mark
    end, life = os.pipe()
    janitor = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, mark], stdin=end, start_new_session=True, env=unmarked
    )
    os.close(end)
    _janitors.append((life, janitor))


def _marked(mark: str) -> Iterator[int]:
    """Process ids of those that carry the mark."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(each.startswith(f"{MARK}=".encode()) and mark.encode() in each for each in variables):
            yield int(folder.name)


def _main(mark: str) -> None:
    sys.stdin.buffer.read()
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := list(_marked(mark))) and time.monotonic() < deadline_s:
        for process_id in found:
            try:
                os.kill(process_id, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


if __name__ == "__main__":
    _main(sys.argv[1])

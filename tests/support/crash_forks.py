"""Lives of learners, each forked from this process once its kernels are loaded, that end at a named point."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from crash_history import batches, settings

from state.memory import MemoryStore
from state.rocksdb.writer import Probe
from stream.engine import Engine


def load_kernels(directory: Path, algorithm: str) -> None:
    """Learn a little without RocksDB, whose threads would not survive a fork."""
    Engine(settings(directory, algorithm), MemoryStore()).process([next(batches())])


def die_at(wanted: str, hit: int = 1) -> Probe:
    """Kill this process when it comes to a point for that time."""
    left = hit

    def probe(point: str) -> None:
        nonlocal left
        left -= point == wanted
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    return probe


def live(name: str, life: Callable[[], object]) -> None:
    """Lead a life in a child, and print how it ended: its name and its exit code."""
    child = os.fork()
    if child == 0:
        life()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(name, os.waitstatus_to_exitcode(status), flush=True)

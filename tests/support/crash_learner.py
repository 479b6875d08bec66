"""A real learner that can be told where to die.

    crash_learner.py '{"settings": ..., ...}'   one learner in this process
    crash_learner.py                            a nursery: one learner after the other, each forked

The nursery has imported everything and compiled the kernels before the first learner is born, so that a
thousand lives and deaths do not each pay for that; from the directory's lock on a learner is like any other.
It reads one order (JSON) a line, and answers with `born PID` and, when that process has ended, `died STATUS`.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import Any

from state.errors import LivefactorError
from stream.config import LearnerSettings
from stream.run import run_learner, warm_up

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Order:
    """How a learner is to live and die.

    `die_at`, `die_on_hit`: SIGKILL itself when it comes by the named point of the store for the n-th time.
    `file_bytes_max`: largest file it may write. `log`: where its output goes; empty for where ours goes.
    """

    settings: dict[str, Any]
    until_end: bool = False
    standby: bool = False
    die_at: str = ""
    die_on_hit: int = 1
    file_bytes_max: int = 0
    log: str = ""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


class Killer:
    """A probe that ends the process, unannounced, at the n-th hit of a point."""

    def __init__(self, point: str, hit: int) -> None:
        self._point, self._left = point, hit

    def __call__(self, point: str) -> None:
        """Die here, or go on."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def live(order: Order) -> int:
    """Run one learner; the exit code of its process."""
    if order.log:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
    if order.file_bytes_max:
        # RocksDB is to see an error from write(2), as it would on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes_max, resource.RLIM_INFINITY))
    try:
        run_learner(
            LearnerSettings.model_validate(order.settings),
            until_end=order.until_end,
            standby=order.standby,
            probe=Killer(order.die_at, order.die_on_hit),
        )
    except LivefactorError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def nursery() -> None:
    """Give life to one learner for each line of standard input."""
    for algorithm in ("als", "sgd"):
        warm_up(LearnerSettings.model_validate({"learning": {"algorithm": algorithm, "rank": 8}}))
    print("ready", flush=True)
    while line := sys.stdin.readline():
        order = Order(**json.loads(line))
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os._exit(live(order))
        print(f"born {child}", flush=True)
        _, status = os.waitpid(child, 0)
        print(f"died {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if len(sys.argv) > 1:
        sys.exit(live(Order(**json.loads(sys.argv[1]))))
    nursery()

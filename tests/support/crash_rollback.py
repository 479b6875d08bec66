"""Learners that go back to a version and die at named points, one after the other, each forked.

    crash_rollback.py DIRECTORY

DIRECTORY/asked is a store that has been asked to go back to `VERSION`; DIRECTORY/<point> is a copy of it
whose learner died when it came to that point of the rollback.
"""

import os
import shutil
import signal
import sys
from contextlib import closing
from pathlib import Path

from crash_history import batches, open_engine, settings
from pipeline import CONTROL, Feed, command

from protos.events_pb2 import COMMAND_ACTION_ROLLBACK
from state.memory import MemoryStore
from state.rocksdb.writer import Probe, RocksWriter, no_probe
from state.store import VersionId
from stream.control import rollback_in
from stream.engine import Engine
from stream.lineage.bases import keep_version
from stream.lineage.identity import identity
from stream.lineage.rollback import roll_back

ALGORITHM = "als"
POINTS = (
    "before_checkpoint",
    "after_checkpoint",
    "before_naming",
    "after_naming",
    "rollback_before_copy",
    "rollback_after_copy",
    "rollback_before_switch",
    "rollback_after_switch",
)
KEPT_AFTER, ASKED_AFTER = 60, 100
VERSION = VersionId(1, KEPT_AFTER)


def ask(directory: Path) -> None:
    """A store with a version, rows that are only in the journal, and a rollback to be carried out."""
    engine = open_engine(directory, ALGORITHM)
    with closing(engine.store):
        for records in list(batches())[:ASKED_AFTER]:
            if engine.process([records]).batch_seq == KEPT_AFTER:
                keep_version(engine, "test")
            if engine.store.head().batch_seq == KEPT_AFTER // 2:
                engine.flush()
        wanted = command(COMMAND_ACTION_ROLLBACK, version=str(VERSION))
        engine.process([Feed(CONTROL)(wanted)])
        assert engine.rollback is not None


def carry_out(directory: Path, probe: Probe = no_probe) -> None:
    """As a learner does that starts: what there is to be carried out, if there is anything."""
    chosen = settings(directory, ALGORITHM)
    store = RocksWriter(chosen.state, identity(chosen), tuning=chosen.rocksdb, probe=probe)
    with closing(store):
        if rollback_in(store.head()) is not None:
            roll_back(chosen, store, probe)


def _die_at(wanted: str) -> Probe:
    def probe(point: str) -> None:
        if point == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return probe


def main() -> None:
    """Let them live and die."""
    folder = Path(sys.argv[1])
    # RocksDB's threads would not survive the fork: the kernels are loaded without it.
    Engine(settings(folder, ALGORITHM), MemoryStore()).process([next(batches())])
    for name in ("asked", *POINTS):
        child = os.fork()
        if child == 0:
            if name == "asked":
                ask(folder / name)
            else:
                shutil.copytree(folder / "asked", folder / name)
                carry_out(folder / name, _die_at(name))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(name, os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()

"""Learners that go back to a version and die at named points, one after the other, each forked.

    crash_rollback.py DIRECTORY

DIRECTORY/asked is a store that has been asked to go back to `VERSION`; DIRECTORY/<point> is a copy of it
whose learner died when it came to that point of the rollback.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from crash_forks import die_at, live, load_kernels
from crash_history import batches, open_engine, settings
from pipeline import CONTROL, Feed, command

from protos.events_pb2 import COMMAND_ACTION_ROLLBACK
from state.rocksdb.writer import Probe, RocksWriter, no_probe
from state.store import TopicPartition, VersionId
from stream.control import rollback_in
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
        assert rollback_in(engine.store.head()) is not None


def no_limits(_: Sequence[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
    """Nothing is learnt again, so nobody asks."""
    raise AssertionError


def carry_out(directory: Path, probe: Probe = no_probe) -> None:
    """As a learner does that starts: what there is to be carried out, if there is anything."""
    chosen = settings(directory, ALGORITHM)
    store = RocksWriter(chosen.state, identity(chosen), tuning=chosen.rocksdb, probe=probe)
    with closing(store):
        if rollback_in(store.head()) is not None:
            roll_back(chosen, store, no_limits, probe)


def _ask_and_die(folder: Path, point: str) -> None:
    shutil.copytree(folder / "asked", folder / point)
    carry_out(folder / point, die_at(point))


def main() -> None:
    """Let them live and die."""
    folder = Path(sys.argv[1])
    load_kernels(folder, ALGORITHM)
    live("asked", partial(ask, folder / "asked"))
    for point in POINTS:
        live(point, partial(_ask_and_die, folder, point))


if __name__ == "__main__":
    main()

"""Learners that keep versions and die at named points, one after the other, each forked.

    crash_keeping.py DIRECTORY

DIRECTORY/<point>-<hit> is the store of the learner that died when it came to that point for that time; all
learn the stream of `crash_history`.
"""

import itertools
import sys
from functools import partial
from pathlib import Path

from crash_forks import die_at, live, load_kernels
from crash_history import FLUSH_EVERY, batches, open_engine

from stream.engine import Engine
from stream.lineage.bases import advance_version, begin_version

ALGORITHM = "als"
POINTS = (
    "before_checkpoint",
    "after_checkpoint",
    "before_naming",
    "after_naming",
    "before_prune",
    "after_prune",
)
HITS = (1, 4)
KEEP_EVERY, VERSIONS_KEPT = 15, 2


def learn(engine: Engine) -> None:
    """What is left of the stream, keeping a version every so often, and flushing at other times."""
    kept = engine.settings.state.model_copy(update={"versions_kept": VERSIONS_KEPT})
    engine.settings = engine.settings.model_copy(update={"state": kept})
    keeping = None
    for records in list(batches())[engine.store.head().batch_seq :]:
        number = engine.process([records]).batch_seq
        if number % KEEP_EVERY == 0 and keeping is None:
            keeping = begin_version(engine.settings, engine.store, "test")
        if keeping is not None and advance_version(engine, keeping):
            keeping = None
        if number % FLUSH_EVERY == 0:
            engine.begin_flush()
        engine.advance_flush()
    if keeping is not None:
        advance_version(engine, keeping, wait=True)


def _learn_and_die(directory: Path, point: str, hit: int) -> None:
    learn(open_engine(directory, ALGORITHM, die_at(point, hit)))


def main() -> None:
    """Let them live and die."""
    folder = Path(sys.argv[1])
    load_kernels(folder, ALGORITHM)
    for point, hit in itertools.product(POINTS, HITS):
        live(f"{point} {hit}", partial(_learn_and_die, folder / f"{point}-{hit}", point, hit))


if __name__ == "__main__":
    main()

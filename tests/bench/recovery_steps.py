"""The steps of a learner's start, one after the other, on a store that a SIGKILL left.

    python recovery_steps.py CONFIG

Prints {step: seconds}. Reading items and journal is timed by itself first, and then again as a part of
making the engine.
"""

import json
import sys
import time
from pathlib import Path

START_S = time.perf_counter()


class Steps:
    """A stop-watch."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_s = START_S

    def done(self, name: str) -> None:
        now_s = time.perf_counter()
        self.seconds[name] = round(now_s - self._last_s, 3)
        self._last_s = now_s


def main(config: str) -> None:
    steps = Steps()
    from livefactor.settings import load

    settings = load(Path(config), {})
    steps.done("import and read the settings")
    from state.codec import ITEM
    from state.memory import MemoryStore
    from state.rocksdb.writer import RocksWriter
    from stream.engine import Engine
    from stream.lineage.identity import identity
    from stream.run import open_source, warm_up

    steps.done("import the learner")
    store = RocksWriter(settings.state, identity(settings))
    steps.done("open RocksDB, replay its log")
    items = sum(len(rows) for rows in store.scan(ITEM))
    steps.done(f"read {items:,} items")
    rows = sum(len(rows) for entry in store.journal(store.head().flushed_through) for rows in entry.rows)
    steps.done(f"read {rows:,} rows of the journal")
    Engine(settings, MemoryStore())
    steps.done("make an empty engine")
    warm_up(settings)
    steps.done("load the kernels: learn one event")
    engine = Engine(settings, store)
    steps.done("make the engine: read items and journal, enter their rows")
    source = open_source(settings)
    source.limits(source.partitions())
    steps.done("ask the broker for partitions and limits")
    source.assign(dict(store.head().offsets))
    while not (polled := source.poll(settings.learning.batch_records, settings.learning.poll_timeout_ms)):
        pass
    steps.done("first records")
    report = engine.process(polled)
    steps.done(f"learn and commit {report.records:,} records")
    source.close()
    print(json.dumps(steps.seconds))


if __name__ == "__main__":
    main(sys.argv[1])

"""Keeping a version of a million rows: how long the learner pauses.

    python tests/bench/bench_checkpoint.py --rows 100000 --versions 2

A store has so many rows, of the size that users have with 32 factors and full histories. Sixty times a second
a micro-batch of 500 rows is committed, as at 30,000 events/s, and flushed as a learner flushes; between them
the processor is kept busy, as by learning. Versions are kept meanwhile, at random moments. The pause is the
longest step of keeping one, for which learning waits. Beside it stand the longest commits while a version was
on its way and while none was: a commit that syncs waits for the disk, now and then for long. So
the median of the versions counts.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from state.arrays import I64
from state.config import StateConfig
from state.rocksdb.writer import RocksWriter
from state.store import Commit, Flush, Keeping, Rows, Version, VersionId

KIND, ROW_BYTES, BATCH_ROWS, BLOCK_ROWS = 200, 1_000, 500, 100_000
FLUSH_EVERY, FLUSH_SLICE = 400, 2_000
SEED, COMMITS_PER_S = 1, 60


class Busy:
    """A store into which micro-batches go, and when each was committed."""

    def __init__(self, directory: Path, rows: int) -> None:
        self.random, self._rows = np.random.default_rng(SEED), rows
        self.store = RocksWriter(StateConfig(directory=directory), {})
        self._dirty: list[Rows] = []
        self._flush: Flush | None = None
        for first in range(0, rows, BLOCK_ROWS):
            block = self._block(np.arange(first, min(first + BLOCK_ROWS, rows)))
            self.store.commit(Commit(self._next(), ()))
            flush = self.store.begin_flush([block], {}, self.store.head().batch_seq)
            while not flush.advance(BLOCK_ROWS):
                pass

    def commit(self) -> None:
        """One micro-batch."""
        rows = self._block(np.unique(self.random.integers(self._rows, size=BATCH_ROWS)))
        self.store.commit(Commit(self._next(), (rows,)))
        self._dirty.append(rows)

    def flush(self) -> None:
        """A slice of a flush, if there is one."""
        if self._flush is None and len(self._dirty) >= FLUSH_EVERY:
            self._flush = self.store.begin_flush([_latest(self._dirty)], {}, self.store.head().batch_seq)
            self._dirty = []
        if self._flush is not None and self._flush.advance(FLUSH_SLICE):
            self._flush = None

    def version(self) -> Version:
        """The present state as one."""
        head = self.store.head()
        return Version(VersionId(1, head.batch_seq), head.version, "bench", 0, None, head.offsets)

    def _next(self) -> int:
        return self.store.head().batch_seq + 1

    def _block(self, ordinals: I64) -> Rows:
        data = self.random.integers(0, 256, len(ordinals) * ROW_BYTES, dtype=np.uint8)
        return Rows(KIND, ordinals, np.arange(len(ordinals) + 1) * ROW_BYTES, data)


def _latest(blocks: list[Rows]) -> Rows:
    """One block with the last value of each row."""
    ordinals = np.concatenate([block.ordinals for block in blocks])
    data = np.concatenate([block.data.reshape(-1, ROW_BYTES) for block in blocks])
    _, last = np.unique(ordinals[::-1], return_index=True)
    chosen = len(ordinals) - 1 - last
    return Rows(KIND, ordinals[chosen], np.arange(len(chosen) + 1) * ROW_BYTES, data[chosen].reshape(-1))


class Longest(NamedTuple):
    """The longest commit and the longest step of keeping a version, and how long all took, in seconds."""

    commit_s: float
    step_s: float
    whole_s: float


def longest(busy: Busy, batches: int, keeping: Keeping | None = None) -> Longest:
    """Commit until the version is kept, or so many micro-batches where none is."""
    commit_s, step_s, began_s = 0.0, 0.0, time.perf_counter()
    kept = False
    while not kept and (keeping is not None or batches):
        due_s = time.perf_counter()
        busy.commit()
        committed_s = time.perf_counter()
        kept = keeping is not None and keeping.advance()
        step_s = max(step_s, time.perf_counter() - committed_s)
        commit_s = max(commit_s, committed_s - due_s)
        busy.flush()
        while time.perf_counter() < due_s + 1 / COMMITS_PER_S:
            pass
        batches -= 1
    return Longest(commit_s, step_s, time.perf_counter() - began_s)


def _ms(seconds: list[float]) -> list[int]:
    return [round(each * 1e3) for each in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=10)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="livefactor-bench-") as folder:
        busy = Busy(Path(folder), wanted.rows)
        alone, keeping = [], []
        for _ in range(wanted.versions):
            alone.append(longest(busy, int(busy.random.integers(100, 1_000))))
            keeping.append(longest(busy, 0, busy.store.begin_keep(busy.version)))
            busy.store.prune_versions(2)
        busy.store.close()
    pauses = [each.step_s for each in keeping]
    detail = {
        "rows": wanted.rows,
        "pauses_ms": _ms(pauses),
        "commits_meanwhile_ms": _ms([each.commit_s for each in keeping]),
        "commits_alone_ms": _ms([each.commit_s for each in alone]),
        "until_kept_ms": _ms([each.whole_s for each in keeping]),
    }
    print(
        json.dumps(
            [
                {
                    "figure": "longest pause for a version of 1 M rows, ms",
                    "ratio": statistics.median(pauses) * 1e3,
                    "must": 200,
                    "aim": 50,
                    "detail": detail,
                }
            ]
        )
    )


if __name__ == "__main__":
    main()

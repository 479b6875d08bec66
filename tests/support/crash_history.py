"""A model that learns a seeded stream without a broker, notes what it was after each micro-batch, and dies.

    crash_history.py DIRECTORY ALGORITHM NOTES

NOTES (JSON): the digest after every micro-batch, and the sizes of the write-ahead logs when they were last
synced, with the micro-batch that stood then.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crash_stream
import numpy as np
from crash_stream import Event, Made

from state.digest import digest
from state.rocksdb.writer import RocksWriter
from stream.config import LearnerSettings
from stream.engine import Engine
from stream.events import Records
from stream.lineage.identity import identity

BATCHES, BATCH_RECORDS, FLUSH_EVERY, PARTITIONS = 150, 15, 40, 4
TIMESTAMP_MS = 1_700_000_000_000
# For als, so much that the last log holds a dozen of the micro-batches (40 kB each) but is not the first.
WAL_BYTES_MAX = {"als": 800_000, "sgd": 8_000_000}


def settings(directory: Path, algorithm: str, history_max: int = 8) -> LearnerSettings:
    """Syncs happen at flushes only; logs change often."""
    return LearnerSettings.model_validate(
        {
            "learning": {"algorithm": algorithm, "strength": "value", "rank": 8},
            "prequential": {"sample_every": 5, "window_events": 50},
            "decode": {"event_ids_kept": 40},
            "state": {
                "directory": str(directory),
                "rows_max": 1_000,
                "items_max": 700,
                "history_max": history_max,
                "sync": "never",
                "journal_keep_ms": 0,
            },
            "rocksdb": {"max_total_wal_size": WAL_BYTES_MAX[algorithm]},
        }
    )


def open_engine(directory: Path, algorithm: str, probe: Any = lambda point: None) -> Engine:
    """The model on what the directory holds."""
    chosen = settings(directory, algorithm)
    return Engine(chosen, RocksWriter(chosen.state, identity(chosen), tuning=chosen.rocksdb, probe=probe))


def batches(seed: int = 1) -> Iterator[Records]:
    """The stream as micro-batches; number i is micro-batch i + 1 of the model."""
    return (records for records, _ in batches_with_meaning(seed))


def batches_with_meaning(seed: int) -> Iterator[tuple[Records, list[tuple[int, Event]]]]:
    """Micro-batches, each with the interactions in it and their partitions, in order."""
    stream = crash_stream.records(seed)
    following = [0] * PARTITIONS
    for _ in range(BATCHES):
        placed: list[tuple[int, int, Made]] = []
        for made in itertools.islice(stream, BATCH_RECORDS):
            partition = zlib.crc32(made.key or b"") % PARTITIONS
            placed.append((partition, following[partition], made))
            following[partition] += 1
        placed.sort(key=lambda place: place[:2])
        records = Records(
            "livefactor.interactions.v1",
            [made.value for _, _, made in placed],
            [made.key for _, _, made in placed],
            [None] * len(placed),
            np.array([partition for partition, _, _ in placed], np.int32),
            np.array([offset for _, offset, _ in placed], np.int64),
            np.full(len(placed), TIMESTAMP_MS, np.int64),
        )
        yield records, [(partition, event) for partition, _, made in placed for event in made.events or ()]


def log_sizes(database: Path) -> dict[str, int]:
    """Bytes of each write-ahead log; one that RocksDB deletes meanwhile is no longer needed, so left out."""
    sizes = {}
    for path in database.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            sizes[path.name] = path.stat().st_size
    return sizes


def main() -> None:
    """Learn, take notes, die."""
    directory, algorithm, notes = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    synced: dict[str, Any] = {"sizes": {}, "batch_seq": 0}

    def note(point: str) -> None:
        if point == "before_flush":
            synced["sizes"] = log_sizes(engine.store.path)  # type: ignore[attr-defined]
            synced["batch_seq"] = engine.store.head().batch_seq

    engine = open_engine(directory, algorithm, note)
    digests = [digest(engine.store)]
    for number, records in enumerate(batches(), 1):
        engine.process([records])
        digests.append(digest(engine.store))
        if number % FLUSH_EVERY == 0:
            engine.begin_flush()
        engine.advance_flush()
    notes.write_text(json.dumps({"digests": digests, "synced": synced}))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

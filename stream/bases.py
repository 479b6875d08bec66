"""Bases: the states from which the log can be replayed, and the schedule that says how."""

from collections.abc import Mapping

from state.store import Commit, TopicPartition
from stream.engine import Engine

START = "start"
BATCH = "batch"


def begin(
    engine: Engine, positions: Mapping[TopicPartition, int], fingerprint: str, settings: Mapping[str, object]
) -> None:
    """Record the beginning of a run in the schedule.

    1. If the last run had another fingerprint, flush and keep the state as a version: the new base.
    2. Commit a schedule entry with the fingerprint and with the offsets from which this run reads, and every
       global array, so that the journal of a new store lacks none.
    """
    head = engine.store.head()
    previous = last_fingerprint(engine)
    if previous not in (None, fingerprint):
        engine.flush()
        engine.store.checkpoint(
            str(head.batch_seq),
            {
                "version": str(head.batch_seq),
                "batch_seq": head.batch_seq,
                "generation": head.generation,
                "parent": head.version,
                "reason": "fingerprint changed",
                "fingerprint": previous,
                "positions": [
                    [topic, partition, offset] for (topic, partition), offset in sorted(head.offsets.items())
                ],
            },
        )
    engine.store.commit(
        Commit(
            head.batch_seq + 1,
            engine.model.pack_globals(),
            offsets=dict(positions),
            schedule={
                "kind": START,
                "fingerprint": fingerprint,
                "settings": settings,
                "positions": [
                    [topic, partition, offset] for (topic, partition), offset in sorted(positions.items())
                ],
            },
            memo={"fingerprint": fingerprint.encode()},
        )
    )


def last_fingerprint(engine: Engine) -> str | None:
    """What the last run was made with; None in a new store."""
    memo = engine.store.head().memo.get("fingerprint")
    return memo.decode() if memo else None

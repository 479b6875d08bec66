"""Bases: the states from which the log can be learnt again, and the schedule that says how."""

import time
from collections.abc import Mapping

from state.store import (
    FINGERPRINT_MEMO,
    LOG_MEMO,
    PREQUENTIAL_MEMO,
    SCORING_MEMO,
    Commit,
    Head,
    Keeping,
    TopicPartition,
    Version,
    VersionId,
    Writer,
)
from stream.config import LearnerSettings
from stream.engine import Engine
from stream.evaluation.prequential import Prequential
from stream.lineage.fingerprint import learnt_settings
from stream.source import LogIdentity

START = "start"
"""Kind of the schedule entry that begins a run."""

PASS = "pass"
"""Kind of the schedule entry that moves offsets past what is no record."""


def begin(
    engine: Engine,
    positions: Mapping[TopicPartition, int],
    fingerprint: str,
    settings: Mapping[str, object],
    log: LogIdentity,
) -> None:
    """Record the beginning of a run in the schedule.

    1. If the last run had another fingerprint or log, or the state comes from another generation, keep it as
       a version: the new base.
    2. Commit a schedule entry with the fingerprint, the log and the offsets from which this run reads; every
       global array, so that the journal of a new store lacks none; and what scorers must know.
    """
    head = engine.store.head()
    previous, changes = last_fingerprint(head), stored_log(head).changes(log)
    if head.version.generation != head.generation:
        keep_version(engine, f"rolled back to {head.version}")
    elif previous not in (None, fingerprint):
        keep_version(engine, "fingerprint changed")
    elif changes:
        keep_version(engine, "log changed")
    anew = "" in changes or engine.settings.topics.interactions in changes
    engine.store.commit(
        Commit(
            head.batch_seq + 1,
            (engine.model.globals.changed_since(0),),
            offsets=dict(positions),
            schedule={
                "kind": START,
                "fingerprint": fingerprint,
                "settings": settings,
                "positions": _triples(positions),
                "log": log.pack().decode(),
            },
            memo={
                FINGERPRINT_MEMO: fingerprint.encode(),
                LOG_MEMO: log.pack(),
                SCORING_MEMO: engine.settings.scoring.pack(),
                **engine.begin_reading(positions, anew=anew),
            },
        )
    )


def pass_over(engine: Engine, positions: Mapping[TopicPartition, int]) -> None:
    """Move the offsets past what is no record, such as the marker that ends a transaction."""
    head = engine.store.head()
    schedule = {"kind": PASS, "through": _triples(positions)}
    engine.store.commit(Commit(head.batch_seq + 1, (), dict(positions), schedule))


def version_is_due(engine: Engine) -> bool:
    """Whether the newest version is so old that another must be kept."""
    head = engine.store.head()
    return head.batch_seq - head.version.batch_seq >= engine.settings.state.base_interval_batches


def keep_version(engine: Engine, reason: str) -> None:
    """Keep the state, so that the log can be learnt again from here; drop the oldest versions."""
    advance_version(engine, begin_version(engine.settings, engine.store, reason), wait=True)


def begin_version(settings: LearnerSettings, store: Writer, reason: str) -> Keeping:
    """Start keeping the state of a store; `advance_version` goes on with it."""
    return store.begin_keep(lambda: _version(settings, store.head(), reason))


def advance_version(engine: Engine, keeping: Keeping, *, wait: bool = False) -> bool:
    """See `Keeping.advance`; once the version is kept the oldest are dropped."""
    if not keeping.advance(wait=wait):
        return False
    engine.store.prune_versions(engine.settings.state.versions_kept)
    return True


def _version(settings: LearnerSettings, head: Head, reason: str) -> Version:
    """The present state as one."""
    return Version(
        VersionId(head.generation, head.batch_seq),
        head.version,
        reason,
        time.time_ns() // 1_000_000,
        last_fingerprint(head),
        head.offsets,
        learnt_settings(settings),
        metrics_of(settings, head),
    )


def metrics_of(settings: LearnerSettings, head: Head) -> Mapping[str, object]:
    """What was measured in the last window."""
    prequential = Prequential(settings.prequential, settings.learning, blends=settings.blends)
    prequential.restore(head.memo.get(PREQUENTIAL_MEMO, b"{}"))
    return prequential.latest()


def _triples(positions: Mapping[TopicPartition, int]) -> list[tuple[str, int, int]]:
    return [(topic, partition, offset) for (topic, partition), offset in sorted(positions.items())]


def stored_log(head: Head) -> LogIdentity:
    """Which log the offsets are of; a store that knows nothing of it takes any."""
    return LogIdentity.restore(head.memo.get(LOG_MEMO, b""))


def last_fingerprint(head: Head) -> str | None:
    """What the last run was made with; None in a new store."""
    memo = head.memo.get(FINGERPRINT_MEMO)
    return memo.decode() if memo else None

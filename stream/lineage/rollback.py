"""Rollback: the rows of a version go on as a new generation of the store.

It is asked for by a command, which the micro-batch that read it left in a memo, and is carried out between
two lives of the learner:

    1. beside the store, make a database from that of the version
    2. keep the present state as a version, so that one can go back from where one went back
    3. add to the database what must not be forgotten, and from where the log is to be read
    4. move it in as the next generation, and point to it

A crash before the last step leaves the store as it was, and the memo: the next learner begins again. What
cannot be done is answered, and the store goes on as it was.
"""

import shutil
import time
from contextlib import closing
from pathlib import Path

import structlog

from protos.events_pb2 import Command
from state import kinds
from state.errors import LivefactorError, StoreCorruptError
from state.event_ids import EventIds
from state.rocksdb.database import named_error
from state.rocksdb.directory import Directory
from state.rocksdb.versions import Versions
from state.rocksdb.writer import Probe, RocksWriter
from state.store import (
    CONTROL_MEMO,
    DRIFT_EVENTS_MEMO,
    LOG_MEMO,
    ROLLBACK_MEMO,
    Commit,
    Reader,
    Rows,
    Version,
    VersionId,
    Writer,
    rows_of,
)
from stream.config import LearnerSettings
from stream.control import Control, answer, offsets_in, rollback_in
from stream.drift.announcement import announce_rollback
from stream.drift.telling import kept_in, outgoing, with_raised
from stream.engine import Engine
from stream.lineage.bases import PASS, begin_version
from stream.lineage.identity import identity
from stream.lineage.onward import Limits, Onward, excluded_by, go_on, version_before

ROLLBACK = "rollback"
"""Kind of the schedule entry that begins a generation."""

log = structlog.get_logger("livefactor.learner")


def roll_back(settings: LearnerSettings, store: Writer, limits: Limits, probe: Probe) -> None:
    """Carry out the rollback that the store's head asks for, or answer why that cannot be done.

    The directory has another generation then, or the store another head. `limits` as in
    `stream.source.Source`: what can be learnt again.
    """
    command = rollback_in(store.head())
    assert command is not None
    log.info("rolling back", version=command.version or "the newest that will do", reason=command.reason)
    aside = Directory(settings.state.directory).successor
    try:
        _make_generation(settings, store, command, limits, aside, probe)
    except Exception as error:
        # Whatever it is, it must not keep the next learner from learning.
        named = named_error(error, aside) if isinstance(error, OSError) else error
        problem = str(named) if isinstance(named, LivefactorError) else f"{type(named).__name__}: {named}"
        log.warning("not rolled back", problem=problem, exc_info=not isinstance(named, LivefactorError))
        _abandon(settings, store, command, problem)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _make_generation(
    settings: LearnerSettings, store: Writer, command: Command, limits: Limits, aside: Path, probe: Probe
) -> None:
    directory = Directory(settings.state.directory)
    versions, head = Versions(directory), store.head()
    excluded = excluded_by(settings, head, command)
    if command.version:
        wanted = VersionId.parse(command.version)
    else:
        wanted = version_before(settings, head, versions.all(), excluded)
    version = _find(versions, wanted)
    probe("rollback_before_copy")
    aside.mkdir()
    database = Directory(aside).adopt(versions.database(version))
    probe("rollback_after_copy")
    there = settings.aside(aside)
    with closing(RocksWriter(there.state, identity(there), tuning=there.rocksdb)) as successor:
        Engine(there, successor).flush()
        onward = go_on(settings, head, version, successor.head(), command, excluded, limits)
        begin_version(settings, store, f"before going back to {version.id}").advance(wait=True)
        successor.begin_generation(store.head(), version.id)
        successor.commit(_carried_over(settings, store, command, onward))
        successor.sync()
    probe("rollback_before_switch")
    directory.succeed(database)
    probe("rollback_after_switch")


def _find(versions: Versions, wanted: VersionId) -> Version:
    """The version, whole. Raises StoreCorruptError where it is not, with the next older one."""
    version = versions.find(wanted)
    try:
        versions.check(version)
    except StoreCorruptError as error:
        older = [each.id for each in versions.all() if each.id.batch_seq < wanted.batch_seq]
        advice = f"; the next older version is {older[-1]}" if older else ""
        raise StoreCorruptError(f"{error}{advice}") from error
    return version


def _carried_over(settings: LearnerSettings, store: Writer, command: Command, onward: Onward) -> Commit:
    """What must not be forgotten: what commands have set, drift events, and the outbox; ids of events, unless
    those are to be learnt again.

    What was measured of the model that is left, and the evidence against it, stays behind.
    """
    head, version = store.head(), onward.version
    batch_seq = head.batch_seq + 1
    event = announce_rollback(
        settings.model.name,
        settings.topics.interactions,
        VersionId(head.generation + 1, batch_seq),
        time.time_ns() // 1_000_000,
        version.id,
        {} if version.imported else offsets_in(settings.topics.interactions, version.positions),
        f"{onward.message} ({command.reason})" if command.reason else onward.message,
    )
    memo = {
        DRIFT_EVENTS_MEMO: with_raised(kept_in(head.memo), (event,)).SerializeToString(),
        CONTROL_MEMO: onward.control.pack(),
        ROLLBACK_MEMO: b"",
    }
    if LOG_MEMO in head.memo:
        memo[LOG_MEMO] = head.memo[LOG_MEMO]
    return Commit(
        batch_seq,
        () if onward.replays else (_event_ids(store, settings.decode.event_ids_kept),),
        onward.offsets,
        schedule={"kind": ROLLBACK, "version": str(version.id)},
        memo=memo,
        outbox=(
            *(record for _, record in store.outbox()),
            *outgoing((event,), settings),
            answer(command, onward.control, True, onward.message, settings.topics.drift, batch_seq),
        ),
    )


def _event_ids(reader: Reader, kept: int) -> Rows:
    """The rings of ids, as far as the journal goes."""
    rings = EventIds(kept)
    for rows in rows_of(reader, kinds.EVENT_IDS.code):
        rings.apply(rows)
    return rings.changed_since(0)


def _abandon(settings: LearnerSettings, store: Writer, command: Command, problem: str) -> None:
    """Answer a command that cannot be carried out; the store goes on as it was."""
    head = store.head()
    control, batch_seq = Control.restore(head.memo.get(CONTROL_MEMO, b"")), head.batch_seq + 1
    store.commit(
        Commit(
            batch_seq,
            schedule={"kind": PASS, "through": []},
            memo={ROLLBACK_MEMO: b""},
            outbox=(answer(command, control, False, problem, settings.topics.drift, batch_seq),),
        )
    )

"""A rollback: the rows of a version go on as another generation, and nothing that must stay is lost."""

import shutil
from contextlib import closing

import pytest
from memory_learner import LastingLearner
from pipeline import CONTROL, INTERACTIONS, command, event, keep_version

from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_ROLLBACK,
    DRIFT_ACTION_NONE,
    CommandResult,
    DriftEvent,
)
from state import kinds
from state.digest import digest
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.store import CONTROL_MEMO, Commit, VersionId
from stream.control import Control, offsets_in
from stream.lineage.identity import identity

SECTIONS = {
    "state": {
        "rows_max": 1_000,
        "items_max": 700,
        "history_max": 12,
    },
    "decode": {"event_ids_kept": 50},
}


@pytest.fixture
def place(tmp_path):
    """A store with two versions, and more events after each."""
    learner = LastingLearner(tmp_path, **SECTIONS)
    for start in (0, 40, 80):
        if start:
            keep_version(learner.settings)
        for n in range(start, start + 40):
            value = event(f"u{n % 20}", f"i{n % 7}", event_id=f"e{n}")
            learner.log.append(INTERACTIONS, n % 3, value, b"k")
        learner.learn()
    return learner


def versions_of(place):
    return Versions(Directory(place.settings.state.directory))


def look(place, version=None):
    """A view of the store, or of a version."""
    database = None if version is None else versions_of(place).database(version)
    return closing(RocksReader(place.settings.state.directory, database))


def rows_of(reader, *wanted):
    """Every row of some kinds."""
    return {
        (kind.code, ordinal): block.row(i)
        for kind in wanted
        for block in reader.scan(kind.code)
        for i, ordinal in enumerate(block.ordinals.tolist())
    }


LEARNT = (kinds.USERS, kinds.ITEMS, kinds.GLOBALS, kinds.NEIGHBOURS)


def test_the_rows_are_those_of_the_version_and_everything_else_goes_on(place):
    version = versions_of(place).all()[0]
    with look(place) as reader:
        before = reader.head()
        newer = rows_of(reader, *LEARNT)
    answer = place.roll_back(version.id)
    assert (answer.applied, answer.message) == (True, f"went back to {version.id}")
    with look(place, version) as old, look(place) as reader:
        head = reader.head()
        assert (head.generation, head.version) == (2, version.id)
        assert answer.batch_seq == head.batch_seq > before.batch_seq
        assert offsets_in(INTERACTIONS, head.offsets) == offsets_in(INTERACTIONS, before.offsets)
        assert rows_of(reader, *LEARNT) == rows_of(old, *LEARNT) != newer
        assert not list(reader.journal(head.batch_seq))
    place.publish(30, start=120)
    engine = place.learn()
    assert engine.store.head().batch_seq > head.batch_seq
    assert [each.command_id for each in place.told(CommandResult)] == ["c1"], "answered once"
    [event] = place.told(DriftEvent)
    assert (event.reason, event.version, event.message) == ("rolled_back", str(version.id), answer.message)
    assert event.action == DRIFT_ACTION_NONE
    told = {each.partition: each.offset for each in event.positions}
    assert told == offsets_in(INTERACTIONS, version.positions)
    assert list(engine.monitor.kept.events) == [event]
    verdict = place.verify()
    assert (verdict.agrees, verdict.batches > 0) == (True, True), verdict
    [kept] = [each for each in versions_of(place).all() if each.id.generation == 2][:1]
    assert (kept.reason, kept.parent) == (f"rolled back to {version.id}", version.id)


def test_events_that_were_learnt_are_known_although_what_they_taught_is_not(place):
    place.roll_back(versions_of(place).all()[0].id)
    place.log.append(INTERACTIONS, 119 % 3, event("u1", "new", event_id="e119"), b"k")
    place.log.append(INTERACTIONS, 119 % 3, event("u1", "newer", event_id="e120"), b"k")
    engine = place.learn()
    assert engine.model.items.find_ids([b"new", b"newer"]).tolist()[0] == -1
    assert engine.model.items.find_ids([b"newer"])[0] >= 0


def test_a_pause_ends_and_a_freeze_stays(place):
    version = versions_of(place).all()[0]
    place.command(COMMAND_ACTION_FREEZE)
    place.learn()
    with closing(RocksWriter(place.settings.state, identity(place.settings))) as store:
        head = store.head()
        control = Control.restore(head.memo[CONTROL_MEMO]).stop({}, paused="item_pumped")
        store.commit(Commit(head.batch_seq + 1, memo={CONTROL_MEMO: control.pack()}))
    assert place.roll_back(version.id, "c2").frozen
    control = place.learn().control
    assert (control.frozen, control.paused) == (True, "")


def test_one_can_go_back_from_where_one_went_back(place):
    with look(place) as reader:
        newer = rows_of(reader, *LEARNT)
    place.roll_back(versions_of(place).all()[0].id)
    [before] = [each for each in versions_of(place).all() if each.reason.startswith("before going back")]
    assert place.roll_back(before.id, "c2").applied
    with look(place) as reader:
        assert reader.head().generation == 3
        assert rows_of(reader, *LEARNT) == newer
    place.learn()
    assert place.verify().agrees
    generations = [path.name for path in place.settings.state.directory.glob("generation-*")]
    assert len(generations) == 1, "others are deleted when a learner starts"


def test_what_waits_in_the_outbox_is_carried_over(place):
    place.log.append(INTERACTIONS, 0, b"\xff", b"k")
    assert place.roll_back(versions_of(place).all()[0].id).applied
    assert place.dead() == [], "it was learnt from, and nothing has been sent since"
    place.learn()
    assert len(place.dead()) == 1


def refused(place, version):
    """What is answered; the store goes on as it was."""
    with look(place) as reader:
        rows = rows_of(reader, *LEARNT)
    answer = place.roll_back(version)
    assert not answer.applied
    with look(place) as reader:
        assert reader.head().generation == 1
        assert rows_of(reader, *LEARNT) == rows
    assert not Directory(place.settings.state.directory).successor.exists()
    place.publish(9, start=200)
    place.learn()
    assert place.verify().agrees
    return answer.message


def test_a_version_that_is_not_kept(place):
    assert "version g1.999 is not kept" in refused(place, VersionId(1, 999))


def test_a_damaged_version_is_named_with_the_next_older(place):
    older, damaged = versions_of(place).all()[-2:]
    file = min(versions_of(place).database(damaged).glob("*.sst"))
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1])
    said = refused(place, damaged.id)
    assert f"{file.name} is not the file that was kept" in said
    assert f"the next older version is {older.id}" in said


def test_a_full_disk(place, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    assert "no room on the disk" in refused(place, versions_of(place).all()[0].id)


def test_what_nobody_thought_of(place, monkeypatch):
    """It is answered as well, and does not keep the next learner from learning."""

    def broken(*_):
        raise ValueError("a row of another shape")

    monkeypatch.setattr("stream.lineage.rollback.Engine", broken)
    said = refused(place, versions_of(place).all()[0].id)
    assert said == "ValueError: a row of another shape"


def test_what_is_no_version_is_answered_at_once(place):
    with look(place) as reader:
        before = digest(reader)
    place.log.append(CONTROL, 0, command(COMMAND_ACTION_ROLLBACK, version="the good one"), b"k")
    place.learn()
    [answer] = place.told(CommandResult)
    assert not answer.applied
    assert "'the good one' is no version" in answer.message
    with look(place) as reader:
        assert reader.head().generation == 1
        assert before != digest(reader), "the offset of the command is stored"

"""The learner's shell on a log in memory: where it starts, when it waits, what it never loses."""

import threading
import time

import numpy as np
import pytest
from memory_learner import Learner
from memory_log import MemorySink, MemorySource
from pipeline import CONTROL, DRIFT, INTERACTIONS, command, event, in_directory, small_settings
from structlog.testing import capture_logs

from protos.events_pb2 import COMMAND_ACTION_FREEZE, CommandResult
from state.errors import (
    LogChangedError,
    OffsetAheadError,
    OffsetExpiredError,
    PartitionsChangedError,
    TopicMissingError,
    TransactionOpenError,
)
from state.evidence import OUTGROWN
from state.rocksdb.directory import Directory
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.store import LOG_MEMO, Commit, TopicPartition
from stream import loop as loop_module
from stream.effects import Counts
from stream.lineage.bases import START
from stream.lineage.identity import identity
from stream.loop import Pulse, starting_positions

DEADLINE_S = 20


class Running:
    """A loop in a thread, stopped at the end whatever happens; its error is raised."""

    def __init__(self, loop):
        self.loop, self.stop, self.error = loop, threading.Event(), None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self.loop.run(self.stop)
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()
        if self.error:
            raise self.error


def wait_until(condition):
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.005)


def position(partition, topic=INTERACTIONS):
    return TopicPartition(topic, partition)


def test_until_end_learns_everything_and_returns_with_it_durable():
    learner = Learner()
    learner.publish(100)
    learner.log.append(INTERACTIONS, 0, b"\x08rubbish", b"k")
    loop = learner.until_end()
    head = learner.store.head()
    assert dict(head.offsets) == {position(0): 35, position(1): 33, position(2): 33, position(0, CONTROL): 0}
    assert loop.engine.model.clock == 100
    assert head.flushed_through == head.batch_seq == learner.store.synced_through
    assert (learner.store.outbox_count, len(learner.dead())) == (0, 1)
    assert learner.log.group_offsets == head.offsets
    assert set(head.applied_through_ms) == set(head.offsets)
    assert all(abs(time.time() * 1000 - ms) < 60_000 for ms in head.applied_through_ms.values())


def test_until_end_of_an_empty_log():
    learner = Learner()
    learner.until_end()
    assert learner.store.head().batch_seq == 1
    assert dict(learner.store.schedule())[1]["kind"] == START


@pytest.mark.parametrize("commit", [True, False], ids=["committed", "aborted"])
def test_until_end_passes_the_end_of_a_transaction(commit):
    learner = Learner()
    learner.publish(30)
    learner.log.begin_transaction(INTERACTIONS, 1)
    learner.log.append(INTERACTIONS, 1, event("u1", "i1"), b"k")
    learner.log.end_transaction(INTERACTIONS, 1, commit=commit)
    loop = learner.until_end()
    assert loop.engine.model.clock == 30 + commit
    assert learner.store.head().offsets[position(1)] == 12
    assert learner.log.group_offsets[position(1)] == 12
    learner.log.trim(INTERACTIONS, 1, 12)
    assert learner.until_end().engine.model.clock == 30 + commit


def test_until_end_says_what_an_open_transaction_held_back(monkeypatch):
    monkeypatch.setattr(loop_module, "HELD_WAIT_S", 0.2)
    learner = Learner()
    learner.publish(30)
    learner.log.begin_transaction(INTERACTIONS, 2)
    learner.publish(30)
    with pytest.raises(TransactionOpenError, match=r"interactions.v1 partition 2.*from offset 10 up to 20"):
        learner.until_end()
    head = learner.store.head()
    assert dict(head.offsets) == {position(0): 20, position(1): 20, position(2): 10, position(0, CONTROL): 0}
    assert head.flushed_through == head.batch_seq == learner.store.synced_through
    learner.log.end_transaction(INTERACTIONS, 2, commit=True)
    assert learner.until_end().engine.model.clock == 60


def test_a_restart_goes_on_where_the_store_stands():
    learner = Learner()
    learner.publish(50)
    learner.until_end()
    learner.publish(50, start=50)
    assert learner.until_end().engine.model.clock == 100
    starts = [seq for seq, entry in learner.store.schedule() if entry["kind"] == START]
    assert len(starts) == 2
    entry = dict(learner.store.schedule())[starts[1]]
    assert [tuple(place) for place in entry["positions"]] == [
        (CONTROL, 0, 0),
        (INTERACTIONS, 0, 17),
        (INTERACTIONS, 1, 17),
        (INTERACTIONS, 2, 16),
    ]


def test_micro_batches_are_bounded():
    learner = Learner(learning={"batch_records_max": 10})
    learner.publish(95)
    learner.until_end()
    batches = [entry["ranges"] for _, entry in learner.store.schedule() if entry["kind"] == "batch"]
    sizes = [sum(following - first for *_, first, following in ranges) for ranges in batches]
    assert (max(sizes), sum(sizes)) == (10, 95)


def test_records_that_expired_before_they_were_learnt_are_named():
    learner = Learner()
    learner.publish(30)
    learner.until_end()
    learner.publish(30, start=30)
    learner.log.trim(INTERACTIONS, 1, 15)
    with pytest.raises(OffsetExpiredError, match=r"partition 1.*offset 10.*starts at 15"):
        learner.loop().run(threading.Event())
    assert learner.store.head().offsets[position(1)] == 10


def test_a_log_that_ends_before_the_state_is_named():
    learner = Learner()
    learner.publish(30)
    learner.until_end()
    learner.log.truncate(INTERACTIONS, 0, 0)
    with pytest.raises(OffsetAheadError, match=r"partition 0.*offset 10.*ends at 0"):
        learner.loop().run(threading.Event())


def recreate(learner):
    learner.log.recreate_topic(INTERACTIONS, 3)


def change_cluster(learner):
    """Another cluster with topics of the same names, as a mirror has."""
    learner.__init__(learner.store)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (recreate, "topic livefactor.interactions.v1 was deleted and created anew"),
        (change_cluster, "another cluster"),
    ],
)
def test_another_log_is_refused_until_it_is_accepted(change, words):
    """Although every stored offset lies in it: what is before would be skipped without a word."""
    learner = Learner()
    learner.publish(30)
    learner.until_end()
    change(learner)
    learner.publish(90)
    with pytest.raises(LogChangedError, match=f"{words}.*state.directory.*--accept-topic"):
        learner.until_end()
    assert learner.store.head().offsets[position(0)] == 10
    assert learner.until_end(accept_topic=True).engine.model.clock == 120
    assert learner.store.head().offsets[position(0)] == 30
    assert learner.until_end().engine.model.clock == 120


def test_a_topic_created_anew_while_learning_is_noticed(monkeypatch):
    monkeypatch.setattr(loop_module, "PARTITIONS_CHECK_MS", 10)
    learner = Learner()
    learner.publish(30)
    running = Running(learner.loop())

    def recreate_meanwhile():
        with running:
            wait_until(lambda: learner.store.head().offsets.get(position(0)) == 10)
            recreate(learner)
            wait_until(lambda: not running.thread.is_alive())

    with pytest.raises(LogChangedError, match="created anew"):
        recreate_meanwhile()


def test_a_store_that_does_not_know_its_log_yet_takes_the_one_it_finds():
    learner = Learner()
    learner.publish(30)
    learner.until_end()
    learner.store.commit(Commit(learner.store.head().batch_seq + 1, memo={LOG_MEMO: b""}))
    change_cluster(learner)
    learner.publish(30)
    assert learner.until_end().engine.model.clock == 30
    change_cluster(learner)
    with pytest.raises(LogChangedError):
        learner.until_end()


def test_a_topic_that_does_not_exist_is_named():
    learner = Learner()
    learner.log.delete_topic(CONTROL)
    with pytest.raises(TopicMissingError, match=CONTROL):
        learner.loop().run(threading.Event())
    assert learner.store.head().batch_seq == 0


def test_fewer_partitions_are_refused_even_when_more_are_accepted():
    learner = Learner()
    learner.publish(30)
    learner.until_end()
    learner.log.remove_partition(INTERACTIONS)
    for accept in (False, True):
        with pytest.raises(PartitionsChangedError, match=r"fewer.*\[2\]"):
            learner.loop(accept_partitions=accept).run(threading.Event())


def test_more_partitions_are_refused_until_they_are_accepted():
    learner = Learner()
    learner.publish(30)
    learner.until_end()
    learner.log.add_partition(INTERACTIONS)
    learner.log.append(INTERACTIONS, 3, event("late", "i1"), b"k")
    with pytest.raises(PartitionsChangedError, match=r"more.*\[3\].*--accept-partitions"):
        learner.loop().run(threading.Event())
    assert learner.until_end(accept_partitions=True).engine.model.clock == 31
    assert learner.store.head().offsets[position(3)] == 1
    learner.until_end()


class GrowingSource(MemorySource):
    """A source whose topic gets another partition once reading has begun."""

    def assign(self, positions):
        super().assign(positions)
        self.grown = True

    def partitions(self):
        found = list(super().partitions())
        return [*found, position(3)] if getattr(self, "grown", False) else found


def test_partitions_added_while_learning_are_noticed():
    learner = Learner()
    learner.publish(30)
    learner.source = GrowingSource(learner.log, (INTERACTIONS, CONTROL))
    with pytest.raises(PartitionsChangedError, match=r"more.*\[3\]"):
        learner.loop().run(threading.Event())


def test_a_broker_that_is_down_at_the_start_is_waited_for():
    learner = Learner()
    learner.publish(30)
    learner.log.stop()
    with Running(learner.loop()) as running:
        assert learner.store.head().batch_seq == 0
        learner.log.start()
        wait_until(lambda: running.loop.engine.model.clock == 30)


def test_stopping_does_not_wait_for_the_broker():
    learner = Learner()
    learner.log.stop()
    with Running(learner.loop()):
        pass
    assert learner.store.head().batch_seq == 0


class SlowSink(MemorySink):
    """A sink that acknowledges only when it is told to."""

    def __init__(self, log, queue_max=100_000):
        super().__init__(log, queue_max)
        self.open = False
        self.sent = []
        self.turns = 0

    def send(self, record_id, record):
        taken = super().send(record_id, record)
        if taken:
            self.sent.append(record_id)
        return taken

    def poll(self):
        self.turns += 1
        return super().poll() if self.open else []

    def wait_for_turns(self, count):
        """Until the loop has gone round that often."""
        target = self.turns + count
        wait_until(lambda: self.turns >= target)


def test_a_broker_that_goes_away_is_waited_for():
    learner = Learner()
    learner.publish(30)
    learner.sink = SlowSink(learner.log)
    with Running(learner.loop()) as running:
        wait_until(lambda: running.loop.engine.model.clock == 30)
        learner.log.stop()
        wait_until(lambda: running.loop.problem is not None)
        before = learner.store.head().applied_through_ms
        learner.sink.wait_for_turns(20)
        assert learner.store.head().applied_through_ms == before
        learner.publish(30, start=30)
        learner.log.start()
        wait_until(lambda: running.loop.engine.model.clock == 60)
        wait_until(lambda: running.loop.problem is None)


def test_freshness_moves_on_while_nothing_happens():
    learner = Learner()
    with Running(learner.loop()):
        wait_until(lambda: learner.store.head().applied_through_ms)
        first = dict(learner.store.head().applied_through_ms)
        wait_until(lambda: all(learner.store.head().applied_through_ms[tp] > ms for tp, ms in first.items()))
        assert learner.store.head().batch_seq == 1


NOW_S = 1_800_000_000.0


def heartbeats(learner, monkeypatch):
    """What is told of partition 0 from now on: through which time it was applied, or nothing."""
    told, heartbeat = [], learner.store.heartbeat

    def note(applied):
        told.append(applied.get(position(0)))
        heartbeat(applied)

    monkeypatch.setattr(learner.store, "heartbeat", note)
    return told


@pytest.mark.parametrize(
    ("timestamp_ms", "told_ms"),
    [
        (-1, None),
        (0, None),
        (1_799_999_999, None),
        (1_900_000_000_000, None),
        (2**63 - 1, None),
        (1_799_999_990_000, 1_799_999_990_000),
        (1_800_000_000_500, 1_799_999_999_999),
    ],
)
def test_a_store_is_never_fresh_while_records_wait(timestamp_ms, told_ms, monkeypatch):
    """Whatever their timestamps: absent, in seconds, far ahead, or a little ahead of our clock."""
    monkeypatch.setattr(loop_module, "HEARTBEAT_MS", 0)
    monkeypatch.setattr(loop_module.time, "time", lambda: NOW_S)
    learner = Learner(learning={"batch_records_max": 10})
    for n in range(30):
        learner.log.append(INTERACTIONS, 0, event(f"u{n}", "i1"), b"k", timestamp_ms=timestamp_ms)
    told = heartbeats(learner, monkeypatch)
    learner.until_end()
    assert told[:2] == [told_ms, told_ms]
    assert told[-1] == NOW_S * 1000


def test_how_far_the_log_was_applied_never_goes_back(monkeypatch):
    """Events of the past that are published now do not make older what is known to be applied."""
    monkeypatch.setattr(loop_module, "HEARTBEAT_MS", 0)
    learner = Learner(learning={"batch_records_max": 10})
    learner.publish(3)
    learner.until_end()
    before = learner.store.head().applied_through_ms[position(0)]
    for n in range(30):
        learner.log.append(INTERACTIONS, 0, event(f"u{n}", "i1"), b"k", timestamp_ms=1_500_000_000_000)
    told = heartbeats(learner, monkeypatch)
    learner.until_end()
    assert len(told) > 2
    assert min(told) >= before


def test_learning_waits_when_the_outbox_is_full_and_goes_on_when_it_drains():
    learner = Learner(
        state={"outbox_bytes_max": 1 << 16},
        learning={"batch_records_max": 10},
        drift={"enabled": False},
    )
    learner.sink = SlowSink(learner.log)
    for _ in range(300):
        learner.log.append(INTERACTIONS, 0, b"\x08" + b"rubbish" * 100, b"k")
    learner.publish(3)
    with Running(learner.loop()) as running:
        wait_until(lambda: running.loop.problem and "outbox holds" in running.loop.problem)
        stands = learner.store.head().offsets[position(0)]
        assert (1 << 16) < learner.store.outbox_bytes < 3 * (1 << 16)
        assert 0 < stands < 300
        learner.sink.wait_for_turns(3)
        assert learner.store.head().offsets[position(0)] == stands
        learner.sink.open = True
        wait_until(lambda: running.loop.engine.model.clock == 3 and learner.store.outbox_count == 0)
        assert running.loop.problem is None
    assert len(learner.dead()) == 300
    # One more than there are dead letters: that so many were rejected is told.
    assert sorted(learner.sink.sent) == list(range(1, 301))


def test_a_full_queue_of_the_sink_is_come_back_to():
    learner = Learner()
    learner.sink = MemorySink(learner.log, queue_max=3)
    for n in range(50):
        learner.log.append(INTERACTIONS, n % 3, b"\x08rubbish%d" % n, b"k")
    learner.until_end()
    assert sorted(record.value for record in learner.dead()) == sorted(
        b"\x08rubbish%d" % n for n in range(50)
    )


def test_what_was_not_acknowledged_is_sent_again_after_a_restart(tmp_path):
    learner = Learner(state={"flush_interval_ms": 10})
    settings = in_directory(learner.settings, tmp_path / "state")
    for n in range(4):
        learner.log.append(INTERACTIONS, 0, b"\x08rubbish%d" % n, b"k")
    learner.store = RocksWriter(settings.state, identity(settings))
    learner.sink = SlowSink(learner.log)
    with Running(learner.loop()):
        wait_until(lambda: len(learner.sink.sent) == 4)
    assert learner.store.outbox_count == 4
    learner.store.close()
    assert learner.dead() == []
    learner.store = RocksWriter(settings.state, identity(settings))
    learner.sink = MemorySink(learner.log)
    learner.until_end()
    assert learner.store.outbox_count == 0
    learner.store.close()
    assert [record.value for record in learner.dead()] == [b"\x08rubbish%d" % n for n in range(4)]


def test_commands_are_answered_on_their_topic():
    learner = Learner()
    with Running(learner.loop()) as running:
        learner.log.append(CONTROL, 0, command(COMMAND_ACTION_FREEZE, "f1"), b"default")
        wait_until(lambda: learner.log.read(DRIFT))
        learner.publish(5)
        wait_until(lambda: learner.store.head().offsets[position(0)] == 2)
        assert running.loop.engine.model.clock == 0
    (answer,) = learner.log.read(DRIFT)
    result = CommandResult.FromString(answer.value)
    assert (result.command_id, result.frozen, answer.key) == ("f1", True, b"default")
    assert learner.store.head().offsets[position(0, CONTROL)] == 1


def test_rows_are_flushed_in_the_background():
    learner = Learner(state={"flush_interval_ms": 10}, learning={"batch_records_max": 5})
    learner.publish(60)
    with Running(learner.loop()):
        wait_until(lambda: learner.store.head().flushed_through > 5)
        wait_until(lambda: learner.store.head().flushed_through == learner.store.head().batch_seq)


def test_a_partition_never_read_is_read_from_its_start():
    limits = {position(0): (5, 9), position(1): (0, 0)}
    assert starting_positions({}, limits, accept_partitions=False) == {position(0): 5, position(1): 0}
    assert starting_positions({position(0): 7}, limits, accept_partitions=True) == {
        position(0): 7,
        position(1): 0,
    }
    assert (
        starting_positions({position(0): 9, position(1): 0}, limits, accept_partitions=False)[position(0)]
        == 9
    )


def test_a_pulse_beats_at_once_and_then_after_its_interval():
    pulse = Pulse()
    assert pulse.beats("a", 60_000)
    assert not pulse.beats("a", 60_000)
    assert pulse.beats("b", 0)
    assert pulse.beats("b", 0)


def test_types_that_look_negative_are_warned_about_once_a_minute():
    learner = Learner()
    with capture_logs() as logs:
        for _ in range(3):
            for _ in range(4):
                learner.log.append(INTERACTIONS, 0, event("u", "i", "unsubscribed"), b"u")
            learner.log.append(INTERACTIONS, 1, event("v", "i", "dislike"), b"v")
            loop = learner.until_end()
    warnings = [entry for entry in logs if entry["event"] == "taken for likes"]
    assert len(warnings) == 3, "each of the runs says it once"
    assert "'unsubscribed' (4)" in warnings[0]["problem"]
    assert "decode.event_weights" in warnings[0]["problem"]
    assert "dislike" not in warnings[0]["problem"]
    with capture_logs() as logs:
        loop._warn(Counts(doubtful_types={"unfriended": 2}))
        loop._pulse.due.clear()
        loop._warn(Counts(doubtful_types={"unfriended": 3}))
    assert ["'unfriended' (5)" in entry["problem"] for entry in logs] == [True], "a minute's worth at once"


def test_refused_updates_are_warned_about_with_what_to_do():
    learner = Learner(learning={"norm_max": 1e-6})
    with capture_logs() as logs:
        learner.publish(5)
        learner.until_end()
    [warning] = [entry for entry in logs if entry["event"] == "updates refused"]
    assert "updates refused, rows kept as they were: norm" in warning["problem"]
    assert "learning.norm_max" in warning["problem"]


def test_a_version_to_compare_with_is_kept_and_loaded_while_learning_goes_on(tmp_path):
    learner = Learner(ranking={"repeats": True})
    learner.settings = in_directory(learner.settings, tmp_path)
    learner.store = RocksWriter(learner.settings.state, identity(learner.settings))
    learner.publish(OUTGROWN + 500)
    with Running(learner.loop()) as running:
        wait_until(lambda: running.loop.engine.monitor.version)
        learner.publish(100, start=OUTGROWN + 500)
        wait_until(lambda: sum(learner.store.head().offsets.values()) == OUTGROWN + 600)
    latest = running.loop.engine.model.evidence.latest()[-1]
    assert latest["version"] == learner.store.head().version.batch_seq > 0
    assert np.isfinite(latest["losses"]).all()
    with Running(learner.loop()) as again:
        wait_until(lambda: again.loop.engine.monitor.version == latest["version"])
    learner.store.close()


def test_a_version_that_cannot_be_loaded_is_not_kept_over_and_over():
    """A store in memory keeps no state under the names of its versions."""
    learner = Learner(ranking={"repeats": True})
    learner.publish(3 * OUTGROWN)
    loop = learner.until_end()
    assert loop.engine.monitor.version == 0
    assert len(learner.store.versions) == 1


def test_a_version_that_cannot_be_kept_is_told_and_learning_goes_on(tmp_path):
    learner = Learner(state={"base_interval_batches": 100}, learning={"batch_records_max": 1})
    learner.settings = in_directory(learner.settings, tmp_path)
    learner.store = RocksWriter(learner.settings.state, identity(learner.settings))
    (tmp_path / "versions").write_text("in the way")
    learner.publish(250)
    with capture_logs() as logs:
        learner.until_end()
    assert sum(learner.store.head().offsets.values()) == 250
    [warning] = [entry for entry in logs if entry["event"] == "version not kept"]
    assert str(tmp_path / "versions") in warning["problem"]
    (tmp_path / "versions").unlink()
    learner.publish(1, start=250)
    learner.until_end()
    assert len(Versions(Directory(tmp_path)).all()) == 1, "the next run has not failed yet"
    learner.store.close()


def test_a_full_ring_keeps_no_version_where_nothing_is_compared_any_more():
    learner = Learner(ranking={"repeats": True}, learning={"batch_records_max": 2 * OUTGROWN})
    learner.publish(OUTGROWN + 100)
    learner.until_end()
    kept = len(learner.store.versions)
    learner.settings = small_settings(ranking={"repeats": True}, drift={"enabled": False})
    learner.publish(50, start=OUTGROWN + 100)
    assert learner.until_end().engine.model.evidence.added >= OUTGROWN
    assert len(learner.store.versions) == kept

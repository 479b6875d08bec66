"""A rollback with replay: what came after the version is learnt again, but for what is excluded."""

from contextlib import closing

import pytest
from memory_learner import LastingLearner
from pipeline import CONTROL, INTERACTIONS, command, event, keep_version, random_events

from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
    COMMAND_ACTION_ROLLBACK,
    CommandResult,
    DriftEvent,
    DriftEvents,
    OffsetRange,
    Position,
)
from state.codec import EVIDENCE, INPUTS
from state.rocksdb.directory import Directory
from state.rocksdb.reader import RocksReader
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.store import CONTROL_MEMO, DRIFT_EVENTS_MEMO, Commit, VersionId
from stream.control import Control, offsets_in
from stream.lineage import onward
from stream.lineage.identity import identity

EVENTS = random_events(600, users=40, items=30, seed=7)
RUBBISH = b"\x08rubbish"
BEFORE, THROUGH = 200, 400
"""Events of the version, and with those that are poison, of which there are some in every partition."""
POISON = range(250, 290)


class Place(LastingLearner):
    """One whose events are those of `EVENTS`, of which a part is poison."""

    def __init__(self, directory, **sections):
        settings = {
            "learning": {"batch_records_max": 50},
            "prequential": {"sample_every": 1},
            "decode": {"event_ids_kept": 500},
            **sections,
        }
        super().__init__(directory, **settings)

    def publish(self, part):
        for n in part:
            self.log.append(INTERACTIONS, n % 3, self.value(n), b"k")

    def value(self, n):
        """The event of this number."""
        return EVENTS[n]

    def learn_poison(self):
        """A version, and more after it; the version."""
        self.publish(range(BEFORE))
        self.learn()
        version = keep_version(self.settings)
        self.publish(range(BEFORE, THROUGH))
        self.poisoned = model_of(self.learn())
        return version


class Twin(Place):
    """One to which nobody has sent poison, but what cannot be read."""

    def value(self, n):
        return RUBBISH if n in POISON else EVENTS[n]


def poison(*parts):
    """The ranges that hold what is poison, or other events of a partition."""
    ranges = parts or [(p, min(POISON), max(POISON) + 1) for p in range(3)]
    return [
        OffsetRange(topic=INTERACTIONS, partition=p, first=(first - p + 2) // 3, next=(end - p + 2) // 3)
        for p, first, end in ranges
    ]


def model_of(engine):
    """Every row of what is learnt, bit for bit but for when it changed, and for what was judged."""
    for part in (engine.model.users, engine.model.items, engine.model.neighbours):
        part.changed_at[:] = 1
    return {
        (block.kind, ordinal): block.row(n)
        for block in engine.model.changed_since(0)
        if block.kind not in {EVIDENCE, INPUTS}
        for n, ordinal in enumerate(block.ordinals.tolist())
    }


def without_poison(tmp_path, **sections):
    """The model of one that never saw poison."""
    twin = Twin(tmp_path / "twin", **sections)
    twin.publish(range(BEFORE))
    twin.learn()
    twin.publish(range(BEFORE, THROUGH))
    return model_of(twin.learn())


def head_of(place):
    with closing(RocksReader(place.settings.state.directory)) as reader:
        return reader.head()


def interactions(head):
    """Up to where they have been read, by partition."""
    return offsets_in(INTERACTIONS, head.offsets)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "place")


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_it_comes_to_the_model_of_one_that_never_saw_what_is_excluded(tmp_path, algorithm):
    learning = {"algorithm": algorithm, "batch_records_max": 50}
    place = Place(tmp_path / "place", learning=learning)
    version = place.learn_poison()
    letters, head = len(place.dead()), head_of(place)
    answer = place.roll_back(None, exclude=poison())
    assert answer.message == (
        f"went back to {version}; 160 records after it are learnt again, and 40 left out"
    )
    assert answer.batch_seq > head.batch_seq
    engine = place.learn()
    assert model_of(engine) == without_poison(tmp_path, learning=learning) != place.poisoned
    assert interactions(head_of(place)) == interactions(head)
    assert len(place.dead()) == letters, "nobody is told twice of the same record"
    assert place.verify().agrees
    assert engine.control.seen_through == {}


def test_what_is_excluded_stays_excluded(place):
    version = place.learn_poison()
    place.roll_back(version, exclude=poison())
    expected = model_of(place.learn())
    place.roll_back(version, "c2", replay=True)
    assert model_of(place.learn()) == expected
    assert place.verify().agrees


def test_without_anything_excluded_it_comes_to_the_same_model_again(place):
    version = place.learn_poison()
    answer = place.roll_back(version, replay=True)
    assert answer.message.endswith("200 records after it are learnt again, and 0 left out")
    assert model_of(place.learn()) == place.poisoned


def judged(engine):
    return engine.model.inputs.added, engine.model.evidence.added, engine.prequential.total.scored


def test_nothing_is_judged_a_second_time(place):
    place.publish(range(BEFORE))
    then = judged(place.learn())
    keep_version(place.settings)
    place.publish(range(BEFORE, THROUGH))
    place.learn()
    place.roll_back(None, exclude=poison())
    assert judged(place.learn()) == then
    place.publish(range(THROUGH, THROUGH + 50))
    assert all(now > before for now, before in zip(judged(place.learn()), then, strict=True))


def test_a_frozen_model_goes_back_and_learns_the_rest_when_it_is_told_to(tmp_path, place):
    version = place.learn_poison()
    place.command(COMMAND_ACTION_FREEZE)
    place.learn()
    answer = place.roll_back(version, exclude=poison())
    assert answer.frozen
    assert (
        "160 records after it are learnt again, and 40 left out, once `livefactor control" in answer.message
    )
    frozen = place.learn()
    assert frozen.control.frozen
    assert frozen.model.clock < 250
    place.command(COMMAND_ACTION_LEARN_MISSED)
    assert model_of(place.learn()) == without_poison(tmp_path)
    assert place.verify().agrees


def test_it_may_go_back_again_before_it_has_caught_up(tmp_path, place):
    version = place.learn_poison()
    place.roll_back(version, replay=True)
    half = place.learn(turns=2)
    assert any(half.control.seen_through.values())
    place.roll_back(version, "c2", exclude=poison())
    engine = place.learn()
    assert model_of(engine) == without_poison(tmp_path)
    assert engine.control.seen_through == {}


def test_going_back_to_what_had_learnt_more_learns_nothing_twice(place):
    """In the middle of a replay one goes back to the state from before it."""
    version = place.learn_poison()
    before = place.learn()
    clock, read = before.model.clock, interactions(head_of(place))
    place.roll_back(version, replay=True)
    place.learn(turns=2)
    [newer] = [
        each.id
        for each in Versions(Directory(place.settings.state.directory)).all()
        if each.reason.startswith("before going back") and each.id.generation == 1
    ]
    assert place.roll_back(newer, "c2").applied
    engine = place.learn()
    assert engine.model.clock == clock
    assert interactions(head_of(place)) == read


def raise_drift(place, event_id, began):
    """Keep a drift event that says where it began."""
    positions = [Position(topic=INTERACTIONS, partition=p, offset=at) for p, at in began.items()]
    events = DriftEvents(events=[DriftEvent(id=event_id, positions=positions)], raised=1)
    with closing(RocksWriter(place.settings.state, identity(place.settings))) as store:
        memo = {DRIFT_EVENTS_MEMO: events.SerializeToString()}
        store.commit(Commit(store.head().batch_seq + 1, memo=memo))


def test_a_drift_event_says_from_where_on_to_exclude(place):
    version = place.learn_poison()
    raise_drift(place, "d1", {0: 84, 1: 90})
    answer = place.roll_back(None, drift_event_id="d1")
    assert (answer.applied, answer.message.partition(";")[0]) == (True, f"went back to {version}")
    expected = {0: [(84, 134)], 1: [(90, 133)]}
    assert Control.restore(head_of(place).memo[CONTROL_MEMO]).excluded == expected
    place.learn()
    assert place.verify().agrees


def refused(place, version, **fields):
    """What is answered; the store goes on as it was."""
    before = model_of(place.learn())
    answer = place.roll_back(version, **fields)
    assert not answer.applied
    assert head_of(place).generation == 1
    assert model_of(place.learn()) == before
    return answer.message


def offsets(partition, first, following, topic=INTERACTIONS):
    return {"exclude": [OffsetRange(topic=topic, partition=partition, first=first, next=following)]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (offsets(0, 70, 200), f"cannot exclude {INTERACTIONS}:0:70-200: only offsets before 134 have been"),
        (
            offsets(7, 70, 80),
            f"{INTERACTIONS}:7:70-80: events are learnt from {INTERACTIONS}, partitions 0 to 2",
        ),
        (offsets(0, 70, 80, CONTROL), "events are learnt from"),
        (offsets(0, 80, 70), "the first offset must lie before the next one"),
        (offsets(0, -1, 70), "the first offset must lie before the next one"),
        (offsets(0, 60, 70), f"has learnt {INTERACTIONS}:0 up to 67, and with it some of what is excluded"),
        ({"drift_event_id": "d2"}, "drift event 'd2' is not known"),
        ({"drift_event_id": "nowhere"}, "drift event nowhere does not say where in the log it began"),
    ],
)
def test_ranges_that_lie_outside(place, fields, said):
    version = place.learn_poison()
    raise_drift(place, "nowhere", {})
    assert said in refused(place, version, **fields)


def test_no_version_is_from_before_it(place):
    place.learn_poison()
    said = refused(place, None, **offsets(0, 10, 20))
    assert "no version of generation 1 is from before what is excluded: name one" in said


def test_neither_a_version_nor_anything_to_exclude(place):
    place.learn_poison()
    place.log.append(CONTROL, 0, command(COMMAND_ACTION_ROLLBACK, replay=True), b"k")
    place.learn()
    [answer] = place.told(CommandResult)
    assert not answer.applied
    assert "'' is no version" in answer.message


def test_what_came_after_the_version_has_expired(place):
    version = place.learn_poison()
    place.log.trim(INTERACTIONS, 1, 90)
    said = refused(place, version, replay=True)
    assert f"{INTERACTIONS} [1] begins at 90, and {version} has learnt up to 67" in said
    assert "go back without learning again" in said
    assert place.roll_back(version, "c2").applied, "which can be done"


def test_a_version_of_another_log(place):
    version = place.learn_poison()
    place.log.recreate_topic(INTERACTIONS, 3)
    place.publish(range(90))
    place.learn(accept_topic=True)
    assert f"{version} is of another log (topic" in place.roll_back(version, replay=True).message
    read = interactions(head_of(place))
    assert place.roll_back(version, "c2").applied
    assert interactions(head_of(place)) == read == {0: 30, 1: 30, 2: 30}


def test_an_imported_version(tmp_path, place):
    version = place.learn_poison()
    versions = Versions(Directory(place.settings.state.directory))
    versions.export(versions.find(version), tmp_path / "exported")
    imported = versions.adopt(tmp_path / "exported", lambda _: None)
    assert imported.id == VersionId(0, version.batch_seq)
    assert "was imported, and its offsets are of another log" in refused(place, imported.id, replay=True)
    assert place.roll_back(imported.id, "c2").applied


def test_where_the_settings_freeze_nothing_can_be_learnt_again(tmp_path):
    place = Place(tmp_path / "place")
    version = place.learn_poison()
    place.settings = place.settings.model_copy(
        update={"learning": place.settings.learning.model_copy(update={"freeze": True})}
    )
    assert "`learning.freeze` is set" in place.roll_back(version, replay=True).message


def test_more_ranges_than_are_kept(place, monkeypatch):
    monkeypatch.setattr(onward, "RANGES_MAX", 2)
    version = place.learn_poison()
    said = refused(place, version, exclude=poison())
    assert said == "more than 2 ranges would be excluded: join some of them"


def test_ranges_that_the_log_no_longer_has_are_forgotten(place):
    place.learn_poison()
    place.roll_back(None, exclude=poison())
    place.learn()
    newer = keep_version(place.settings)
    for partition in range(3):
        place.log.trim(INTERACTIONS, partition, 90)
    place.roll_back(newer, "c2", replay=True)
    excluded = place.learn().control.excluded
    assert excluded == {0: [(90, 97)], 1: [(90, 97)], 2: [(90, 96)]}


def test_an_order_from_a_client_that_says_it_twice(place):
    version = place.learn_poison()
    answer = place.roll_back(version, exclude=[*poison(), *poison()])
    assert answer.message.endswith("160 records after it are learnt again, and 40 left out")
    assert place.learn().control.excluded == {0: [(84, 97)], 1: [(83, 97)], 2: [(83, 96)]}


def test_events_sent_once_more_are_learnt_once(place):
    version = place.learn_poison()
    place.log.append(INTERACTIONS, 0, event("a", "x", event_id="once"), b"k")
    place.learn()
    place.roll_back(version, replay=True)
    clock = place.learn().model.clock
    place.log.append(INTERACTIONS, 0, event("a", "x", event_id="once"), b"k")
    assert place.learn().model.clock == clock

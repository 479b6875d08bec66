"""The state is what the log says: a replay of the recorded schedule agrees, or the verdict says why not."""

import threading

import pytest
from memory_log import MemoryLog, MemorySink, MemorySource
from pipeline import (
    CONTROL,
    DLQ,
    DRIFT,
    INTERACTIONS,
    command,
    event,
    in_directory,
    random_events,
    small_settings,
)
from rocksdict import AccessType

from protos.events_pb2 import COMMAND_ACTION_FREEZE, COMMAND_ACTION_RESUME
from state.codec import GLOBAL, USER, pack_schedule, single_rows
from state.digest import digest
from state.errors import StoreCorruptError
from state.rocksdb.database import number_key, open_database
from state.rocksdb.directory import Directory
from state.rocksdb.versions import Versions
from state.rocksdb.writer import RocksWriter
from state.store import Commit, VersionId
from stream.engine import BATCH
from stream.lineage.bases import PASS
from stream.lineage.identity import identity
from stream.lineage.verify import verify
from stream.loop import Loop

TIGHT = {
    "rows_max": 1_000,
    "items_max": 700,
    "history_max": 4,
    "flush_interval_ms": 10,
    "dirty_rows_max": 100,
}


class Place:
    """A log with events and a store that learns from it."""

    def __init__(self, directory, **sections):
        self.directory = directory
        self.settings = in_directory(small_settings(**sections), directory / "state")
        self.log = MemoryLog()
        for topic, partitions in ((INTERACTIONS, 3), (CONTROL, 1), (DLQ, 1), (DRIFT, 1)):
            self.log.create_topic(topic, partitions)
        self.runs = 0

    def source(self):
        return MemorySource(self.log, (INTERACTIONS, CONTROL))

    def publish(self, count, seed=1):
        for n, value in enumerate(random_events(count, users=600, items=60, seed=seed)):
            self.log.append(INTERACTIONS, n % 3, value, b"k")

    def store(self):
        return RocksWriter(self.settings.state, identity(self.settings))

    def learn(self, **options):
        store = self.store()
        loop = Loop(self.settings, self.source(), MemorySink(self.log), store, **options)
        loop.run(threading.Event(), until_end=True)
        store.close()

    def change(self, **sections):
        """Go on with other settings."""
        names = {"state": self.settings.state.model_dump(), **sections}
        directory = self.settings.state.directory
        self.settings = in_directory(small_settings(**names), directory)

    def verify(self, settings=None):
        self.runs += 1
        seen = []
        scratch = self.directory / f"scratch{self.runs}"
        verdict = verify(settings or self.settings, self.source(), scratch, lambda *at: seen.append(at))
        if verdict.replayed:
            assert seen[-1] == (verdict.batches, verdict.batches)
        return verdict

    def schedule(self):
        store = self.store()
        found = list(store.schedule())
        store.close()
        return found


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, state={**TIGHT, "history_max": 12}, learning={"batch_records_max": 25})


@pytest.mark.parametrize(
    "learning",
    [
        {"algorithm": "als"},
        {"algorithm": "sgd"},
        {"algorithm": "als", "feedback": "explicit"},
        {"algorithm": "sgd", "feedback": "explicit"},
    ],
    ids=["als", "sgd", "als explicit", "sgd explicit"],
)
def test_state_and_log_agree(tmp_path, learning):
    """Over several runs, with dead letters, commands, duplicates, removes, flushes and evictions between."""
    place = Place(tmp_path, state=TIGHT, learning={**learning, "batch_records_max": 25})
    for seed in range(3):
        place.publish(300, seed)
        place.log.append(
            CONTROL, 0, command(COMMAND_ACTION_FREEZE if seed == 1 else COMMAND_ACTION_RESUME), b"m"
        )
        place.learn()
    verdict = place.verify()
    assert (verdict.agrees, verdict.first_difference, verdict.spans) == (True, None, ())
    assert verdict.expected == verdict.replayed
    assert verdict.batches == len(place.schedule())


def test_offsets_that_passed_the_end_of_a_transaction_agree(tmp_path):
    place = Place(tmp_path)
    for commit in (True, False):
        place.log.begin_transaction(INTERACTIONS, 0)
        place.publish(60)
        place.log.end_transaction(INTERACTIONS, 0, commit=commit)
        place.learn()
    assert [entry["through"] for _, entry in place.schedule() if entry["kind"] == PASS] == [
        [[INTERACTIONS, 0, 21]],
        [[INTERACTIONS, 0, 42]],
    ]
    verdict = place.verify()
    assert (verdict.agrees, verdict.first_difference, verdict.spans) == (True, None, ())


def test_it_does_not_matter_how_the_replay_keeps_its_rows(place):
    place.publish(400)
    place.learn()
    loose = place.settings.state.model_copy(update={"dirty_rows_max": 10_000, "journal_bytes_max": 1 << 30})
    tight = place.settings.state.model_copy(update={"dirty_rows_max": 100, "journal_bytes_max": 1 << 20})
    for state in (loose, tight):
        assert place.verify(place.settings.model_copy(update={"state": state})).agrees


def test_a_tampered_row_is_found(place):
    place.publish(200)
    place.learn()
    store = place.store()
    (rows,) = store.scan(USER)
    changed = bytearray(rows.row(3))
    changed[20] ^= 1
    flush = store.begin_flush([single_rows(USER, {3: bytes(changed)})], {}, store.head().batch_seq)
    assert flush.advance(10)
    store.close()
    verdict = place.verify()
    assert (verdict.agrees, verdict.first_difference) == (False, None)
    assert verdict.expected != verdict.replayed


def test_the_first_batch_that_differs_is_named(place):
    """After rows that no event explains, recorded as if nothing had been there to learn."""
    place.publish(100)
    place.learn()
    store = place.store()
    foreign = store.head().batch_seq + 1
    entry = {"kind": PASS, "through": []}
    store.commit(Commit(foreign, (single_rows(GLOBAL, {1: bytes(8)}),), schedule=entry))
    store.close()
    place.publish(100, seed=2)
    place.learn()
    verdict = place.verify()
    assert verdict.agrees is False
    assert verdict.first_difference == next(
        seq for seq, entry in place.schedule() if seq > foreign and entry["kind"] == BATCH
    )


def rewrite(place, batch_seq, entry):
    database = open_database(Directory(place.settings.state.directory).database(), AccessType.read_write())
    family = database.get_column_family("schedule")
    family.put(number_key(batch_seq), pack_schedule(entry))
    del family
    database.close()
    return place.verify()


def test_a_recorded_hash_that_is_wrong_names_its_batch(place):
    place.publish(200)
    place.learn()
    seq, entry = next((seq, entry) for seq, entry in place.schedule() if seq > 3 and entry["kind"] == BATCH)
    verdict = rewrite(place, seq, {**entry, "rows": "0" * 16})
    assert (verdict.agrees, verdict.first_difference) == (True, seq)


def test_a_log_that_was_changed_is_named(place):
    place.publish(200)
    place.learn()
    seq, entry = next((seq, entry) for seq, entry in place.schedule() if seq > 3 and entry["kind"] == BATCH)
    ranges = [
        [topic, partition, first + 1, following] for topic, partition, first, following in entry["ranges"]
    ]
    with pytest.raises(StoreCorruptError, match="no record at offset"):
        rewrite(place, seq, {**entry, "ranges": ranges})


def test_nothing_can_be_said_when_the_log_has_been_trimmed(place):
    place.publish(200)
    place.learn()
    place.log.trim(INTERACTIONS, 1, 5)
    verdict = place.verify()
    assert (verdict.agrees, verdict.replayed, verdict.batches) == (None, None, 0)
    assert len(verdict.spans) == 1
    assert "begins at 5" in verdict.spans[0]


@pytest.fixture
def changed(place):
    """A place whose settings have changed between two runs, so that a version was kept."""
    place.publish(200)
    place.learn()
    place.change(learning={"batch_records_max": 25, "norm_max": 3.0})
    place.publish(200, seed=2)
    place.learn()
    return place


def test_other_settings_make_a_new_base_and_verification_starts_there(changed):
    place = changed
    versions = [path.name for path in (place.settings.state.directory / "versions").iterdir()]
    assert len(versions) == 1
    verdict = place.verify()
    assert verdict.agrees is True
    assert 0 < verdict.batches < len(place.schedule())
    assert len(verdict.spans) == 1
    assert "other settings" in verdict.spans[0]
    place.log.trim(INTERACTIONS, 0, 10)
    assert place.verify().agrees is True
    place.log.trim(INTERACTIONS, 0, 90)
    late = place.verify()
    assert late.agrees is None
    assert len(late.spans) == 2


def test_a_damaged_version_is_no_base_and_named(changed):
    versions = Versions(Directory(changed.settings.state.directory))
    [version] = versions.all()
    file = min(versions.database(version).glob("*.sst"))
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-1])
    verdict = changed.verify()
    assert verdict.agrees is None
    assert f"{file.name} is not the file that was kept" in verdict.spans[-1]


def test_an_imported_version_is_no_base(changed, tmp_path):
    """Not even where it is the state of this very store: where it comes from is not known."""
    versions = Versions(Directory(changed.settings.state.directory))
    [version] = versions.all()
    versions.export(version, tmp_path / "exported")
    versions.adopt(tmp_path / "exported", lambda database: None)
    versions.delete(version)
    assert changed.verify().agrees is None


def test_a_base_is_kept_now_and_then_and_old_ones_go_with_their_schedule(tmp_path):
    """What must be replayed stays bounded however long a learner runs."""
    place = Place(
        tmp_path,
        state={**TIGHT, "history_max": 12, "base_interval_batches": 100, "versions_kept": 2},
        learning={"batch_records_max": 1},
    )
    place.publish(700)
    place.learn()
    kept = sorted(
        VersionId.parse(path.name).batch_seq
        for path in (place.settings.state.directory / "versions").iterdir()
    )
    assert len(kept) == 2
    assert kept[1] - kept[0] >= 100
    assert place.schedule()[0][0] == kept[0] + 1
    verdict = place.verify()
    assert verdict.agrees is True
    assert verdict.batches == len(place.schedule()) < 400
    other = place.settings.model_copy(update={"als": place.settings.als.model_copy(update={"alpha": 0.2})})
    assert place.verify(other).agrees is None


def test_a_larger_catalogue_is_another_setting(tmp_path):
    """What was rejected for want of room would be learnt by a replay with more of it."""
    place = Place(tmp_path, state={"items_max": 100})
    for n in range(120):
        place.log.append(INTERACTIONS, 0, event("u", f"i{n}"), b"k")
    place.learn()
    assert place.verify().agrees is True
    place.change(state={**place.settings.state.model_dump(), "items_max": 200})
    assert place.verify().agrees is None
    place.learn()
    assert place.verify().agrees is True


def test_a_run_of_another_program_cannot_be_verified(place):
    place.publish(100)
    place.learn()
    foreign = place.settings.model_copy(update={"als": place.settings.als.model_copy(update={"alpha": 0.2})})
    verdict = place.verify(foreign)
    assert (verdict.agrees, verdict.replayed) == (None, None)
    assert "other settings, program or processor" in verdict.spans[0]


def test_a_store_without_a_schedule_has_no_base(place):
    store = place.store()
    expected = digest(store)
    store.close()
    verdict = place.verify()
    assert (verdict.agrees, verdict.expected) == (None, expected)
    assert "no base" in verdict.spans[0]


@pytest.fixture
def grown(place):
    """A place whose interactions topic got a fourth partition after its first events were learnt."""
    place.publish(90)
    place.learn()
    place.log.add_partition(INTERACTIONS)
    for record in place.log.read(INTERACTIONS, 0):
        place.log.append(INTERACTIONS, 3, record.value, record.key)
    place.learn(accept_partitions=True)
    return place


def test_a_log_that_was_accepted_is_replayed_from_where_it_began(place):
    place.publish(90)
    place.learn()
    assert place.verify().agrees is True
    place.log.recreate_topic(INTERACTIONS, 3)
    place.publish(150, seed=2)
    verdict = place.verify()
    assert (verdict.agrees, verdict.replayed) == (None, None)
    assert "of another log: topic livefactor.interactions.v1 was deleted and created anew" in verdict.spans[0]
    place.learn(accept_topic=True)
    verdict = place.verify()
    assert (verdict.agrees, verdict.first_difference) == (True, None)
    assert "from base 0: micro-batch 1 is of another log" in verdict.spans[0]


def test_partitions_that_were_added_are_replayed_too(grown):
    assert grown.verify().agrees is True


def test_nothing_can_be_said_when_an_added_partition_has_been_trimmed(grown):
    grown.log.trim(INTERACTIONS, 3, 5)
    verdict = grown.verify()
    assert (verdict.agrees, verdict.replayed) == (None, None)
    assert "[3] begins at 5, and was learnt from 0" in verdict.spans[0]

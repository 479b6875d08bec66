"""The follower against the in-memory store: the replica is always exactly one committed state."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipeline import in_directory, portions, random_events, small_settings
from scorer_process import spawn
from toy_model import BOUNDS, IDENTITY, SPEC, ToyModel

from serving.ranker import recommend
from serving.refresh import Follower, Load, follow
from serving.replica import Bounds, Replica
from state.errors import StoreError, StoreMissingError
from state.memory import MemoryReader, MemoryStore
from state.rocksdb.writer import RocksWriter
from state.store import Reader
from stream.engine import Engine
from stream.lineage.bases import begin
from stream.lineage.identity import identity
from stream.source import LogIdentity

MEMORY = Bounds(BOUNDS["rows_max"], BOUNDS["items_max"], overlay_bytes_max=1 << 20)
USERS = [f"u{i}" for i in range(12)]
ITEMS = [f"i{i}" for i in range(30)]


class KeptJournal(MemoryStore):
    """A store whose journal is trimmed when the test says so."""

    def trim_journal(self) -> None:
        """Leave it."""

    def trim(self) -> None:
        """Trim it now."""
        super().trim_journal()


def follower_of(open_reader: Callable[[], Reader], bounds: Bounds = MEMORY) -> Follower:
    return Follower(open_reader, lambda: 1, bounds)


def replica_of(follower: Follower) -> Replica:
    assert follower.replica is not None
    return follower.replica


def assert_same(replica: Replica, toy: ToyModel) -> None:
    """Every user and every item has the toy model's numbers."""
    assert replica.head.batch_seq == toy.batch_seq
    names = [name.decode() for name in toy.model.items.ids(np.arange(toy.model.item_count))]
    ordinals = replica.items([name.encode() for name in names])
    assert replica.item_ids(ordinals) == names
    np.testing.assert_array_equal(replica.catalogue.vectors, toy.model.items.vectors[: len(names)])
    np.testing.assert_array_equal(replica.catalogue.counts, toy.model.items.counts[: len(names)])
    known = toy.model.users.ids(toy.model.users.slots)
    for name, user in [(name, replica.user(name)) for name in known]:
        assert user is not None
        np.testing.assert_array_equal(user.vector, toy.vector(name.decode()))
        assert set(replica.item_ids(user.seen)) == toy.seen(name.decode())


def test_a_new_scorer_reads_flushed_rows_and_the_journal_after_them() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    toy.flush(store)
    toy.commit(store, USERS[:3], ["i2", "new item"])
    follower = follower_of(store.reader)
    follower.refresh()
    assert_same(replica_of(follower), toy)
    assert replica_of(follower).overlay_users == 3
    assert replica_of(follower).user(b"nobody") is None
    assert replica_of(follower).items([b"nothing", b"i2"]).tolist() == [-1, 2]


def test_nothing_moves_between_two_refreshes() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader)
    follower.refresh()
    before = toy.best("u1", 5)
    toy.commit(store, ["u1"], ITEMS)
    toy.flush(store)
    replica = replica_of(follower)
    ranking = recommend(replica.catalogue, replica.user(b"u1"), 5, include_seen=False, now_ms=0)
    assert replica.item_ids(ranking.ordinals) == before
    follower.refresh()
    assert_same(replica_of(follower), toy)
    assert toy.best("u1", 5) != before, "the change must be one that shows"


def test_a_flush_empties_the_overlay_and_changes_no_answer() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader)
    follower.refresh()
    assert replica_of(follower).overlay_users == len(USERS)
    toy.flush(store)
    toy.commit(store, USERS[:2])
    follower.refresh()
    assert replica_of(follower).overlay_users == 2
    assert_same(replica_of(follower), toy)


@pytest.mark.parametrize("seed", range(8))
def test_the_replica_equals_the_model_through_any_order_of_commits_flushes_and_trims(seed: int) -> None:
    store, toy = KeptJournal(IDENTITY), ToyModel(seed)
    random = np.random.default_rng(seed)
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader)
    refreshed = 0
    for _ in range(60):
        match random.integers(0, 6):
            case 0 | 1 | 2:
                users = random.choice(USERS, 3).tolist()
                toy.commit(store, {*users, f"late{random.integers(20)}"}, {random.choice(ITEMS)})
            case 3:
                toy.flush(store)
            case 4:
                store.trim()
            case 5:
                follower.refresh()
                refreshed += 1
                assert_same(replica_of(follower), toy)
    follower.refresh()
    assert_same(replica_of(follower), toy)
    assert refreshed > 2
    assert follower.torn_count == 0


class TornReader(MemoryReader):
    """A view that can see a trimmed journal without the flush that allowed it."""

    torn = False

    def catch_up(self) -> None:
        """Everything is new but the row family."""
        rows, index, flushed = self._rows, self._index, self._head.flushed_through
        super().catch_up()
        if self.torn:
            self._rows, self._index = rows, index
            self._head = replace(self._head, flushed_through=flushed)


def test_a_torn_view_is_not_served_and_heals_at_the_next_refresh() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    reader = TornReader(store)
    follower = follower_of(lambda: reader)
    follower.refresh()
    before = toy.vector("u0")
    toy.commit(store, ["u0"], ["i0"])
    toy.flush(store)
    reader.torn = True
    follower.refresh()
    assert follower.torn_count == 1
    assert replica_of(follower).head.batch_seq == 1
    user = replica_of(follower).user(b"u0")
    assert user is not None
    np.testing.assert_array_equal(user.vector, before)
    reader.torn = False
    follower.refresh()
    assert follower.torn_count == 1
    assert_same(replica_of(follower), toy)


def test_a_scorer_that_starts_on_a_torn_view_waits() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    toy.flush(store)
    reader = TornReader(store)
    reader.torn = True
    follower = follower_of(lambda: reader)
    follower.refresh()
    assert follower.replica is None
    reader.torn = False
    follower.refresh()
    assert_same(replica_of(follower), toy)


def test_a_scorer_that_lags_behind_the_journal_reads_everything_again() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader)
    follower.refresh()
    for _ in range(5):
        toy.commit(store, USERS[:4], ITEMS[:4])
    toy.flush(store)
    toy.commit(store, USERS[2:6])
    follower.refresh()
    assert_same(replica_of(follower), toy)
    assert follower.reload_count == 2


def test_a_new_generation_replaces_the_old_one() -> None:
    old, new = MemoryStore(IDENTITY), MemoryStore(IDENTITY)
    first, second = ToyModel(1), ToyModel(2)
    first.commit(old, USERS, ITEMS)
    first.commit(old, USERS)
    second.commit(new, ["only one"], ITEMS[:3])
    stores = [old]
    follower = Follower(lambda: stores[0].reader(), lambda: id(stores[0]), MEMORY)
    follower.refresh()
    assert_same(replica_of(follower), first)
    stores[0] = new
    follower.refresh()
    assert_same(replica_of(follower), second)
    assert replica_of(follower).user(b"u0") is None


class Aside:
    """An executor that carries out what it was given when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Load, Future[Replica | None]]] = []

    def __call__(self, load: Load) -> "Future[Replica | None]":
        self.waiting.append((load, Future()))
        return self.waiting[-1][1]

    def finish(self, error: Exception | None = None) -> None:
        load, future = self.waiting.pop()
        if error:
            future.set_exception(error)
        else:
            future.set_result(load())


class Handover:
    """A follower of one learner's store, and another learner's that is to follow."""

    def __init__(self) -> None:
        self.old, self.new, self.aside = MemoryStore(IDENTITY), MemoryStore(IDENTITY), Aside()
        self.first, self.second = ToyModel(1), ToyModel(2)
        self.first.commit(self.old, USERS, ITEMS)
        self.second.commit(self.new, USERS, ITEMS[:3])
        self.store = self.old
        self.follower = Follower(lambda: self.store.reader(), lambda: id(self.store), MEMORY, self.aside)

    def load(self) -> None:
        self.follower.refresh()
        self.aside.finish()
        self.follower.refresh()


def test_the_old_replica_answers_until_the_new_one_is_loaded() -> None:
    """Another learner's store is loaded aside; what it commits meanwhile is followed afterwards."""
    place = Handover()
    follower, aside = place.follower, place.aside
    follower.refresh()
    assert (follower.replica, follower.loading) == (None, True)
    aside.finish()
    follower.refresh()
    assert_same(replica_of(follower), place.first)
    place.store = place.new
    follower.refresh()
    for _ in range(3):
        place.second.commit(place.new, ["u1"], ["i1"])
        follower.refresh()
        assert follower.loading
        assert_same(replica_of(follower), place.first)
    assert len(aside.waiting) == 1, "one load at a time"
    aside.finish()
    follower.refresh()
    assert not follower.loading
    assert_same(replica_of(follower), place.second)
    assert replica_of(follower).head.batch_seq == 4


def test_a_load_that_fails_leaves_the_old_replica_and_is_tried_again() -> None:
    place = Handover()
    follower = place.follower
    place.load()
    place.store = place.new
    follower.refresh()
    place.aside.finish(StoreError("a file is damaged"))
    with pytest.raises(StoreError, match="damaged"):
        follower.refresh()
    assert_same(replica_of(follower), place.first)
    place.load()
    assert_same(replica_of(follower), place.second)


def test_a_load_that_goes_on_failing_is_one_problem_and_not_many() -> None:
    """While the next attempt is under way, what is wrong is still wrong."""
    place = Handover()
    follower = place.follower
    place.load()
    place.store = place.new

    async def scenario() -> list[tuple[bool, str]]:
        task = asyncio.create_task(follow(follower, interval_ms=1))
        seen = []
        async with asyncio.timeout(30):
            for attempt in range(3):
                while not place.aside.waiting:
                    await follower.refreshed()
                seen.append((follower.loading, follower.problem))
                if attempt < 2:
                    place.aside.finish(StoreError("a file is damaged"))
            place.aside.finish()
            while follower.loading:
                await follower.refreshed()
        task.cancel()
        return [*seen, (follower.loading, follower.problem)]

    damaged = (True, "a file is damaged")
    assert asyncio.run(scenario())[1:] == [damaged, damaged, (False, "")]
    assert_same(replica_of(follower), place.second)


def test_a_flush_that_is_visible_before_its_head_is_not_served() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    reader = store.reader()
    follower = follower_of(lambda: reader)
    follower.refresh()
    old = store.head()
    toy.commit(store, USERS, ITEMS)
    toy.flush(store)
    new, store._head = store._head, replace(old, flushed_through=2)
    follower.refresh()
    assert follower.torn_count == 1
    assert replica_of(follower).head.batch_seq == 1
    store._head = new
    follower.refresh()
    assert_same(replica_of(follower), toy)


def test_journal_entries_beyond_the_head_wait_for_it() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader)
    follower.refresh()
    old, before = store.head(), toy.vector("u0")
    toy.commit(store, ["u1"])
    between = store.head()
    toy.commit(store, ["u0"])
    new = store.head()
    for head in (old, between):
        store._head = head
        follower.refresh()
        user = replica_of(follower).user(b"u0")
        assert user is not None
        np.testing.assert_array_equal(user.vector, before)
    store._head = new
    follower.refresh()
    assert_same(replica_of(follower), toy)


class BreakableReader(MemoryReader):
    """A view whose files can go bad."""

    broken = False
    closed_count = 0

    def catch_up(self) -> None:
        """Fail if broken."""
        if self.broken:
            raise StoreError("the disk is gone")
        super().catch_up()

    def close(self) -> None:
        """Remember it."""
        self.closed_count += 1


def test_a_broken_reader_is_replaced_and_the_old_replica_answers_until_then() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    toy.flush(store)
    readers: list[BreakableReader] = []

    def open_reader() -> Reader:
        readers.append(BreakableReader(store))
        return readers[-1]

    follower = follower_of(open_reader)
    follower.refresh()
    readers[0].broken = True
    with pytest.raises(StoreError, match="disk is gone"):
        follower.refresh()
    assert_same(replica_of(follower), toy)
    assert readers[0].closed_count == 0
    toy.commit(store, ["u3"], ["i1"])
    follower.refresh()
    assert_same(replica_of(follower), toy)
    assert [reader.closed_count for reader in readers] == [1, 0]
    follower.close()
    assert [reader.closed_count for reader in readers] == [1, 1]


def test_a_journal_beyond_the_bound_is_an_error_that_names_the_setting() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader, replace(MEMORY, overlay_bytes_max=100))
    with pytest.raises(StoreError, match=r"serving\.overlay_bytes_max"):
        follower.refresh()
    assert follower.replica is None


def test_the_store_says_how_it_is_scored_and_the_next_run_may_say_otherwise() -> None:
    """A learner that was told to offer items again needs no scorer that was told the same."""
    store, toy = MemoryStore(IDENTITY), ToyModel(spec=replace(SPEC, blends=True))
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader)
    follower.refresh()
    replica, user = replica_of(follower), replica_of(follower).user(b"u0")
    assert user is not None
    [had] = user.seen.tolist()
    offered = recommend(replica.catalogue, user, len(ITEMS), include_seen=False, now_ms=0).ordinals.tolist()
    assert had not in offered

    toy.spec = replace(SPEC, blends=True, repeats=True)
    toy.commit(store, ["u1"])
    follower.refresh()
    replica = replica_of(follower)
    offered = recommend(replica.catalogue, user, len(ITEMS), include_seen=False, now_ms=0).ordinals.tolist()
    assert had in offered
    assert_same(replica, toy)


def test_a_store_whose_learner_has_not_begun_is_waited_for() -> None:
    follower = follower_of(MemoryStore(IDENTITY).reader)
    with pytest.raises(StoreMissingError, match="livefactor learn"):
        follower.refresh()
    assert follower.replica is None


def test_following_survives_a_missing_store_and_errors_nobody_thought_of() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    faults: list[Exception] = [StoreMissingError("no store yet"), ZeroDivisionError("surprise")]

    def open_reader() -> Reader:
        if faults:
            raise faults.pop(0)
        return store.reader()

    follower = follower_of(open_reader)

    async def scenario() -> list[str]:
        task = asyncio.create_task(follow(follower, interval_ms=1))
        problems = []
        async with asyncio.timeout(30):
            while follower.replica is None:
                await follower.refreshed()
                problems.append(follower.problem)
        task.cancel()
        return problems

    problems = asyncio.run(scenario())
    assert problems == ["no store yet", "refreshing failed: ZeroDivisionError: surprise", ""]
    assert_same(replica_of(follower), toy)


def test_waiters_are_woken_by_the_next_refresh() -> None:
    store, toy = MemoryStore(IDENTITY), ToyModel()
    toy.commit(store, USERS, ITEMS)
    follower = follower_of(store.reader)

    async def scenario() -> int:
        task = asyncio.create_task(follow(follower, interval_ms=1))
        async with asyncio.timeout(30):
            await follower.refreshed()
            toy.commit(store, ["u0"])
            while replica_of(follower).head.batch_seq < 2:
                await follower.refreshed()
        task.cancel()
        return replica_of(follower).head.batch_seq

    assert asyncio.run(scenario()) == 2


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"ranking": {"repeats": True}},
        {"ranking": {"model": "factors"}},
        {"learning": {"algorithm": "als", "feedback": "explicit"}},
    ],
    ids=str,
)
def test_nothing_is_compiled_while_requests_may_wait(
    sections: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    """A store with rows and a journal after them is followed by a process that has only warmed up."""
    settings = in_directory(small_settings(**sections), tmp_path)
    writer = RocksWriter(settings.state, identity(settings))
    engine = Engine(settings, writer)
    begin(engine, {}, "a run", {}, LogIdentity())
    for records in portions(random_events(400, 30, 40), 100):
        engine.process([records])
        if writer.head().batch_seq == 3:
            engine.flush()
    writer.close()
    asked = spawn("compiled_by_answers.py", str(tmp_path))
    said, error = asked.communicate(timeout=250)
    assert json.loads(said or "null") == [], error

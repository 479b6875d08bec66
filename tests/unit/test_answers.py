"""The scorer's answers, worked out once more by hand from the bytes that a learner has stored."""

import struct

import numpy as np
import pytest
import twins
from pipeline import Feed, small_settings
from streams import random_likes

from protos.events_pb2 import Interaction
from serving import ranker
from serving.replica import Bounds, Replica
from state import codec
from state.memory import MemoryStore
from state.scoring import blend, popularity
from stream.engine import Engine

RANK, DECAYS = 4, 5
FACTORS = [
    ("vector", "<f4", RANK),
    ("bias", "<f4"),
    ("accumulator", "<f4"),
    ("interactions", "<i4"),
    ("changed_at", "<i8"),
]
USER = np.dtype([*FACTORS, ("last_event_ms", "<i8")])
ITEM = np.dtype([*FACTORS, ("counts", "<f8", DECAYS), ("counted_at", "<i8")])
NEIGHBOUR = np.dtype("<u4")
CLOCK, WEIGHTS, NEWCOMER_WEIGHTS = 1, 7, 9
FIRST_MS = 1_700_000_000_000


def row_of(data, dtype):
    """(id, columns, ordinals of the history, strengths)."""
    _, id_length, entries = struct.unpack_from("<BHH", data)
    name = data[5 : 5 + id_length].decode()
    begin = 5 + id_length
    [columns] = np.frombuffer(data, dtype, 1, begin)
    begin += dtype.itemsize
    others = np.frombuffer(data, "<u4", entries, begin).tolist()
    return name, columns, others, np.frombuffer(data, "<f4", entries, begin + 4 * entries)


def list_of(data):
    """[[other, forward, backward]] of a row of neighbours."""
    _, _, slots = struct.unpack_from("<BqH", data)
    columns = np.frombuffer(data, NEIGHBOUR, 3 * slots, 11).reshape(3, slots)
    return columns.T.tolist()


class Rows:
    """What a store holds of a model."""

    def __init__(self, store):
        def rows(kind):
            return {
                int(block.ordinals[i]): block.row(i) for block in store.scan(kind) for i in range(len(block))
            }

        self.users = [row_of(row, USER) for row in rows(codec.USER).values()]
        self.items = [row_of(row, ITEM) for _, row in sorted(rows(codec.ITEM).items())]
        arrays = rows(codec.GLOBAL)
        [self.clock] = np.frombuffer(arrays[CLOCK], "<i8")
        self.weights = np.frombuffer(arrays[WEIGHTS], "<f8")
        self.newcomer_weights = np.frombuffer(arrays[NEWCOMER_WEIGHTS], "<f8")
        self.neighbours = twins.Neighbours(100)
        self.neighbours.lists = {owner: list_of(row) for owner, row in rows(codec.NEIGHBOURS).items()}

    def popularity(self, item):
        _, columns, _, _ = self.items[item]
        faded = columns["counts"] * np.power(twins.DECAYS, self.clock - columns["counted_at"])
        return [np.log(count + smoother) for count in faded for smoother in twins.SMOOTHERS]

    def score(self, user, item, now_ms):
        """The formula of `state.scoring.blend`."""
        _, columns, history, _ = user
        last = history[:-6:-1]
        of_items = [twins.normed(self.items[other][1]["vector"]) for other in last]
        interests = [twins.normed(columns["vector"]), np.mean(of_items, axis=0), of_items[0]]
        pace = (np.log1p((now_ms - columns["last_event_ms"]) / 1000) - 7.5) / 15
        wanted = twins.normed(self.items[item][1]["vector"])
        likes = [columns["counts"][-1] for _, columns, _, _ in self.items]
        near = self.neighbours.features(likes, self.clock, last).get(item, [0.0] * 8)
        features = [
            *(factor * (interest @ wanted) for factor in (1, pace) for interest in interests),
            *self.popularity(item),
            *(factor * feature for factor in (1, pace) for feature in near),
        ]
        return float(np.dot(self.weights[: len(features)], features))


def test_every_answer_is_what_the_stored_rows_say():
    # All within the day that events may be ahead of their records.
    settings, store, feed = small_settings(), MemoryStore(), Feed()
    engine = Engine(settings, store)
    for n, row in enumerate(random_likes(300, 15, 25)):
        at_ms = FIRST_MS + 200_000 * n
        engine.process([feed(Interaction(**row, event_time_ms=at_ms).SerializeToString())])
    engine.flush()
    rows, now_ms = Rows(store), FIRST_MS + 200_000 * 300
    assert len(rows.users) == 15
    assert rows.clock == 300
    replica = Replica(store, settings.scoring, Bounds(3_000, 500, 1 << 20))
    assert replica.load(store.head())
    everything = np.arange(len(rows.items))
    for user in rows.users:
        asked = replica.user(user[0].encode())
        expected = np.array([rows.score(user, item, now_ms) for item in everything])
        scores = ranker.score(replica.catalogue, asked, everything, now_ms)
        assert scores == pytest.approx(expected, abs=1e-4), user[0]
        answer = ranker.recommend(replica.catalogue, asked, 5, False, now_ms)
        best = [item for item in np.argsort(-expected) if item not in user[2]][:5]
        assert replica.item_ids(answer.ordinals) == [rows.items[item][0] for item in best]
    strangers = [float(np.dot(rows.newcomer_weights, rows.popularity(item))) for item in everything]
    assert ranker.score(replica.catalogue, None, everything, now_ms) == pytest.approx(strangers, abs=1e-4)


def test_popularity_of_every_item_is_brought_up_to_date_bit_by_bit():
    """A few items with each batch, so that no request waits for all: each at least every hundred events."""
    settings, store, feed = small_settings(), MemoryStore(), Feed()
    engine = Engine(settings, store)
    engine.process([feed(*(Interaction(**row).SerializeToString() for row in random_likes(300, 15, 25)))])
    head = store.head()
    replica = Replica(store, settings.scoring, Bounds(3_000, 500, 1 << 20))
    assert replica.load(head)
    count, batches, size = len(replica.catalogue), 10, 10
    last_changed = np.zeros(count)
    for batch in range(1, 2 * batches + 1):
        before = replica.catalogue.blended.scalars.copy()
        likes = [{"user_id": f"u{n}", "item_id": "new" if batch == 3 else "i0"} for n in range(size)]
        engine.process([feed(*(Interaction(**row).SerializeToString() for row in likes))])
        entries = list(store.journal(store.head().batch_seq - 1))
        replica.apply(entries, store.head())
        after = replica.catalogue.blended.scalars
        changed = after[:count] != before[:count]
        assert 0 < changed.sum() < count / 2
        last_changed[changed] = batch
        assert (batch - last_changed <= batches).all()
        for item in np.flatnonzero(changed):
            exact = popularity.scalar(
                engine.model.items.counts,
                engine.model.items.counted_at,
                item,
                engine.model.clock,
                engine.model.globals["weights"][blend.POPULARITY : blend.NEIGHBOURS],
            )
            assert after[item] == exact
    assert len(replica.catalogue) == count + 1
    assert replica.catalogue.blended.scalars[count] != 0

"""A small model whose every number is known, written into any store as a learner would."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from state.codec import ITEM, USER
from state.config import StateConfig
from state.kernels import spans
from state.model import Model
from state.scoring.spec import ScoringSpec
from state.store import SCORING_MEMO, Commit, TopicPartition, Writer

TOPIC = "livefactor.interactions.v1"
RANK = 4
BOUNDS = {"rows_max": 5_000, "items_max": 1_000, "history_max": 20}
IDENTITY = {
    "model": "default",
    "rank": RANK,
    "feedback": "implicit",
    "algorithm": "als",
    "history_max": BOUNDS["history_max"],
}
SPEC = ScoringSpec(RANK, BOUNDS["history_max"], explicit=False, blends=False, repeats=False)


def state_config(directory: Path) -> StateConfig:
    """Settings of a store for the toy model."""
    return StateConfig(directory=directory, sync="never", **BOUNDS)


class ToyModel:
    """Users u0, u1, ... and items i0, i1, ...; the vectors come from a seed."""

    def __init__(self, seed: int = 1, spec: ScoringSpec = SPEC) -> None:
        self.spec = spec
        self.model = Model(RANK, **BOUNDS, event_ids_kept=0)
        self.random = np.random.default_rng(seed)
        self.batch_seq = 0
        self.offset = 0
        self.indexed = {USER: 0, ITEM: 0}

    def commit(
        self,
        writer: Writer,
        users: Iterable[str] = (),
        items: Iterable[str] = (),
        partition: int = 0,
        vector: tuple[float, ...] | None = None,
        memo: Mapping[str, bytes] | None = None,
    ) -> None:
        """Give these users and items new vectors, and the users a new interaction; one record of the log.

        With `vector` they all get this one, and biases of zero.
        """
        self.batch_seq += 1
        self.offset += 1
        item_slots = self._change("item", list(items), vector)
        user_slots = self._change("user", list(users), vector)
        known = self.model.item_count
        if known and len(user_slots):
            others = self.random.integers(0, known, len(user_slots))
            self.model.users.append(user_slots, others, np.ones(len(user_slots), np.float32))
        rows = self.model.pack(user_slots, item_slots, ("counts", "clock", "mean"))
        offsets = {TopicPartition(TOPIC, partition): self.offset}
        memos = {SCORING_MEMO: self.spec.pack(), **(memo or {})}
        writer.commit(Commit(self.batch_seq, rows, offsets, {"batch": self.batch_seq}, memos))

    def flush(self, writer: Writer) -> None:
        """Move every changed row to the row family."""
        rows = self.model.changed_since(writer.head().flushed_through)
        flush = writer.begin_flush(rows, self.indexed, self.batch_seq)
        self.indexed = {USER: self.model.user_count, ITEM: self.model.item_count}
        while not flush.advance(100):
            pass

    def vector(self, user_id: str) -> np.ndarray:
        """A user's vector, float32 [rank]."""
        return self.model.users.vectors[self.model.users.find_ids([user_id.encode()])[0]].copy()

    def seen(self, user_id: str) -> set[str]:
        """Ids of the items in a user's history."""
        others, _ = self.model.users.history(int(self.model.users.find_ids([user_id.encode()])[0]))
        return {item_id.decode() for item_id in self.model.items.ids(others.astype(np.int64))}

    def scores(self, user_id: str) -> dict[str, float]:
        """Scores of every item, the slow way."""
        x, items = self.vector(user_id).astype(np.float64), self.model.items
        names = items.ids(np.arange(items.size))
        return {
            name.decode(): float(items.bias[i] + sum(x[f] * items.vectors[i, f] for f in range(RANK)))
            for i, name in enumerate(names)
        }

    def best(self, user_id: str, k: int, include_seen: bool = False) -> list[str]:
        """The recommendation, the slow way."""
        scores, left_out = self.scores(user_id), set() if include_seen else self.seen(user_id)
        return sorted(scores.keys() - left_out, key=lambda name: -scores[name])[:k]

    def popular(self, k: int) -> list[str]:
        """The recommendation for a stranger, the slow way; all counts are as of the same event."""
        items = self.model.items
        order = sorted(range(items.size), key=lambda i: (-items.counts[i, 2], i))[:k]
        return [name.decode() for name in items.ids(np.array(order, np.int64))]

    def _change(self, side: str, names: list[str], vector: tuple[float, ...] | None) -> np.ndarray:
        table = self.model.users if side == "user" else self.model.items
        count = self.model.globals["counts"]
        column = 0 if side == "user" else 1
        ids = [name.encode() for name in names]
        slots = table.find_ids(ids)
        new = [ids[i] for i in np.flatnonzero(slots < 0)]
        if new:
            table.add(*spans(new), np.arange(count[column], count[column] + len(new), dtype=np.int64))
            count[column] += len(new)
            slots = table.find_ids(ids)
        table.vectors[slots] = self.random.normal(size=(len(slots), RANK))
        table.bias[slots] = self.random.normal(size=len(slots))
        if vector is not None:
            table.vectors[slots], table.bias[slots] = vector, 0.0
        table.changed_at[slots] = self.batch_seq
        table.interactions[slots] += 1
        if side == "item":
            table.counts[slots, 2] = self.random.uniform(1, 100, len(slots))
        return slots

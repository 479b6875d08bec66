"""The values that flow through the learner, in the order in which they appear."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from state.arrays import F32, F64, I32, I64, U8, U32, U64, Array, Mask
from state.store import Rows, TopicPartition

Spans = tuple[U8, I64, I32, U64]
"""Ids: a buffer, where each begins, how long it is, and its hash."""


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Raw records of one topic, ordered by partition and offset, as parallel columns of length n."""

    topic: str
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    headers: Sequence[Sequence[tuple[str, bytes]] | None]
    partitions: I32
    offsets: I64
    timestamps_ms: I64

    @classmethod
    def of_values(cls, topic: str, values: Sequence[bytes], timestamps_ms: I64, first: int = 0) -> "Records":
        """Of one partition, without keys and headers, from the offset `first` on."""
        count, nothing = len(values), [None] * len(values)
        offsets = np.arange(first, first + count)
        return cls(topic, values, nothing, nothing, np.zeros(count, np.int32), offsets, timestamps_ms)

    def __len__(self) -> int:
        return len(self.values)

    def without(self, left_out: Mask) -> "Records":
        """All but those that are left out, bool [n]."""
        kept = np.flatnonzero(~left_out).tolist()
        return Records(
            self.topic,
            [self.values[i] for i in kept],
            [self.keys[i] for i in kept],
            [self.headers[i] for i in kept],
            self.partitions[kept],
            self.offsets[kept],
            self.timestamps_ms[kept],
        )

    def __getitem__(self, part: slice) -> "Records":
        """A contiguous part."""
        return Records(
            self.topic,
            self.values[part],
            self.keys[part],
            self.headers[part],
            self.partitions[part],
            self.offsets[part],
            self.timestamps_ms[part],
        )


def by_partition(records: Records) -> Iterator[tuple[TopicPartition, Records]]:
    """The part of each partition, ascending."""
    starts = np.flatnonzero(np.diff(records.partitions, prepend=-1)).tolist()
    for start, stop in zip(starts, [*starts[1:], len(records)], strict=True):
        yield TopicPartition(records.topic, int(records.partitions[start])), records[start:stop]


def concatenate(blocks: Sequence[Records]) -> Records:
    """Blocks of one topic, in order, as one."""
    if len(blocks) == 1:
        return blocks[0]
    return Records(
        blocks[0].topic,
        [value for block in blocks for value in block.values],
        [key for block in blocks for key in block.keys],
        [header for block in blocks for header in block.headers],
        np.concatenate([block.partitions for block in blocks]),
        np.concatenate([block.offsets for block in blocks]),
        np.concatenate([block.timestamps_ms for block in blocks]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Decoded and validated interactions as parallel columns of length n, in record order.

    Ids are spans of `buffer` (uint8): `buffer[user_start[i] : user_start[i] + user_length[i]]`.
    `record[i]` is the index in `Records`; several interactions of one InteractionBatch share it and
    differ in `part`. `weight` is the event type's; `value` is NaN where the event had none.
    `event_id` is a hash of the idempotency key, 0 where there was none. `remove` marks unlearning.
    `user_hash` and `item_hash` are `state.kernels.hash_bytes` of the ids.
    """

    buffer: U8
    record: I32
    part: I32
    user_start: I64
    user_length: I32
    user_hash: U64
    item_start: I64
    item_length: I32
    item_hash: U64
    weight: F32
    value: F32
    remove: Mask
    time_ms: I64
    event_id: U64

    def __len__(self) -> int:
        return len(self.record)

    @property
    def user_spans(self) -> Spans:
        """The users' ids."""
        return self.buffer, self.user_start, self.user_length, self.user_hash

    @property
    def item_spans(self) -> Spans:
        """The items' ids."""
        return self.buffer, self.item_start, self.item_length, self.item_hash

    def take(self, rows: slice | I64) -> "Interactions":
        """Some rows, in the order given, each a record of its own counted from 0; the buffer is shared."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        columns["record"] = np.arange(len(columns["record"]), dtype=np.int32)
        return Interactions(self.buffer, **columns)


COLUMNS = tuple(column.name for column in fields(Interactions) if column.name != "buffer")
"""Columns of `Interactions` with one element for each of them."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be used: which one, at what stage, and why in words for a person."""

    record: int
    stage: str
    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decoding made of some records; every record is in exactly one of the two.

    `key_mismatches` counts records whose key differs from their user_id (the user_id wins). `doubtful_types`
    counts interactions, by event type, that are taken for likes although the type looks negative.
    """

    interactions: Interactions
    rejected: tuple[Rejected, ...]
    key_mismatches: int
    doubtful_types: Mapping[str, int]


class Learnable(NamedTuple):
    """Interactions that change the model, in order, as parallel columns of length n.

    `users` and `items` are slots (an item's slot is its ordinal); `strengths` are signed for implicit
    feedback, ratings for explicit, and for a `remove` the strength of the interaction that was taken back.
    `positions` uint64 identify the records and seed their samples; `times_ms` int64 are the events' own.
    """

    users: I64
    items: I64
    strengths: F32
    remove: Mask
    positions: U64
    times_ms: I64

    def check(self, users: Sequence[F32], items: Sequence[F32]) -> None:
        """Assert that the columns, and the rows that they name, are what compiled code takes them for.

        Of each side the vectors float32 [rows, r] first, then what float32 [rows] there is besides.
        """
        columns: Sequence[Array] = self
        dtypes = np.int64, np.int64, np.float32, np.bool_, np.uint64, np.int64
        for column, dtype in zip(columns, dtypes, strict=True):
            assert column.dtype == dtype
            assert column.shape == self.users.shape
            assert column.flags.c_contiguous
        for rows, (vectors, *others) in ((self.users, users), (self.items, items)):
            assert vectors.ndim == 2
            assert all(other.shape == vectors.shape[:1] for other in others)
            for array in (vectors, *others):
                assert array.dtype == np.float32
                assert array.flags.c_contiguous
            assert len(rows) == 0 or 0 <= rows.min() <= rows.max() < len(vectors)
        assert users[0].shape[1] == items[0].shape[1]
        assert not np.may_share_memory(users[0], items[0])


class Origins(NamedTuple):
    """What there is to know of events beside what is learnt of them.

    Ordinals of their `users` uint32 [n], which last; where their records are in the log: `partitions` int32
    [n], `offsets` int64 [n]; their own `values` float32 [n], NaN for none; `weights` float32 [n] of types.
    """

    users: U32
    partitions: I32
    offsets: I64
    values: F32
    weights: F32


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """Rows that learning changed, as slots, and how many updates were refused by reason.

    `predictions` float64 [n] are explicit ratings as predicted before each was learnt; empty otherwise.
    `neighbours` are the steps taken on lists of neighbours, as rows, None if there were none.
    """

    users: I64
    items: I64
    refused: Mapping[str, int]
    predictions: F64
    neighbours: Rows | None = None

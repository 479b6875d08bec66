"""The values that flow through the learner, in the order in which they appear."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


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

    def __len__(self) -> int:
        return len(self.values)


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
    remove: npt.NDArray[np.bool_]
    time_ms: I64
    event_id: U64

    def __len__(self) -> int:
        return len(self.record)


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

    `key_mismatches` counts records whose key differs from their user_id (the user_id wins).
    """

    interactions: Interactions
    rejected: tuple[Rejected, ...]
    key_mismatches: int

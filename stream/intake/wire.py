"""The compiled way from bytes to columns, for records that are nothing but a canonical `Interaction`.

It takes a record only when every doubt is excluded: fields 1 to 6, each at most once and with its own
wire type, printable ASCII text, all limits kept. Whatever else arrives is left to `formats` and
`validate`, the slow and complete way, which would have answered the same for what is taken here.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, I32, I64, U8, U64, Mask
from state.kernels import hash_bytes, hash_spans
from state.store import ID_BYTES_MAX
from stream.intake.event_types import Meaning

EVENT_TYPE_BYTES_MAX = 64
EVENT_ID_BYTES_MAX = 256

# Confluent's framing in its usual short form: a zero byte, four bytes of schema id, a zero byte that
# stands for the first message of the schema.
FRAME_BYTES = 6

USER_ID, ITEM_ID, EVENT_TYPE, VALUE, TIME, EVENT_ID = range(1, 7)
LENGTH = 8  # `found[LENGTH + field]` is the length of a text field
FOUND_LENGTH = 16
TAG_VALUE = VALUE << 3 | 1
TAG_TIME = TIME << 3 | 0
TAGS_TEXT = tuple(field << 3 | 2 for field in (USER_ID, ITEM_ID, EVENT_TYPE, EVENT_ID))

RECORD_TIME_MIN_MS = 100_000_000_000
"""March 1973: less is no time in milliseconds, but none (-1) or seconds (until the year 5138)."""

TIME_MAX_MS = 7_258_118_400_000
"""The year 2200: no event and no record is of later."""

MET_MAX = 256
"""Event types without a meaning of their own that are counted; what is met after them is not."""

VARINT_BYTES_MAX = 9  # 63 bits: what is longer is negative or not canonical


class Limits(NamedTuple):
    """What a record may be; `framed`: values start with a Confluent frame."""

    framed: bool
    value_abs_max: float
    event_time_ahead_max_ms: int


class Texts(NamedTuple):
    """n byte strings: `buffer[start[i] : start[i] + length[i]]`; a length of -1 means there is none."""

    buffer: U8
    start: I64
    length: I64


class Names(NamedTuple):
    """Texts by an open-addressing hash table.

    `slots` (int32, a power of two) holds the number of a text or -1; text k is
    `buffer[start[k] : start[k] + length[k]]` with `hashes[k]`.
    """

    slots: I32
    hashes: U64
    buffer: U8
    start: I64
    length: I64


class EventTypes(NamedTuple):
    """Event types that have a meaning of their own: type k has `weight[k]`, and it `removes[k]` or not.

    Other types weigh `weight_default` if `others_accepted`. A type that is not there as it was sent may be
    there when it is folded (see `event_types.fold`).
    """

    names: Names
    weight: F32
    removes: Mask
    weight_default: float
    others_accepted: bool


class Met(NamedTuple):
    """Event types without a meaning of their own, the first `size`[0], and how often each was met."""

    names: Names
    times: I64
    size: I64


class Columns(NamedTuple):
    """The columns of `stream.events.Interactions`, one row per record; valid where `done`."""

    done: Mask
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


@numba.njit(cache=True)
def known_time_ms(timestamp_ms: int) -> int:
    """When a record was made, 0 where its timestamp cannot be a time in milliseconds."""
    return timestamp_ms if RECORD_TIME_MIN_MS <= timestamp_ms <= TIME_MAX_MS else 0


def nothing_met() -> Met:
    """Room for `MET_MAX` types."""
    names = Names(
        np.full(4 * MET_MAX, -1, np.int32),
        np.zeros(MET_MAX, np.uint64),
        np.zeros(MET_MAX * EVENT_TYPE_BYTES_MAX, np.uint8),
        np.arange(MET_MAX, dtype=np.int64) * EVENT_TYPE_BYTES_MAX,
        np.zeros(MET_MAX, np.int64),
    )
    return Met(names, np.zeros(MET_MAX, np.int64), np.zeros(1, np.int64))


def take_met(met: Met) -> dict[str, int]:
    """How often each type was met since the last call."""
    names, counts = met.names, met.times[: met.size[0]]
    taken = {}
    for k in np.flatnonzero(counts):
        start = names.start[k]
        taken[names.buffer[start : start + names.length[k]].tobytes().decode()] = int(counts[k])
    counts[:] = 0
    return taken


def event_types(meanings: Mapping[str, Meaning], weight_default: float, others_accepted: bool) -> EventTypes:
    """The table of `meanings`."""
    texts = texts_of([name.encode() for name in meanings])
    slots = np.full(1 << (2 * len(meanings)).bit_length(), -1, np.int32)
    names = Names(slots, hash_spans(*texts), *texts)
    for k in range(len(meanings)):
        _enter(names, k)
    weight = np.array([meaning.weight for meaning in meanings.values()], np.float32)
    removes = np.array([meaning.removes for meaning in meanings.values()], np.bool_)
    return EventTypes(names, weight, removes, weight_default, others_accepted)


def texts_of(values: Sequence[bytes]) -> Texts:
    """Byte strings, none of them absent, joined into one writable buffer."""
    length = np.fromiter(map(len, values), np.int64, count=len(values))
    return Texts(np.frombuffer(bytearray().join(values), np.uint8), np.cumsum(length) - length, length)


def columns_of(
    records: Texts,
    eligible: Mask,
    timestamps_ms: I64,
    keys: Texts,
    limits: Limits,
    types: EventTypes,
    met: Met,
) -> tuple[Columns, int]:
    """What could be taken of n records, and how many of those have a key that differs from the user_id.

    Records that are not `eligible` are left alone, and so is any with a doubt: `done` says which were taken.
    """
    n = len(records.start)
    for texts in (records, keys):
        assert texts.buffer.dtype == np.uint8
        assert len(texts.start) == len(texts.length) == n
        assert n == 0 or (texts.start.min() >= 0 and (texts.start + texts.length).max() <= len(texts.buffer))
    assert eligible.shape == timestamps_ms.shape == (n,)
    columns = Columns(
        done=np.zeros(n, np.bool_),
        user_start=np.empty(n, np.int64),
        user_length=np.empty(n, np.int32),
        user_hash=np.empty(n, np.uint64),
        item_start=np.empty(n, np.int64),
        item_length=np.empty(n, np.int32),
        item_hash=np.empty(n, np.uint64),
        weight=np.empty(n, np.float32),
        value=np.empty(n, np.float32),
        remove=np.empty(n, np.bool_),
        time_ms=np.empty(n, np.int64),
        event_id=np.empty(n, np.uint64),
    )
    type_start, type_length = np.empty(n, np.int64), np.empty(n, np.int32)
    _fill(records, eligible, timestamps_ms, limits, columns, type_start, type_length)
    _weigh(records.buffer, type_start, type_length, types, met, columns)
    return columns, int(_mismatches(records.buffer, keys, columns))


@numba.njit(cache=True)
def _fill(
    records: Texts,
    eligible: Mask,
    timestamps_ms: I64,
    limits: Limits,
    columns: Columns,
    type_start: I64,
    type_length: I32,
) -> None:
    """Fill the rows of `columns` that can be taken, but for what their types, spans of the buffer, mean."""
    buffer = records.buffer
    found = np.empty(FOUND_LENGTH, np.int64)
    bits = np.empty(1, np.uint64)
    for i in range(len(eligible)):
        if not eligible[i]:
            continue
        start = records.start[i]
        stop = start + records.length[i]
        if limits.framed:
            if stop - start < FRAME_BYTES or buffer[start] != 0 or buffer[start + FRAME_BYTES - 1] != 0:
                continue
            start += FRAME_BYTES
        if not _split(buffer, start, stop, found):
            continue
        recorded_ms = known_time_ms(timestamps_ms[i])
        columns.done[i] = _fill_row(i, buffer, found, bits, recorded_ms, limits, columns)
        type_start[i] = found[EVENT_TYPE]
        type_length[i] = max(found[LENGTH + EVENT_TYPE], 0)


@numba.njit(cache=True)
def _mismatches(buffer: U8, keys: Texts, columns: Columns) -> int:
    """How many rows that were taken have a key that differs from the user_id."""
    mismatches = 0
    for i in range(len(columns.done)):
        if (
            columns.done[i]
            and keys.length[i] >= 0
            and not _same(
                buffer,
                columns.user_start[i],
                columns.user_length[i],
                keys.buffer,
                keys.start[i],
                keys.length[i],
            )
        ):
            mismatches += 1
    return mismatches


@numba.njit(cache=True)
def _weigh(
    buffer: U8, type_start: I64, type_length: I32, types: EventTypes, met: Met, columns: Columns
) -> None:
    """Fill in what event types mean; rows of other types are left alone where none is accepted."""
    folded = np.empty(EVENT_TYPE_BYTES_MAX, np.uint8)
    known, unknown = types.names, met.names
    for i in range(len(columns.done)):
        if not columns.done[i]:
            continue
        start, length = type_start[i], type_length[i]
        text_hash = hash_bytes(buffer, start, length)
        entry = _find(buffer, start, length, text_hash, known)
        before = _find(buffer, start, length, text_hash, unknown) if entry < 0 else -1
        if before >= 0:
            met.times[before] += 1
        elif entry < 0:
            size = _fold(buffer, start, length, folded)
            if size > 0:
                entry = _find(folded, 0, size, hash_bytes(folded, 0, size), known)
            if entry < 0 and types.others_accepted:
                _meet(buffer, start, length, text_hash, met)
        columns.done[i] = entry >= 0 or types.others_accepted
        columns.weight[i] = types.weight[entry] if entry >= 0 else types.weight_default
        columns.remove[i] = entry >= 0 and types.removes[entry]


@numba.njit(cache=True)
def _fill_row(
    i: int,
    buffer: U8,
    found: I64,
    bits: U64,
    recorded_ms: int,
    limits: Limits,
    columns: Columns,
) -> bool:
    """Check the fields that `_split` found and fill row i of `columns`; False where one is in doubt.

    `bits` (uint64, 1) is scratch space; `recorded_ms` is when the record was made, 0 if nobody knows.
    """
    user_start, user_length = found[USER_ID], found[LENGTH + USER_ID]
    item_start, item_length = found[ITEM_ID], found[LENGTH + ITEM_ID]
    type_start, type_length = found[EVENT_TYPE], max(found[LENGTH + EVENT_TYPE], 0)
    id_start, id_length = found[EVENT_ID], max(found[LENGTH + EVENT_ID], 0)
    if not (1 <= user_length <= ID_BYTES_MAX and _is_printable(buffer, user_start, user_length)):
        return False
    if not (1 <= item_length <= ID_BYTES_MAX and _is_printable(buffer, item_start, item_length)):
        return False
    if not (type_length <= EVENT_TYPE_BYTES_MAX and _is_printable(buffer, type_start, type_length)):
        return False
    if not (id_length <= EVENT_ID_BYTES_MAX and _is_printable(buffer, id_start, id_length)):
        return False
    has_value = found[VALUE] >= 0
    value = _double(buffer, found[VALUE], bits) if has_value else np.nan
    if has_value and not abs(value) <= limits.value_abs_max:
        return False
    time_ms = max(found[TIME], 0)
    if time_ms > TIME_MAX_MS or (recorded_ms > 0 and time_ms - recorded_ms > limits.event_time_ahead_max_ms):
        return False

    columns.user_start[i] = user_start
    columns.user_length[i] = user_length
    columns.user_hash[i] = hash_bytes(buffer, user_start, user_length)
    columns.item_start[i] = item_start
    columns.item_length[i] = item_length
    columns.item_hash[i] = hash_bytes(buffer, item_start, item_length)
    columns.value[i] = value
    columns.time_ms[i] = time_ms if time_ms > 0 else recorded_ms
    columns.event_id[i] = np.uint64(0)
    if id_length > 0:  # 0 says that there is none, so none may hash to it
        columns.event_id[i] = max(hash_bytes(buffer, id_start, id_length), np.uint64(1))
    return True


@numba.njit(cache=True)
def _split(buffer: U8, position: int, stop: int, found: I64) -> bool:
    """Find the fields of a message in `buffer[position:stop]`; False where it is not a plain Interaction.

    `found` (int64, FOUND_LENGTH) receives -1 for what is absent, else at a field's number where its
    bytes start (for TIME its value), and at LENGTH + number the length of a text.
    """
    found[:] = -1
    while position < stop:
        tag = buffer[position]
        position += 1
        field = np.int64(tag >> 3)
        if tag == TAG_VALUE:
            if found[field] >= 0 or stop - position < 8:
                return False
            found[field] = position
            position += 8
        elif tag == TAG_TIME:
            time_ms, position = _varint(buffer, position, stop)
            if found[field] >= 0 or time_ms < 0:
                return False
            found[field] = time_ms
        elif tag in TAGS_TEXT:
            length, position = _varint(buffer, position, stop)
            if found[field] >= 0 or length < 0 or length > stop - position:
                return False
            found[field] = position
            found[LENGTH + field] = length
            position += length
        else:
            return False
    return True


@numba.njit(cache=True)
def _varint(buffer: U8, position: int, stop: int) -> tuple[int, int]:
    """The unsigned number at `position` and the position after it; -1 if cut off or over 63 bits."""
    number = 0
    shift = 0
    while position < stop and shift < 7 * VARINT_BYTES_MAX:
        byte = int(buffer[position])
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    return -1, position


@numba.njit(cache=True)
def _double(buffer: U8, position: int, bits: U64) -> float:
    """The little-endian double at `position`."""
    bits[0] = 0
    for k in range(8):
        bits[0] |= np.uint64(buffer[position + k]) << np.uint64(8 * k)
    return float(bits.view(np.float64)[0])


@numba.njit(cache=True)
def _is_printable(buffer: U8, start: int, length: int) -> bool:
    """Whether all is ASCII and nothing a control character."""
    for i in range(start, start + length):  # noqa: SIM110, as numba compiles loops, not generators
        if buffer[i] < 0x20 or buffer[i] > 0x7E:
            return False
    return True


@numba.njit(cache=True)
def _same(
    left: U8, left_start: int, left_length: int, right: U8, right_start: int, right_length: int
) -> bool:
    if left_length != right_length:
        return False
    for k in range(left_length):  # noqa: SIM110, as numba compiles loops, not generators
        if left[left_start + k] != right[right_start + k]:
            return False
    return True


@numba.njit(cache=True)
def _meet(buffer: U8, start: int, length: int, text_hash: np.uint64, met: Met) -> None:
    """Count a type for the first time, if there is room."""
    k, names = met.size[0], met.names
    if k == MET_MAX:
        return
    for n in range(length):
        names.buffer[names.start[k] + n] = buffer[start + n]
    names.length[k] = length
    names.hashes[k] = text_hash
    _enter(names, k)
    met.times[k] = 1
    met.size[0] = k + 1


@numba.njit(cache=True)
def _fold(buffer: U8, start: int, length: int, folded: U8) -> int:
    """`event_types.fold` of ASCII text, into `folded`; its length."""
    size = 0
    for position in range(start, start + length):
        byte = buffer[position]
        if 0x41 <= byte <= 0x5A:
            byte |= 0x20
        if 0x30 <= byte <= 0x39 or 0x61 <= byte <= 0x7A:
            folded[size] = byte
            size += 1
    return size


@numba.njit(cache=True)
def _find(buffer: U8, start: int, length: int, text_hash: np.uint64, names: Names) -> int:
    """The number of a text among names, or -1."""
    mask = len(names.slots) - 1
    slot = np.int64(text_hash & np.uint64(mask))
    while names.slots[slot] >= 0:
        k = int(names.slots[slot])
        if names.hashes[k] == text_hash and _same(
            buffer, start, length, names.buffer, names.start[k], names.length[k]
        ):
            return k
        slot = (slot + 1) & mask
    return -1


@numba.njit(cache=True)
def _enter(names: Names, k: int) -> None:
    """Let text k be found, which is not yet."""
    mask = len(names.slots) - 1
    slot = np.int64(names.hashes[k] & np.uint64(mask))
    while names.slots[slot] >= 0:
        slot = (slot + 1) & mask
    names.slots[slot] = k

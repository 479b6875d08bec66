"""From raw records to columns of interactions, and to words about what could not be used.

`wire` takes the usual record; what it leaves is read by `formats` and judged by
`validate`, one record at a time. Nothing here raises because of what a record holds.

Codes of `Rejected`, which dashboards and scripts may rely on:

    decode    decoder_failed
              tombstone  record_too_large  empty_record  content_type_unsupported
              framing_missing  framing_unexpected  framing_malformed
              protobuf_malformed  protobuf_mixed  text_not_utf8
              json_malformed  json_field_unknown  json_field_twice  field_type_wrong
    validate  user_id_missing  user_id_too_long  user_id_control_character
              item_id_missing  item_id_too_long  item_id_control_character
              event_type_too_long  event_type_unknown  event_id_too_long
              value_not_finite  value_too_large  event_time_negative  event_time_ahead
              batch_empty  batch_too_large  batch_users_differ
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from state.arrays import Mask
from state.kernels import hash_spans
from stream.config import DecodeConfig
from stream.events import Decoded, Interactions, Records, Rejected
from stream.intake import formats, wire
from stream.intake.event_types import looks_negative, meanings
from stream.intake.validate import Interaction, Message, Rejection, Rules, quote

INT64_MAX = 2**63 - 1
QUICK_FORMATS = (formats.Format.DETECT, formats.Format.PROTOBUF)


class _Row(NamedTuple):
    """An `Interaction` and its place."""

    record: int
    part: int
    interaction: Interaction


class Decoder:
    """Decodes and validates records under one configuration; no call depends on those before.

    `framing` is `topics.framing`: "none", or "confluent" for values that start with a schema id.
    """

    def __init__(self, config: DecodeConfig, framing: str = "none"):
        self._config = config
        self._framed = framing == "confluent"
        self._rules = Rules(config)
        self._types = wire.event_types(
            meanings(config), config.event_weight_default, config.unknown_event_types == "weigh"
        )
        self._met = wire.nothing_met()
        self._limits = wire.Limits(
            self._framed, config.value_abs_max, min(config.event_time_ahead_max_ms, INT64_MAX)
        )

    def decode(self, records: Records) -> Decoded:
        """Every record as interactions or as one `Rejected`, both in record order.

        A record on which decoding fails, whatever the reason, is found by bisection and rejected.
        """
        try:
            return self._decode(records)
        except MemoryError:
            raise
        except Exception as error:
            half = len(records) // 2
            if half == 0:
                return Decoded(_slow_columns(()), (_failed(error),), 0, {})
            return _followed_by(self.decode(records[:half]), self.decode(records[half:]), half)

    def _decode(self, records: Records) -> Decoded:
        values = _texts(records.values)
        columns, key_mismatches = wire.columns_of(
            values,
            self._eligible(records, values),
            records.timestamps_ms,
            _texts(records.keys),
            self._limits,
            self._types,
            self._met,
        )
        quick = _quick_columns(values, columns)
        if len(quick) == len(records):
            return Decoded(quick, (), key_mismatches, self._take_doubtful())

        rejected: list[Rejected] = []
        slow: list[_Row] = []
        for record in np.flatnonzero(~columns.done).tolist():
            outcome = self.decode_one(
                records.values[record], records.headers[record], int(records.timestamps_ms[record])
            )
            if isinstance(outcome, Rejection):
                rejected.append(Rejected(record, outcome.stage, outcome.reason, outcome.code))
            else:
                slow.extend(_Row(record, part, interaction) for part, interaction in enumerate(outcome))
                key_mismatches += records.keys[record] not in (None, outcome[0].user_id)
        columns_of_all = _merge(quick, _slow_columns(slow))
        return Decoded(columns_of_all, tuple(rejected), key_mismatches, self._take_doubtful())

    def _take_doubtful(self) -> dict[str, int]:
        """Event types met since the last call that have no meaning of their own and look negative."""
        met = self._rules.take_met() + Counter(wire.take_met(self._met))
        return {name: count for name, count in met.items() if looks_negative(name)}

    def decode_one(
        self, value: bytes | None, headers: Sequence[tuple[str, bytes]] | None, timestamp_ms: int
    ) -> list[Interaction] | Rejection:
        """The slow and complete way: the interactions of one record, or what is wrong with it."""
        if value is None:
            return Rejection(
                "decode",
                "tombstone",
                "the record has no value (a tombstone), which means nothing among interactions: "
                'to unlearn one, send it with event_type "remove"',
            )
        if len(value) > self._config.record_bytes_max:
            return Rejection(
                "decode",
                "record_too_large",
                f"the record has {len(value):,} bytes, more than decode.record_bytes_max = "
                f"{self._config.record_bytes_max:,}: send smaller batches or raise the setting",
            )
        named = formats.format_of(headers)
        if isinstance(named, Rejection):
            return named
        message = formats.read(value, named, self._framed, self._config.batch_interactions_max)
        if isinstance(message, Rejection):
            return message
        return self._check(message, timestamp_ms)

    def _check(self, message: Message, timestamp_ms: int) -> list[Interaction] | Rejection:
        """All parts, or what is wrong with the first bad one."""
        interactions: list[Interaction] = []
        for part, sent in enumerate(message.parts):
            where = f"interactions[{part}]." if message.is_batch else ""
            checked = self._rules.check(sent, timestamp_ms, where)
            if isinstance(checked, Rejection):
                return checked
            interactions.append(checked)
            if checked.user_id != interactions[0].user_id:
                return Rejection(
                    "validate",
                    "batch_users_differ",
                    f"{where}user_id is {quote(sent.user_id)}, but interactions[0] is of "
                    f"{quote(message.parts[0].user_id)}: send one batch for each user",
                )
        return interactions

    def _eligible(self, records: Records, values: wire.Texts) -> Mask:
        """Which records may go the quick way, judged by their size and headers."""
        eligible = (values.length > 0) & (values.length <= self._config.record_bytes_max)
        if any(records.headers):
            for record, headers in enumerate(records.headers):
                if headers and formats.format_of(headers) not in QUICK_FORMATS:
                    eligible[record] = False
        return eligible


def _failed(error: Exception) -> Rejected:
    """What is said of a record that nobody foresaw."""
    reason = (
        f"decoding it failed with {type(error).__name__}: {quote(str(error))}. "
        "This is a fault of livefactor: please report it with the record"
    )
    return Rejected(0, "decode", reason, "decoder_failed")


def _followed_by(first: Decoded, second: Decoded, records: int) -> Decoded:
    """What came of two parts of a batch; the first has so many records."""
    shifted = replace(second.interactions, record=second.interactions.record + np.int32(records))
    return Decoded(
        _merge(first.interactions, shifted),
        (*first.rejected, *(replace(each, record=each.record + records) for each in second.rejected)),
        first.key_mismatches + second.key_mismatches,
        Counter(first.doubtful_types) + Counter(second.doubtful_types),
    )


def _texts(values: Sequence[bytes | None]) -> wire.Texts:
    """All values, absent ones included, in one buffer."""
    if None not in values:
        return wire.texts_of(values)  # type: ignore[arg-type]
    texts = wire.texts_of([value or b"" for value in values])
    texts.length[[value is None for value in values]] = -1
    return texts


def _quick_columns(values: wire.Texts, columns: wire.Columns) -> Interactions:
    """The interactions that the kernel took, one of each record."""
    taken = np.flatnonzero(columns.done)
    everything = len(taken) == len(columns.done)
    return Interactions(
        buffer=values.buffer,
        record=taken.astype(np.int32),
        part=np.zeros(len(taken), np.int32),
        **{
            name: column if everything else column[taken]
            for name, column in columns._asdict().items()
            if name != "done"
        },
    )


def _slow_columns(rows: Sequence[_Row]) -> Interactions:
    """Interactions read one by one, with a buffer of their own."""
    texts = wire.texts_of(
        [row.interaction.user_id for row in rows]
        + [row.interaction.item_id for row in rows]
        + [row.interaction.event_id for row in rows]
    )
    hashes = hash_spans(*texts)
    users, items, event_ids = (slice(k * len(rows), (k + 1) * len(rows)) for k in range(3))
    return Interactions(
        buffer=texts.buffer,
        record=np.array([row.record for row in rows], np.int32),
        part=np.array([row.part for row in rows], np.int32),
        user_start=texts.start[users],
        user_length=texts.length[users].astype(np.int32),
        user_hash=hashes[users],
        item_start=texts.start[items],
        item_length=texts.length[items].astype(np.int32),
        item_hash=hashes[items],
        weight=np.array([row.interaction.weight for row in rows], np.float32),
        value=np.array([row.interaction.value for row in rows], np.float32),
        remove=np.array([row.interaction.remove for row in rows], np.bool_),
        time_ms=np.array([row.interaction.time_ms for row in rows], np.int64),
        # 0 says that there is none, so none may hash to it
        event_id=np.where(texts.length[event_ids] > 0, np.maximum(hashes[event_ids], 1), 0).astype(np.uint64),
    )


def _merge(quick: Interactions, slow: Interactions) -> Interactions:
    """Both in one, ordered by record and part: no record is in both, and each is in order already."""
    if len(slow) == 0:
        return quick
    shift = len(quick.buffer)
    slow = replace(slow, user_start=slow.user_start + shift, item_start=slow.item_start + shift)
    order = np.argsort(np.concatenate((quick.record, slow.record)), kind="stable")
    return Interactions(
        buffer=np.concatenate((quick.buffer, slow.buffer)),
        **{
            column.name: np.concatenate((getattr(quick, column.name), getattr(slow, column.name)))[order]
            for column in fields(Interactions)
            if column.name != "buffer"
        },
    )

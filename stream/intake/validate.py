"""What an interaction must be to be learnt from, and what the sender is told when it is not."""

import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from state.store import ID_BYTES_MAX
from stream.config import DecodeConfig
from stream.intake.event_types import Meaning, fold, meanings
from stream.intake.wire import EVENT_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, TIME_MAX_MS, known_time_ms

QUOTED_LENGTH_MAX = 40
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DAY_MS = 86_400_000


class Rejection(NamedTuple):
    """Why a record cannot be used; `stream.events.Rejected` without the record's number."""

    stage: str
    code: str
    reason: str


class Fields(NamedTuple):
    """One interaction as it was sent, whatever the format; `value` is None where there was none."""

    user_id: str
    item_id: str
    event_type: str
    value: float | None
    event_time_ms: int
    event_id: str


class Message(NamedTuple):
    """What one record holds: a single Interaction, or the parts of an InteractionBatch."""

    parts: Sequence[Fields]
    is_batch: bool


class Interaction(NamedTuple):
    """One interaction that may be learnt; `value` is NaN where there was none, ids are UTF-8."""

    user_id: bytes
    item_id: bytes
    weight: float
    value: float
    remove: bool
    time_ms: int
    event_id: bytes


def quote(value: object) -> str:
    """A value of a stranger for a message: printable and of sane length."""
    is_text = isinstance(value, str | bytes)
    text = repr(value[: QUOTED_LENGTH_MAX + 1]) if is_text else reprlib.repr(value)  # type: ignore[index]
    return text if len(text) <= QUOTED_LENGTH_MAX + 3 else text[:QUOTED_LENGTH_MAX] + "..."


def batch_rejection(length: int, interactions_max: int) -> Rejection | None:
    """What is wrong with the length of a batch."""
    if length == 0:
        return Rejection("validate", "batch_empty", "the batch has no interactions: send at least one")
    if length > interactions_max:
        return Rejection(
            "validate",
            "batch_too_large",
            f"the batch has {length:,} interactions, more than decode.batch_interactions_max = "
            f"{interactions_max:,}: send several records or raise the setting",
        )
    return None


class Rules:
    """The limits of `[decode]` applied to one interaction at a time."""

    def __init__(self, config: DecodeConfig):
        self._config = config
        self._meanings = meanings(config)
        self._other = Meaning(config.event_weight_default, removes=False)
        self._met: Counter[str] = Counter()

    def check(self, fields: Fields, timestamp_ms: int, where: str) -> Interaction | Rejection:
        """The interaction, or what is wrong with it.

        `timestamp_ms` is the record's, `where` the part of the record with a dot after it, or nothing.
        """
        recorded_ms = int(known_time_ms(timestamp_ms))
        rejection = (
            _check_id("user_id", fields.user_id, where)
            or _check_id("item_id", fields.item_id, where)
            or self._check_event_type(fields.event_type, where)
            or _check_length("event_id", fields.event_id, EVENT_ID_BYTES_MAX, where)
            or self._check_value(fields.value, where)
            or self._check_time(fields.event_time_ms, recorded_ms, where)
        )
        if rejection:
            return rejection
        meaning = self._meaning_of(fields.event_type)
        if meaning is None:
            self._met[fields.event_type] += 1
            meaning = self._other
        return Interaction(
            user_id=fields.user_id.encode(),
            item_id=fields.item_id.encode(),
            weight=meaning.weight,
            value=math.nan if fields.value is None else fields.value,
            remove=meaning.removes,
            time_ms=fields.event_time_ms or recorded_ms,
            event_id=fields.event_id.encode(),
        )

    def take_met(self) -> Counter[str]:
        """Interactions since the last call whose event type has no meaning of its own, by that type."""
        taken, self._met = self._met, Counter()
        return taken

    def _meaning_of(self, event_type: str) -> Meaning | None:
        """What a type means, None if nobody has said."""
        return self._meanings.get(event_type) or self._meanings.get(fold(event_type) or event_type)

    def _check_event_type(self, event_type: str, where: str) -> Rejection | None:
        rejection = _check_length("event_type", event_type, EVENT_TYPE_BYTES_MAX, where)
        if rejection:
            return rejection
        if self._config.unknown_event_types == "reject" and self._meaning_of(event_type) is None:
            return Rejection(
                "validate",
                "event_type_unknown",
                f"{where}event_type {quote(event_type)} is not known: known are "
                f"{_names(self._config.event_weights)} and common names such as 'remove' and 'dislike'; "
                'add it to decode.event_weights or set decode.unknown_event_types = "weigh"',
            )
        return None

    def _check_value(self, value: float | None, where: str) -> Rejection | None:
        if value is None:
            return None
        if not math.isfinite(value):
            return Rejection(
                "validate",
                "value_not_finite",
                f"{where}value is {value}: send a finite number, or none for the weight of the event type",
            )
        if abs(value) > self._config.value_abs_max:
            return Rejection(
                "validate",
                "value_too_large",
                f"{where}value {value:g} lies outside plus or minus decode.value_abs_max = "
                f"{self._config.value_abs_max:g}: send a smaller number or raise the setting",
            )
        return None

    def _check_time(self, event_time_ms: int, recorded_ms: int, where: str) -> Rejection | None:
        if event_time_ms < 0:
            return Rejection(
                "validate",
                "event_time_negative",
                f"{where}event_time_ms is {event_time_ms}: send milliseconds since 1970, "
                "or 0 for the timestamp of the record",
            )
        ahead_ms = event_time_ms - recorded_ms
        if recorded_ms and ahead_ms > self._config.event_time_ahead_max_ms:
            return Rejection(
                "validate",
                "event_time_ahead",
                f"{where}event_time_ms {event_time_ms} lies {ahead_ms / DAY_MS:,.1f} days after the record's "
                f"timestamp {recorded_ms}, more than decode.event_time_ahead_max_ms = "
                f"{self._config.event_time_ahead_max_ms} allows: send milliseconds since 1970, "
                "or 0 for the timestamp of the record",
            )
        if event_time_ms > TIME_MAX_MS:
            return Rejection(
                "validate",
                "event_time_ahead",
                f"{where}event_time_ms {event_time_ms} lies after the year 2200: "
                "send milliseconds since 1970, or 0 for the timestamp of the record",
            )
        return None


def _check_id(name: str, text: str, where: str) -> Rejection | None:
    if not text:
        return Rejection(
            "validate",
            f"{name}_missing",
            f"{where}{name} is missing or empty: send 1 to {ID_BYTES_MAX} bytes",
        )
    control = CONTROL_CHARACTER.search(text)
    if control:
        return Rejection(
            "validate",
            f"{name}_control_character",
            f"{where}{name} {quote(text)} has the control character {control.group()!r} at position "
            f"{control.start()}: send printable text",
        )
    return _check_length(name, text, ID_BYTES_MAX, where)


def _check_length(name: str, text: str, bytes_max: int, where: str) -> Rejection | None:
    length = len(text.encode())
    if length <= bytes_max:
        return None
    return Rejection(
        "validate",
        f"{name}_too_long",
        f"{where}{name} {quote(text)} has {length} bytes in UTF-8: send at most {bytes_max}",
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(quote(name) for name in sorted(names) if name)

"""How a record is written: what its header says, a Confluent frame, protobuf or JSON.

The slow and complete way, one record at a time; `wire` is the quick one for the usual record.

Confluent's frame: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/
"""

from collections.abc import Sequence
from enum import Enum

from stream.intake.json_format import looks_like_json, read_json
from stream.intake.protobuf_format import read_protobuf, read_varint
from stream.intake.validate import Message, Rejection, quote

CONTENT_TYPE_HEADER = "content-type"
SCHEMA_ID_BYTES = 5
MESSAGE_INDEXES_MAX = 16


class Format(Enum):
    """How a value is written."""

    DETECT = "detect"
    JSON = "json"
    PROTOBUF = "protobuf"


CONTENT_TYPES = {
    "application/json": Format.JSON,
    "application/protobuf": Format.PROTOBUF,
    "application/x-protobuf": Format.PROTOBUF,
}


def format_of(headers: Sequence[tuple[str, bytes | None]] | None) -> Format | Rejection:
    """What the `content-type` header says; the last one counts, as in Kafka's own clients."""
    for name, content in reversed(headers or ()):
        if name.lower() == CONTENT_TYPE_HEADER:
            return _format_named((content or b"").decode("utf-8", "replace"))
    return Format.DETECT


def _format_named(content_type: str) -> Format | Rejection:
    named = CONTENT_TYPES.get(content_type.partition(";")[0].strip().lower())
    return named or Rejection(
        "decode",
        "content_type_unsupported",
        f"the header content-type is {quote(content_type)}: send one of {', '.join(CONTENT_TYPES)}, "
        "or leave the header out",
    )


def read(value: bytes, named: Format, framed: bool, interactions_max: int) -> Message | Rejection:
    """What a record holds, each field with the right type, nothing else checked but the length of a batch.

    `named` is what its header says, `framed` whether a Confluent frame comes first.
    """
    payload = _unframe(value, named) if framed else value
    if isinstance(payload, Rejection):
        return payload
    if not payload:
        return Rejection(
            "decode",
            "empty_record",
            "the record has no bytes: send an Interaction, or an InteractionBatch with at least one",
        )
    if payload[0] == 0 and not framed:
        return Rejection(
            "decode",
            "framing_unexpected",
            "the record starts with a zero byte, as a Confluent serializer writes it: "
            'set topics.framing = "confluent", or send plain protobuf',
        )
    if _is_json(payload, named):
        return read_json(payload, interactions_max)
    return read_protobuf(payload, interactions_max)


def _is_json(payload: bytes, named: Format) -> bool:
    return named is Format.JSON or (named is Format.DETECT and looks_like_json(payload))


def _unframe(value: bytes, named: Format) -> bytes | Rejection:
    """What follows the zero byte, the schema id and, unless it is JSON, the indexes of the message type."""
    if value[:1] != b"\0":
        return Rejection(
            "decode",
            "framing_missing",
            f"the record starts with {quote(value[:8])} instead of the zero byte of a Confluent frame: "
            'send it through a Confluent serializer, or set topics.framing = "none"',
        )
    if len(value) < SCHEMA_ID_BYTES:
        return _frame_malformed(f"it has {len(value)} bytes and a schema id needs {SCHEMA_ID_BYTES}")
    payload = value[SCHEMA_ID_BYTES:]
    if _is_json(payload, named):
        return payload
    count, position = read_varint(payload, 0, len(payload))
    # zigzag: the usual short form, a zero, stands for one index
    if count is None or count & 1 or count >> 1 > MESSAGE_INDEXES_MAX:
        return _frame_malformed("no list of message indexes follows the schema id")
    for _ in range(count >> 1):
        index, position = read_varint(payload, position, len(payload))
        if index is None:
            return _frame_malformed("the list of message indexes is cut off")
    return payload[position:]


def _frame_malformed(what: str) -> Rejection:
    return Rejection(
        "decode",
        "framing_malformed",
        f"the Confluent frame of the record is broken: {what}; send it through a Confluent serializer",
    )

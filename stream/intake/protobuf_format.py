"""Reads a protobuf `Interaction` or `InteractionBatch`, and says what is wrong with what is neither.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from protos import events_pb2
from stream.intake.validate import Fields, Message, Rejection, batch_rejection, quote

FIELD_NAMES = {
    number: field.name for number, field in events_pb2.Interaction.DESCRIPTOR.fields_by_number.items()
}
TEXT_FIELDS = frozenset(FIELD_NAMES) - {4, 5}
BATCH_FIELD = 15
BATCH_TAG = BATCH_FIELD << 3 | 2
VARINT_BYTES_MAX = 10
WIRE_TYPES = {0: "varint", 1: "64-bit", 2: "length-delimited", 3: "group", 5: "32-bit"}
WIRE_TYPE_VARINT, WIRE_TYPE_BYTES = 0, 2
# Bytes after a tag, or after the number that follows it; no message of ours has groups.
FIXED_BYTES = {WIRE_TYPE_VARINT: 0, 1: 8, WIRE_TYPE_BYTES: 0, 5: 4}


def read_protobuf(payload: bytes, interactions_max: int) -> Message | Rejection:
    """A batch is known by its first byte, the tag of field 15; `payload` is not empty."""
    try:
        if payload[0] == BATCH_TAG:
            return _read_batch(events_pb2.InteractionBatch.FromString(payload), interactions_max)
        fields = _fields_of(events_pb2.Interaction.FromString(payload), "")
    except DecodeError:
        return _explain(payload)
    return fields if isinstance(fields, Rejection) else Message([fields], is_batch=False)


def _read_batch(batch: events_pb2.InteractionBatch, interactions_max: int) -> Message | Rejection:
    rejection = batch_rejection(len(batch.interactions), interactions_max)
    if rejection:
        return rejection
    if any(number < BATCH_FIELD for number, _ in _unknown(batch)):
        return _mixed("")
    parts = []
    for part, message in enumerate(batch.interactions):
        fields = _fields_of(message, f"interactions[{part}].")
        if isinstance(fields, Rejection):
            return fields
        parts.append(fields)
    return Message(parts, is_batch=True)


def _fields_of(message: events_pb2.Interaction, where: str) -> Fields | Rejection:
    for number, wire_type in _unknown(message):
        if number in FIELD_NAMES:
            return Rejection(
                "decode",
                "field_type_wrong",
                f"{where}{FIELD_NAMES[number]} (field {number}) has wire type "
                f"{WIRE_TYPES[wire_type]}, which is not the one of livefactor.v1.Interaction: "
                "send the message of protos/events.proto",
            )
        if number == BATCH_FIELD:
            return _mixed(where)
    return Fields(
        message.user_id,
        message.item_id,
        message.event_type,
        message.value if message.HasField("value") else None,
        message.event_time_ms,
        message.event_id,
    )


def _unknown(message: events_pb2.Interaction | events_pb2.InteractionBatch) -> list[tuple[int, int]]:
    """(number, wire type) of the fields that the message does not declare, or not with this wire type."""
    unknown = UnknownFieldSet(message)
    return [(unknown[k].field_number, unknown[k].wire_type) for k in range(len(unknown))]


def _mixed(where: str) -> Rejection:
    return Rejection(
        "decode",
        "protobuf_mixed",
        f"{where}the message has fields of both Interaction (1 to 6) and InteractionBatch (15): "
        "send one or the other",
    )


def _explain(payload: bytes) -> Rejection:
    """What the protobuf library, which only says no, did not like."""
    fault = _fault(payload, 0, len(payload), "")
    return fault or _malformed("the protobuf library cannot read it")


def _malformed(what: str) -> Rejection:
    return Rejection(
        "decode",
        "protobuf_malformed",
        f"the record is not a valid protobuf Interaction or InteractionBatch: {what}",
    )


def _fault(payload: bytes, position: int, stop: int, where: str) -> Rejection | None:
    """What is wrong first with the message in `payload[position:stop]`."""
    part = 0
    while position < stop:
        start = position
        tag, position = read_varint(payload, position, stop)
        if tag is None or tag >> 3 == 0 or tag & 7 not in FIXED_BYTES:
            found = quote(payload[start : start + 8])
            return _malformed(f"{where}no field starts at byte {start} ({found}); is it protobuf at all?")
        number, wire_type = tag >> 3, tag & 7
        name = f"{where}{FIELD_NAMES.get(number, f'field {number}')} at byte {start}"
        length: int | None = FIXED_BYTES[wire_type]
        if wire_type in (WIRE_TYPE_VARINT, WIRE_TYPE_BYTES):
            content, position = read_varint(payload, position, stop)
            length = 0 if wire_type == WIRE_TYPE_VARINT and content is not None else content
        if length is None:
            return _malformed(f"{name} has a number that is cut off or too long")
        if length > stop - position:
            return _malformed(f"{name} is cut off: of its {length} bytes {stop - position} are there")
        if wire_type == WIRE_TYPE_BYTES:
            fault = None
            if number == BATCH_FIELD and not where:
                fault = _fault(payload, position, position + length, f"interactions[{part}].")
                part += 1
            elif number in TEXT_FIELDS:
                fault = _text_fault(payload[position : position + length], name)
            if fault:
                return fault
        position += length
    return None


def _text_fault(text: bytes, name: str) -> Rejection | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return Rejection(
            "decode",
            "text_not_utf8",
            f"{name} is not UTF-8: {quote(text)} has a bad byte at {error.start}; encode texts as UTF-8",
        )
    return None


def read_varint(payload: bytes, position: int, stop: int) -> tuple[int | None, int]:
    """The number at `position`, None where it is cut off or longer than ten bytes, and what follows it."""
    number = 0
    for k, byte in enumerate(payload[position : min(position + VARINT_BYTES_MAX, stop)]):
        number |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            return number, position + k + 1
    return None, position

"""Reads JSON with the field names of `Interaction`: an object, a list of them, or {"interactions": [...]}."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from stream.intake.validate import Fields, Message, Rejection, batch_rejection, quote

JSON_BATCH = "interactions"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n"
TAG_ITEM_ID = b"\x12"
JSON_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "user_id": ("a string", (str,)),
    "item_id": ("a string", (str,)),
    "event_type": ("a string", (str,)),
    "value": ("a number", (float, int)),
    "event_time_ms": ("an integer", (int,)),
    "event_id": ("a string", (str,)),
}
SPELLINGS = {
    spelling: name
    for name in JSON_TYPES
    for spelling in (name, re.sub("_(.)", lambda found: found[1].upper(), name))
}
"""Every way to spell a field's name: user_id and, as protobuf's own JSON has it, userId."""

INTEGER = re.compile(r"-?[0-9]{1,20}")
FIELD_UNKNOWN, TYPE_WRONG, SPELT_TWICE = "json_field_unknown", "field_type_wrong", "json_field_twice"
JSON_TYPE_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    type(None): "null",
}


def looks_like_json(payload: bytes) -> bool:
    """Whether bytes of an unnamed format are JSON.

    What begins with a line break may also be a protobuf message, whose first byte says "user_id". That has
    another byte that says "item_id", and it is a control character, which JSON never holds.
    """
    text = payload.removeprefix(BYTE_ORDER_MARK).lstrip(BLANKS)
    return text[:1] in (b"{", b"[") and (len(text) == len(payload) or TAG_ITEM_ID not in payload)


def read_json(payload: bytes, interactions_max: int) -> Message | Rejection:
    """Unknown names and wrong types are rejected; null is absence, of doubled names the last counts.

    Line breaks and blanks may come first, and a byte order mark.
    """
    try:
        document = orjson.loads(payload.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        return Rejection(
            "decode",
            "json_malformed",
            f"the record is not valid JSON: {error}; it starts with {quote(payload)}",
        )
    if isinstance(document, dict) and JSON_BATCH not in document:
        fields = _fields_of_json(document, "")
        return fields if isinstance(fields, Rejection) else Message([fields], is_batch=False)
    return _read_json_batch(document, interactions_max)


def _read_json_batch(document: object, interactions_max: int) -> Message | Rejection:
    if isinstance(document, dict):
        others = [name for name in document if name != JSON_BATCH]
        if others:
            return Rejection(
                "decode",
                FIELD_UNKNOWN,
                f'{quote(others[0])} does not belong beside "interactions": put it into each interaction',
            )
        document = document[JSON_BATCH]
    if not isinstance(document, list):
        return _type_wrong("the document or its interactions", document, "an object or an array of objects")
    rejection = batch_rejection(len(document), interactions_max)
    if rejection:
        return rejection
    parts = []
    for part, entry in enumerate(document):
        fields = _fields_of_json(entry, f"interactions[{part}].")
        if isinstance(fields, Rejection):
            return fields
        parts.append(fields)
    return Message(parts, is_batch=True)


def _fields_of_json(entry: object, where: str) -> Fields | Rejection:
    if not isinstance(entry, dict):
        return _type_wrong(where.rstrip("."), entry, "an object")
    fields = named_fields(entry)
    if isinstance(fields, WrongField):
        return _rejection_of(fields, where)
    value = fields.get("value")
    return Fields(
        fields.get("user_id", ""),
        fields.get("item_id", ""),
        fields.get("event_type", ""),
        None if value is None else float(value),
        fields.get("event_time_ms", 0),
        fields.get("event_id", ""),
    )


class WrongField(NamedTuple):
    """A field that cannot be used: one of `FIELD_UNKNOWN`, `TYPE_WRONG`, `SPELT_TWICE`, and what was sent."""

    code: str
    name: str
    content: object


def named_fields(entry: Mapping[str, object]) -> dict[str, Any] | WrongField:
    """What an object says, by the names of `Interaction`'s fields and with their types; null is absence.

    Names are spelt as in the .proto file or, as protobuf's own JSON does, userId; it also writes 64-bit
    integers as text. https://protobuf.dev/programming-guides/json/
    """
    found: dict[str, Any] = {}
    for name, content in entry.items():
        field = SPELLINGS.get(name)
        if field is None:
            return WrongField(FIELD_UNKNOWN, name, content)
        if content is None:
            continue
        read = _whole(content) if field == "event_time_ms" else content
        # a boolean is an int to isinstance
        if type(read) not in JSON_TYPES[field][1]:
            return WrongField(TYPE_WRONG, name, content)
        if found.setdefault(field, read) != read:
            return WrongField(SPELT_TWICE, name, content)
    return found


def expected_type(name: str) -> str:
    """What a field should be, in words, whichever way its name is spelt."""
    return JSON_TYPES[SPELLINGS[name]][0]


def _whole(content: object) -> object:
    """An integer that was sent as text or as a number with a fraction of zero; anything else as it is."""
    if isinstance(content, str) and INTEGER.fullmatch(content):
        return int(content)
    if isinstance(content, float) and content.is_integer():
        return int(content)
    return content


def _rejection_of(wrong: WrongField, where: str) -> Rejection:
    """In words for the sender."""
    if wrong.code == TYPE_WRONG:
        return _type_wrong(f"{where}{wrong.name}", wrong.content, expected_type(wrong.name))
    if wrong.code == SPELT_TWICE:
        return Rejection(
            "decode",
            SPELT_TWICE,
            f"{where}{SPELLINGS[wrong.name]} comes in two spellings with different values, one of them "
            f"{quote(wrong.content)}: send it once",
        )
    near = difflib.get_close_matches(wrong.name[:64].lower(), [*JSON_TYPES, JSON_BATCH], n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(JSON_TYPES)}"
    return Rejection(
        "decode", FIELD_UNKNOWN, f"{where}{quote(wrong.name)} is not a field of an interaction: {hint}"
    )


def _type_wrong(what: str, content: object, expected: str) -> Rejection:
    return Rejection(
        "decode",
        TYPE_WRONG,
        f"{what} is {JSON_TYPE_NAMES[type(content)]} ({quote(content)}): send {expected}",
    )

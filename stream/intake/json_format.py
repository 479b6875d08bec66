"""Reads JSON with the field names of `Interaction`: an object, a list of them, or {"interactions": [...]}."""

import difflib

import orjson

from stream.intake.validate import Fields, Message, Rejection, batch_rejection, quote

JSON_BATCH = "interactions"
JSON_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "user_id": ("a string", (str,)),
    "item_id": ("a string", (str,)),
    "event_type": ("a string", (str,)),
    "value": ("a number", (float, int)),
    "event_time_ms": ("an integer", (int,)),
    "event_id": ("a string", (str,)),
}
JSON_TYPE_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    type(None): "null",
}


def read_json(payload: bytes, interactions_max: int) -> Message | Rejection:
    """Unknown names and wrong types are rejected; null is absence, of doubled names the last counts."""
    try:
        document = orjson.loads(payload)
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
                "json_field_unknown",
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
    for name, content in entry.items():
        if name not in JSON_TYPES:
            return _name_unknown(name, where)
        if not has_json_type(name, content):
            return _type_wrong(f"{where}{name}", content, JSON_TYPES[name][0])
    value = entry.get("value")
    return Fields(
        entry.get("user_id") or "",
        entry.get("item_id") or "",
        entry.get("event_type") or "",
        None if value is None else float(value),
        entry.get("event_time_ms") or 0,
        entry.get("event_id") or "",
    )


def has_json_type(name: str, content: object) -> bool:
    """Whether a value is one that the field of this name may have; null is absence."""
    # a boolean is an int to isinstance
    return content is None or type(content) in JSON_TYPES[name][1]


def _name_unknown(name: str, where: str) -> Rejection:
    near = difflib.get_close_matches(name[:64].lower(), [*JSON_TYPES, JSON_BATCH], n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(JSON_TYPES)}"
    return Rejection(
        "decode", "json_field_unknown", f"{where}{quote(name)} is not a field of an interaction: {hint}"
    )


def _type_wrong(what: str, content: object, expected: str) -> Rejection:
    return Rejection(
        "decode",
        "field_type_wrong",
        f"{what} is {JSON_TYPE_NAMES[type(content)]} ({quote(content)}): send {expected}",
    )

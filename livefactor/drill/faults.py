"""Faults as producers of events make them, planted in a recorded stream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

PUMPED_SHARE = 0.2
"""Share of the events whose item is replaced by the one that is pumped."""

RESCALED_BY = 20.0
"""As if percent came where stars had been."""

RENAMED = {"item_id": "sku", "user_id": "customer"}
"""What the fields of ids are called after a producer's release."""

Row = dict[str, Any]
"""One event: names and values of its fields, as in a JSON record."""

Fault = Callable[[Sequence[Row], slice, np.random.Generator], Iterator[Row]]
"""The rows of a part of a stream as a faulty producer would have sent them; it is given the whole stream."""


def plant(rows: Sequence[Row], fault: str, part: slice, seed: int) -> list[Row]:
    """The stream with a fault in one part of it. Raises KeyError for a name that is not in `FAULTS`."""
    changed = FAULTS[fault](rows, part, np.random.default_rng(seed))
    return [*rows[: part.start], *changed, *rows[part.stop :]]


def _permute_items(rows: Sequence[Row], part: slice, random: np.random.Generator) -> Iterator[Row]:
    """Every item gets the id of another: an index was rebuilt, or another catalogue was loaded."""
    mapped = _permutation(rows, random)
    return (row | {"item_id": mapped[row["item_id"]]} for row in rows[part])


def _gradual(rows: Sequence[Row], part: slice, random: np.random.Generator) -> Iterator[Row]:
    """The same, but for a few items at first and for all of them in the end: people's taste moves on."""
    mapped = _permutation(rows, random)
    turns = dict(zip(mapped, random.random(len(mapped)).tolist(), strict=True))
    count = part.stop - part.start
    for at, row in enumerate(rows[part]):
        yield row | {"item_id": mapped[row["item_id"]]} if turns[row["item_id"]] < at / count else row


def _shuffle_labels(rows: Sequence[Row], part: slice, random: np.random.Generator) -> Iterator[Row]:
    """Each user gets the item of someone else's event: a join went wrong. What is popular stays so."""
    items = random.permutation([row["item_id"] for row in rows[part]]).tolist()
    return (row | {"item_id": item} for row, item in zip(rows[part], items, strict=True))


def _pump_item(rows: Sequence[Row], part: slice, random: np.random.Generator) -> Iterator[Row]:
    """One item turns up in many events of everybody: it was bought, or a button sends a default."""
    pumped = random.choice(sorted({row["item_id"] for row in rows[: part.start]} or {rows[0]["item_id"]}))
    is_pumped = random.random(part.stop - part.start) < PUMPED_SHARE
    return (
        row | {"item_id": str(pumped)} if by else row for row, by in zip(rows[part], is_pumped, strict=True)
    )


def _rescale_values(rows: Sequence[Row], part: slice, random: np.random.Generator) -> Iterator[Row]:
    """Values come in another unit."""
    return (row | {"value": RESCALED_BY * row.get("value", 1.0)} for row in rows[part])


def _rename_fields(rows: Sequence[Row], part: slice, random: np.random.Generator) -> Iterator[Row]:
    """A producer's release calls its fields otherwise."""
    return ({RENAMED.get(name, name): value for name, value in row.items()} for row in rows[part])


def _none(rows: Sequence[Row], part: slice, random: np.random.Generator) -> Iterator[Row]:
    """The stream as it is."""
    return iter(rows[part])


FAULTS: Mapping[str, Fault] = {
    "permute-items": _permute_items,
    "shuffle-labels": _shuffle_labels,
    "pump-item": _pump_item,
    "rescale-values": _rescale_values,
    "rename-fields": _rename_fields,
    "gradual": _gradual,
    "none": _none,
}
"""By name."""


def _permutation(rows: Sequence[Row], random: np.random.Generator) -> dict[str, str]:
    """The items of a stream, each with another one's id or, seldom, its own."""
    items = sorted({row["item_id"] for row in rows})
    return dict(zip(items, random.permutation(items).tolist(), strict=True))

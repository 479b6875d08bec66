"""What the dimensions of the item factors stand for: the items that have most of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from state.arrays import F32
from state.codec import ITEM
from state.factors import Items
from state.store import Reader, rows_of


@dataclass(frozen=True, slots=True)
class TopItem:
    """An item and its component in one dimension."""

    item_id: str
    component: float


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension: its share of all items' squared lengths, and the items that have most of it."""

    dimension: int
    share: float
    items: tuple[TopItem, ...]


def read_items(reader: Reader, rank: int, history_max: int) -> tuple[list[str], F32]:
    """Ids and vectors float32 [n, rank] of all items of a store, journal included, by ordinal."""
    blocks = [rows for rows in rows_of(reader, ITEM) if len(rows)]
    capacity = max((int(rows.ordinals.max()) + 1 for rows in blocks), default=0)
    items = Items(rank, capacity, history_max)
    for rows in blocks:
        items.apply(rows)
    slots = items.slots
    return [name.decode() for name in items.ids(slots)], items.vectors[slots]


def explain(item_ids: Sequence[str], vectors: F32, top: int) -> list[Dimension]:
    """Each dimension of `vectors` float32 [n, rank] with up to `top` items, the weightiest dimension first.

    Only items with a positive component are named; of equal ones those with the lower ordinal come first.
    """
    weights = np.square(vectors.astype(np.float64)).sum(axis=0)
    shares = weights / (weights.sum() or 1.0)
    return [
        Dimension(
            dimension, float(shares[dimension]), tuple(_top_items(item_ids, vectors[:, dimension], top))
        )
        for dimension in np.argsort(-shares, kind="stable").tolist()
    ]


def _top_items(item_ids: Sequence[str], components: F32, top: int) -> Iterator[TopItem]:
    for ordinal in np.argsort(-components, kind="stable")[:top].tolist():
        if components[ordinal] > 0:
            yield TopItem(item_ids[ordinal], float(components[ordinal]))

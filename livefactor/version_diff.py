"""What moved between two states of a model: norms, weights, and what a sample of users is offered."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from livefactor.replay.weights import named_weights
from livefactor.settings import Settings
from serving.ranker import User, recommend
from serving.refresh import spec_of
from serving.replica import Bounds, Replica
from state.arrays import F32, F64
from state.codec import USER, row_ids
from state.errors import StoreError
from state.store import Reader, Rows, journalled_rows

TORN_S, TORN_RETRY_S = 10.0, 0.05
"""How long the view of a store that a learner writes may be torn."""


def load(settings: Settings, reader: Reader) -> Replica:
    """The state that a reader sees. Raises StoreError if it cannot be seen whole."""
    bounds = Bounds(settings.state.rows_max, settings.state.items_max, settings.serving.overlay_bytes_max)
    deadline_s = time.monotonic() + TORN_S
    while time.monotonic() < deadline_s:
        head = reader.head()
        replica = Replica(reader, spec_of(head), bounds)
        if replica.load(head):
            return replica
        time.sleep(TORN_RETRY_S)
        reader.catch_up()
    raise StoreError("the journal does not reach from the last flush to the head: try again")


def diff(before: Replica, after: Replica, users: int, k: int) -> dict[str, Any]:
    """Figures by name, of items with events and of up to `users` users that both states know.

    `norms`: mean lengths of vectors before and after; `moved`: the median of |after - before| / |before|;
    `weights` of the ranking score by name, before and after; `top_k`: the share of what a user is offered
    that both states offer, and the share of users who are offered the same in the same order.
    """
    names = before.item_ids(np.flatnonzero(before.catalogue.interactions > 0))
    kept = after.items([name.encode() for name in names])
    names_kept = [name.encode() for name, ordinal in zip(names, kept.tolist(), strict=True) if ordinal >= 0]
    items = [each.catalogue.vectors[each.items(names_kept)] for each in (before, after)]
    pairs = list(_pairs(before, after, users))
    persons = [
        np.array([pair[side].vector for pair in pairs], np.float32).reshape(len(pairs), before.spec.rank)
        for side in (0, 1)
    ]
    return {
        "events": after.model.clock - before.model.clock,
        "users": [before.model.user_count, after.model.user_count],
        "items": [before.model.item_count, after.model.item_count],
        "items_compared": len(names_kept),
        "users_compared": len(pairs),
        "norms": {"users": _norms(*persons), "items": _norms(*items)},
        "moved": {"users": _moved(*persons), "items": _moved(*items)},
        "weights": _weights(before, after),
        "top_k": _overlap(before, after, pairs, k),
    }


def _pairs(before: Replica, after: Replica, count: int) -> Iterator[tuple[User, User]]:
    """Users in both states, evenly from all that there were before."""
    for user_id in _sampled(before, count):
        pair = before.user(user_id), after.user(user_id)
        if pair[0] is not None and pair[1] is not None:
            yield pair[0], pair[1]


def _sampled(replica: Replica, count: int) -> list[bytes]:
    """Ids of up to `count` users, by evenly spaced ordinals."""
    total = replica.model.user_count
    ordinals = np.unique(np.linspace(0, total - 1, min(count, total)).astype(np.int64))
    found: dict[int, bytes] = {}
    for rows in _user_rows(replica.reader, ordinals.tolist()):
        for i in np.flatnonzero(np.isin(rows.ordinals, ordinals)).tolist():
            start, length = (int(part[i]) for part in row_ids(rows))
            found[int(rows.ordinals[i])] = rows.data[start : start + length].tobytes()
    return list(found.values())


def _user_rows(reader: Reader, ordinals: list[int]) -> Iterator[Rows]:
    """Rows among which those of the ordinals are, flushed or not."""
    yield reader.load(USER, ordinals)
    yield from journalled_rows(reader, USER)


def _lengths(vectors: F32) -> F64:
    lengths: F64 = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    return lengths


def _norms(before: F32, after: F32) -> list[float | None]:
    return [float(_lengths(each).mean()) if len(each) else None for each in (before, after)]


def _moved(before: F32, after: F32) -> float | None:
    """The median of |after - before| / |before| over vectors that are not zero."""
    lengths = _lengths(before)
    moved = _lengths(after - before)[lengths > 0] / lengths[lengths > 0]
    return float(np.median(moved)) if len(moved) else None


def _weights(before: Replica, after: Replica) -> Mapping[str, Mapping[str, list[float]]]:
    """By group and name; none where items are ranked by factors."""
    if not (before.spec.blends and after.spec.blends):
        return {}
    repeats = before.spec.repeats and after.spec.repeats
    old, new = (named_weights(each.model, repeats) for each in (before, after))
    return {
        group: {name: [weight, new[group][name]] for name, weight in named.items()}
        for group, named in old.items()
    }


def _overlap(before: Replica, after: Replica, pairs: list[tuple[User, User]], k: int) -> dict[str, Any]:
    shared, same = [], []
    for old, new in pairs:
        now_ms = max(old.last_event_ms, new.last_event_ms)
        offered = [
            replica.item_ids(recommend(replica.catalogue, user, k, False, now_ms).ordinals)
            for replica, user in ((before, old), (after, new))
        ]
        longest = max(map(len, offered))
        if longest:
            shared.append(len(set(offered[0]) & set(offered[1])) / longest)
            same.append(offered[0] == offered[1])
    return {
        "k": k,
        "shared": float(np.mean(shared)) if shared else None,
        "unchanged": float(np.mean(same)) if same else None,
    }

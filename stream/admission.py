"""What of a micro-batch is learnt at all, and room for the users and items that are new with it."""

import numpy as np

from state import maps
from state.arrays import I64, Mask
from state.factors import FactorTable
from state.model import Model
from stream.events import Interactions, Records, Rejected, Spans
from stream.learning.learner import Learner


def duplicates(
    model: Model, records: Records, interactions: Interactions, admitted: Mask, learns: bool
) -> Mask:
    """Events whose idempotency key their partition has seen; those of admitted events now are seen.

    Not where nothing `learns` from them: they may come again to be learnt.
    """
    duplicate = np.zeros(len(interactions), np.bool_)
    keys = np.where(admitted, interactions.event_id, np.uint64(0))
    if keys.any():
        partitions = records.partitions[interactions.record]
        judge = model.event_ids.admit if learns else model.event_ids.seen
        for partition in np.unique(partitions).tolist():
            of_partition = np.flatnonzero(partitions == partition)
            duplicate[of_partition] = judge(partition, keys[of_partition])
    return duplicate


def without_room(model: Model, interactions: Interactions, wanted: Mask) -> tuple[Rejected, ...]:
    """Records with an item that is new when the catalogue is full.

    They are rejected whole, and before their idempotency keys count as seen: so they can be replayed.
    """
    room = model.items_max - model.item_count
    if len(interactions) <= room:
        return ()
    slots = model.items.find(*interactions.item_spans)
    new, first = _new(interactions.item_spans, wanted & ~interactions.remove & (slots < 0))
    records = np.unique(interactions.record[np.isin(first, new[room:])])
    reason = (
        f"the item is new and the catalogue is full with {model.items_max} items: "
        "raise `state.items_max`, then `livefactor dlq resend`"
    )
    return tuple(Rejected(record, "learn", reason, "catalogue_full") for record in records.tolist())


def create_rows(
    model: Model, learner: Learner, interactions: Interactions, users: I64, creating: Mask, batch_seq: int
) -> tuple[I64, I64]:
    """Slots of users and items, -1 where there is none; those that `creating` events bring are made.

    `users` int64 [n] are the slots of users that exist already, else -1.
    """
    counts, of_items, of_users = model.globals["counts"], interactions.item_spans, interactions.user_spans
    # A handler that acted before, since `users` were looked up, may have made some of them.
    missing = np.flatnonzero(users < 0)
    buffer, start, length, hashes = of_users
    users = users.copy()
    users[missing] = model.users.find(buffer, start[missing], length[missing], hashes[missing])
    items = model.items.find(*of_items)
    items = _with_new(learner, model.items, counts[1:], of_items, items, creating, batch_seq)
    users = _with_new(learner, model.users, counts[:1], of_users, users, creating, batch_seq)
    return users, items


def _with_new(
    learner: Learner,
    table: FactorTable,
    count: I64,
    spans: Spans,
    slots: I64,
    creating: Mask,
    batch_seq: int,
) -> I64:
    """Fill in `slots` int64 [n] of ids where there is none: those of `creating` are made in event order.

    `count` int64 [1] is how many rows there have been, in memory or not.
    """
    buffer, start, length, hashes = spans
    new, first = _new(spans, creating & (slots < 0))
    if len(new):
        ordinals = count[0] + np.arange(len(new))
        added = table.add(buffer, start[new], length[new], hashes[new], ordinals)
        count[0] += len(new)
        table.touched_at[added] = batch_seq
        learner.start(table, added, hashes[new])
        slot_of = np.full(len(first), -1, np.int64)
        slot_of[new] = added
        missing = np.flatnonzero(first >= 0)
        slots[missing] = slot_of[first[missing]]
        # What a batch adds and takes back again is found although only the first makes a row.
        others = np.flatnonzero((slots < 0) & ~creating)
        slots[others] = table.find(buffer, start[others], length[others], hashes[others])
    return slots


def _new(spans: Spans, wanted: Mask) -> tuple[I64, I64]:
    """Where ids are for the first time, and for each id where that is; of those `wanted`, else -1."""
    first = np.empty(len(wanted), np.int64)
    maps.distinct_spans(*spans, wanted, first)
    return np.flatnonzero(first == np.arange(len(first))), first

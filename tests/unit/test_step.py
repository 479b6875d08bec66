"""The pure pipeline: counts add up, and nothing but the batch and the model decides."""

import numpy as np
import pytest
from pipeline import Feed, event, portions, random_events, slot, small_settings

from state.codec import EVENT_IDS, GLOBAL, INPUTS, ITEM, USER
from state.memory import MemoryStore
from stream.engine import Engine
from stream.intake.decode import Decoder


def step_of(**sections):
    return Engine(small_settings(**sections), MemoryStore()).step


def run(step, records, batch_seq=1):
    interactions = Decoder(small_settings().decode).decode(records).interactions
    return step(records, interactions, step.model.users.find(*interactions.user_spans), batch_seq)


def kinds(outcome):
    return [rows.kind for rows in outcome.rows]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("items_max", [100, 110])
def test_every_event_is_counted_once(frozen, items_max):
    step = step_of(state={"items_max": items_max})
    for n, records in enumerate(portions(random_events(2_000, users=50, items=130), 100)):
        step.frozen = frozen and n % 2 == 1
        outcome = run(step, records, n + 1)
        counts = outcome.counts
        decoded = Decoder(small_settings().decode).decode(records).interactions
        refused = np.isin(decoded.record, [rejection.record for rejection in outcome.rejected]).sum()
        parts = ("duplicates", "not_learnt", "learnt", "frozen")
        assert counts.events == len(decoded) == sum(getattr(counts, name) for name in parts) + refused
        assert min(getattr(counts, name) for name in parts) >= 0
    assert step.model.item_count <= items_max


def test_rows_say_what_changed():
    step = step_of()
    feed = Feed()
    outcome = run(step, feed(event("a", "x", event_id="1"), event("b", "x")))
    assert kinds(outcome) == [USER, ITEM, GLOBAL, EVENT_IDS, INPUTS]
    assert [len(rows) for rows in outcome.rows] == [2, 1, 10, 2, 2]
    assert kinds(run(step, feed(event("c", "z", "impression")), 2)) == []
    assert kinds(run(step, feed(event("c", "z", "impression", event_id="2")), 3)) == [EVENT_IDS]
    assert kinds(run(step, feed(event("a", "z", "remove")), 4)) == []
    changed = run(step, feed(event("a", "x")), 5)
    assert [rows.ordinals.tolist() for rows in changed.rows[:2]] == [[0], [0]]
    assert step.model.users.changed_at[[0, 1]].tolist() == [5, 1]


def test_new_rows_are_numbered_in_event_order():
    step = step_of()
    run(step, Feed()(event("b", "y"), event("a", "x"), event("b", "x"), event("c", "y")))
    assert [step.model.users.ordinals[slot(step.model.users, name)] for name in "bac"] == [0, 1, 2]
    assert [slot(step.model.items, name) for name in "yx"] == [0, 1]


def test_a_batch_without_interactions_is_a_batch():
    outcome = run(step_of(), Feed()(b"\x08rubbish"))
    assert (outcome.rows, outcome.rejected, outcome.counts.events) == ((), (), 0)


def test_the_same_batches_give_the_same_bits():
    results = []
    for _ in range(2):
        step = step_of(learning={"algorithm": "sgd"})
        parts = portions(random_events(300, 30, 20), 50)
        outcomes = [run(step, records, n + 1) for n, records in enumerate(parts)]
        results.append([rows.data.tobytes() for outcome in outcomes for rows in outcome.rows])
    assert results[0] == results[1]


def test_event_ids_are_those_of_a_partition():
    step = step_of()
    run(step, Feed()(event("a", "x", event_id="1"), partition=0))
    assert run(step, Feed(offset=1)(event("a", "x", event_id="1"), partition=1), 2).counts.learnt == 1
    assert run(step, Feed(offset=2)(event("a", "x", event_id="1"), partition=0), 3).counts.duplicates == 1

"""One model on one store: what is learnt does not depend on where and when it is kept."""

import numpy as np
import pytest
from als_rows import gramian_of, solve_rows, weigh_rows
from pipeline import (
    CONTROL,
    DLQ,
    DRIFT,
    Feed,
    batch,
    command,
    event,
    history,
    in_directory,
    portions,
    random_events,
    score,
    slot,
    small_settings,
)

from protos.events_pb2 import COMMAND_ACTION_FREEZE, COMMAND_ACTION_RESUME, CommandResult
from state.codec import ITEM, USER
from state.digest import digest
from state.errors import StoreCorruptError
from state.memory import MemoryStore
from state.model import Model
from state.rocksdb.writer import RocksWriter
from state.scoring.popularity import EVER
from stream.engine import Engine
from stream.lineage.bases import begin
from stream.lineage.identity import identity
from stream.source import LogIdentity

LEARNERS = {
    "als": {"algorithm": "als", "strength": "value"},
    "sgd implicit": {"algorithm": "sgd", "strength": "value"},
    "als explicit": {"algorithm": "als", "feedback": "explicit"},
    "sgd explicit": {"algorithm": "sgd", "feedback": "explicit"},
}
every_learner = pytest.mark.parametrize("learning", LEARNERS.values(), ids=list(LEARNERS))


def run(engine, parts, flush_every=None, slices=None):
    """Process portions, flushing now and then; `slices` advances a flush bit by bit between batches."""
    for n, records in enumerate(parts):
        engine.process([records])
        if flush_every and n % flush_every == 0 and not engine.flushing:
            engine.begin_flush()
        if engine.flushing:
            engine.advance_flush()
    return engine


def engine_with(**sections):
    return Engine(small_settings(**sections), MemoryStore())


def stored_model(store, settings):
    """Every row of a store in a model with room for all of them."""
    state = settings.state
    model = Model(settings.learning.rank, 20_000, state.items_max, state.history_max, 0)
    for kind in (USER, ITEM):
        for rows in store.scan(kind):
            model.apply(rows)
    for entry in store.journal(store.head().flushed_through):
        for rows in entry.rows:
            if rows.kind in (USER, ITEM):
                model.apply(rows)
    return model


def opened(settings, store):
    """An engine as the loop begins it: a new store starts with every global array."""
    engine = Engine(settings, store)
    if store.head().batch_seq == 0:
        begin(engine, {}, "fingerprint", {}, LogIdentity())
    return engine


@every_learner
def test_the_digest_does_not_depend_on_flushes_or_restarts_or_the_store(learning, tmp_path):
    settings = small_settings(learning=learning)
    parts = portions(random_events(1_200, users=150, items=60), 60)
    expected = digest(run(opened(settings, MemoryStore()), parts).store)
    for flush_every in (1, 3):
        assert digest(run(opened(settings, MemoryStore()), parts, flush_every).store) == expected

    store = MemoryStore()
    for n, records in enumerate(parts):
        engine = opened(settings, store)
        engine.process([records])
        if n % 4 == 1:
            engine.flush()
    assert digest(store) == expected

    placed = in_directory(settings, tmp_path / "state")
    for n in range(0, len(parts), 5):
        writer = RocksWriter(placed.state, identity(placed))
        run(opened(placed, writer), parts[n : n + 5], flush_every=2)
        found = digest(writer)
        writer.close()
    assert found == expected


@every_learner
def test_users_may_outnumber_memory_ten_times(learning):
    """Colder rows leave and come back bit for bit, whatever the bound."""
    bounds = {"items_max": 800, "history_max": 4}
    roomy = small_settings(learning=learning, state={**bounds, "rows_max": 10_000})
    tight = small_settings(learning=learning, state={**bounds, "rows_max": 1_000})
    values = random_events(6_000, users=6_000, items=200)
    expected = run(opened(roomy, MemoryStore()), portions(values, 25), flush_every=5)
    engine = run(opened(tight, MemoryStore()), portions(values, 25), flush_every=5)
    assert engine.model.user_count >= 10 * engine.model.users.capacity
    assert engine.model.users.size <= engine.model.users.capacity == 200
    assert digest(engine.store) == digest(expected.store)
    restarted = opened(tight, engine.store)
    for more in (restarted, expected):
        run(more, portions(random_events(300, 6_000, 200, seed=9), 20))
    assert digest(restarted.store) == digest(expected.store)


def test_room_for_new_users_is_kept_when_others_are_loaded():
    """An item's many users come back for its solve while the batch creates users in the same table."""
    engine = engine_with(state={"rows_max": 1_000, "items_max": 950, "history_max": 30})
    feed = Feed()
    for n in range(12):
        engine.process([feed(*[event(f"u{10 * n + k}", "popular") for k in range(10)])])
        engine.flush()
    assert engine.model.users.size < engine.model.user_count
    engine.process([feed(*[event(f"new{k}", "popular") for k in range(20)])])
    assert engine.model.user_count == 140


def test_a_batch_that_needs_more_rows_than_fit_is_learnt_in_parts():
    """Ten users fit; a batch of thirty becomes several micro-batches, and nothing of it is lost."""
    engine = engine_with(state={"rows_max": 1_000, "items_max": 990}, learning={"algorithm": "sgd"})
    before = engine.store.head().batch_seq
    report = engine.process([Feed()(*[event(f"u{k}", "i") for k in range(30)])])
    assert report.records == report.counts.learnt == 30
    assert engine.store.head().batch_seq == report.batch_seq >= before + 3
    assert engine.model.user_count == 30


def test_a_record_that_needs_more_rows_than_fit_is_a_dead_letter_and_learning_goes_on():
    """An item's solve needs its users; with the eleventh there is no room for all of them."""
    engine = engine_with(state={"rows_max": 1_000, "items_max": 990, "history_max": 12})
    feed = Feed()
    reports = [engine.process([feed(event(f"u{k}", "popular"))]) for k in range(11)]
    assert [report.counts.rejected for report in reports] == [0] * 10 + [1]
    ((_, letter),) = engine.store.outbox()
    headers = dict(letter.headers)
    assert headers["code"] == b"rows_exhausted"
    assert b"state.rows_max" in headers["reason"]
    assert engine.process([feed(event("u0", "other"))]).counts.learnt == 1


def test_changed_rows_that_fill_the_bound_are_flushed():
    engine = engine_with(state={"rows_max": 1_000, "items_max": 990}, learning={"algorithm": "sgd"})
    feed = Feed()
    for n in range(20):
        engine.process([feed(*[event(f"u{10 * n + k}", "i") for k in range(10)])])
    assert engine.model.user_count == 200
    assert engine.store.head().flushed_through >= 19


@every_learner
def test_a_new_user_and_a_new_item_in_one_event_can_both_be_scored(learning):
    engine = engine_with(learning=learning)
    feed = Feed()
    engine.process([feed(*[event(f"u{k}", f"i{k % 3}", value=4.0) for k in range(20)])])
    engine.process([feed(event("newcomer", "novelty", value=5.0))])
    assert np.isfinite(score(engine.model, "newcomer", "novelty"))
    assert score(engine.model, "newcomer", "novelty") != 0
    assert history(engine, "newcomer") == [("novelty", 5.0)]
    for table, name in ((engine.model.users, "newcomer"), (engine.model.items, "novelty")):
        assert table.interactions[slot(table, name)] == 1


def test_als_after_a_remove_is_als_without_the_event():
    """Unlearning is exact: the same rows as a fresh solve of the histories that are left."""
    settings = small_settings(
        learning={"algorithm": "als"}, als={"alpha": 0.001, "reg": 0.5}, state={"history_max": 50}
    )
    values = [event(f"u{n % 7}", f"i{n * 5 % 9}") for n in range(40)]
    feed = Feed()
    engine = Engine(settings, MemoryStore())
    engine.process([feed(*values)])
    before = counts(engine)
    engine.process([feed(event("u1", "extra", value=3.0), event("u2", "i1", value=2.0))])
    engine.process([feed(event("u1", "extra", "remove"), event("u2", "i1", "remove"))])
    assert counts(engine) == {**before, "extra": 0}
    never = Engine(settings, MemoryStore())
    never.process([Feed()(*values)])
    assert [history(engine, f"u{n}") for n in range(7)] == [history(never, f"u{n}") for n in range(7)]
    for _ in range(60):
        resolve(engine)
        resolve(never)
    for n in range(7):
        for item in range(9):
            pair = (f"u{n}", f"i{item}")
            assert score(engine.model, *pair) == pytest.approx(score(never.model, *pair), abs=2e-3)
    assert not engine.model.items.vectors[slot(engine.model.items, "extra")].any()


def counts(engine):
    """Interactions by name."""
    tables = (engine.model.users, engine.model.items)
    return {
        name.decode(): int(n)
        for table in tables
        for name, n in zip(table.ids(table.slots), table.interactions[table.slots], strict=True)
    }


def resolve(engine):
    """Solve all rows once more from the histories there are, so that where they started is forgotten."""
    model = engine.model
    sides = {"user": (model.users, model.items, 0.95), "item": (model.items, model.users, 1.0)}
    for side, (table, others, recency) in sides.items():
        bounds, ordinals, strengths = table.histories(table.slots)
        confidences, values = weigh_rows(bounds, strengths, recency)
        names = ("gramian_user", "gramian_item") if side == "user" else ("gramian_item", "gramian_user")
        solve_rows(
            table.slots,
            bounds,
            others.find_ordinals(ordinals),
            confidences,
            values,
            table.vectors,
            others.vectors[: others.size],
            *(model.globals[name] for name in names),
            engine.step.learner.penalties,
        )


@every_learner
def test_a_user_whom_a_handler_before_has_made_is_not_made_again(learning):
    """Users are looked up before any handler acts: two parts of one micro-batch may bring the same one."""
    engine, feed = engine_with(learning=learning), Feed()
    first = feed(event("a", "x", value=4.0), event("b", "x", value=3.0))
    engine.process([first, feed(event("a", "y", value=4.0), event("c", "x", value=3.0))])
    assert engine.model.user_count == engine.model.users.size == 3
    assert [item for item, _ in history(engine, "a")] == ["x", "y"]


@every_learner
def test_a_remove_restores_histories_and_counts(learning):
    engine = engine_with(learning=learning)
    feed = Feed()
    engine.process([feed(event("a", "x", value=3.0), event("a", "y", value=4.0), event("b", "z", value=2.0))])
    before = counts(engine), history(engine, "a")
    engine.process([feed(event("a", "z", value=5.0))])
    liked = score(engine.model, "a", "z")
    engine.process([feed(event("a", "z", "remove"))])
    assert (counts(engine), history(engine, "a")) == before
    assert score(engine.model, "a", "z") < liked
    if learning["algorithm"] == "als":
        others, strengths = engine.model.items.history(slot(engine.model.items, "z"))
        assert (others.tolist(), strengths.tolist()) == ([1], [2.0])


@every_learner
def test_a_later_opinion_takes_the_place_of_a_contrary_one(learning):
    """In histories, counts and popularity; of ratings any later one does."""
    engine, feed = engine_with(learning=learning), Feed()
    engine.process([feed(*[event(f"u{k}", f"i{k % 3}", value=4.0) for k in range(12)])])
    engine.process(
        [feed(event("a", "i0", value=5.0), event("a", "i0", value=5.0), event("a", "i1", value=4.0))]
    )
    liked, likes = score(engine.model, "a", "i0"), engine.model.items.counts[0, EVER]
    engine.process([feed(event("a", "i0", value=-1.0))])
    assert history(engine, "a") == [("i1", 4.0), ("i0", -1.0)]
    assert score(engine.model, "a", "i0") < liked / 2
    assert engine.model.items.counts[0, EVER] == (
        likes - 1 if learning.get("feedback") == "explicit" else likes - 2
    )
    assert counts(engine)["a"] == 2
    engine.process([feed(event("a", "i0", value=4.0))])
    assert history(engine, "a") == [("i1", 4.0), ("i0", 4.0)]
    if learning["algorithm"] == "als":
        a = int(engine.model.users.ordinals[slot(engine.model.users, "a")])
        others, strengths = engine.model.items.history(slot(engine.model.items, "i0"))
        assert [s for other, s in zip(others.tolist(), strengths.tolist(), strict=True) if other == a] == [
            4.0
        ]


def test_opinions_of_the_same_sign_add_up():
    engine, feed = engine_with(learning={"strength": "value"}), Feed()
    engine.process([feed(event("a", "x"), event("a", "x", value=2.0), event("a", "y", value=-1.0))])
    engine.process([feed(event("a", "y", value=-2.0))])
    assert history(engine, "a") == [("x", 1.0), ("x", 2.0), ("y", -1.0), ("y", -2.0)]


@every_learner
def test_contrary_opinions_are_learnt_alike_however_records_fall_into_batches(learning):
    random = np.random.default_rng(7)
    values = [
        event(f"u{random.integers(4)}", f"i{random.integers(5)}", value=float(random.choice([-1, 1, 3])))
        for _ in range(150)
    ]
    one_by_one, feed = engine_with(learning=learning), Feed()
    together = engine_with(learning=learning)
    for value in values:
        one_by_one.process([feed(value)])
    together.process([Feed()(*values)])
    users = [f"u{n}" for n in range(4)]
    assert [history(one_by_one, user) for user in users] == [history(together, user) for user in users]
    assert counts(one_by_one) == counts(together)
    assert np.array_equal(one_by_one.model.items.counts, together.model.items.counts)


@every_learner
def test_a_remove_finds_what_the_same_batch_has_added(learning):
    """How records fall into batches does not decide whether a remove counts."""
    values = [event("a", "x", value=3.0), event("a", "y", value=4.0), event("a", "x", "remove")]
    together, apart = engine_with(learning=learning), engine_with(learning=learning)
    report = together.process([Feed()(*values)])
    feed = Feed()
    for value in values:
        apart.process([feed(value)])
    assert history(together, "a") == history(apart, "a") == [("y", 4.0)]
    assert counts(together) == counts(apart) == {"a": 1, "x": 0, "y": 1}
    assert report.counts.learnt == 3


def test_a_remove_of_what_was_never_there_changes_nothing():
    engine = engine_with()
    feed = Feed()
    engine.process([feed(event("a", "x"))])
    before = digest_of_rows(engine)
    removes = [event("a", "y", "remove"), event("b", "x", "remove"), event("c", "z", "remove")]
    report = engine.process([feed(*removes, event("a", "x", "impression"))])
    assert digest_of_rows(engine) == before
    assert (report.counts.learnt, report.counts.not_learnt) == (0, 4)
    assert (engine.model.user_count, engine.model.item_count, engine.model.clock) == (1, 1, 1)


def digest_of_rows(engine):
    model = engine.model
    return [table.pack(table.slots).data.tobytes() for table in (model.users, model.items)]


@every_learner
def test_a_dislike_acts_at_once(learning):
    engine = engine_with(learning=learning)
    feed = Feed()
    for _ in range(5):
        engine.process([feed(*[event(f"u{k}", f"i{k % 3}", value=4.0) for k in range(12)])])
    before = score(engine.model, "u1", "i1")
    engine.process([feed(event("u1", "i1", value=-3.0))])
    assert score(engine.model, "u1", "i1") < before
    assert history(engine, "u1")[-1] == ("i1", -3.0)


def test_duplicates_are_counted_and_not_learnt():
    engine = engine_with()
    feed = Feed()
    engine.process([feed(event("a", "x", event_id="1"), event("a", "x", event_id="1"), event("a", "x"))])
    report = engine.process([feed(event("a", "y", event_id="1"), event("a", "y", event_id="2"))])
    assert (report.counts.duplicates, report.counts.learnt, report.counts.rejected) == (1, 1, 0)
    assert history(engine, "a") == [("x", 1.0), ("x", 1.0), ("y", 1.0)]
    restarted = Engine(engine.settings, engine.store)
    assert restarted.process([feed(event("a", "z", event_id="2"))]).counts.duplicates == 1
    elsewhere = restarted.process([Feed()(event("a", "z", event_id="2"), partition=1)])
    assert elsewhere.counts.learnt == 1


def test_weightless_events_make_no_rows():
    engine = engine_with()
    report = engine.process([Feed()(event("a", "x", "impression"), event("a", "y", "impression", 5.0))])
    assert (report.counts.not_learnt, report.counts.learnt) == (2, 0)
    assert (engine.model.user_count, engine.model.item_count) == (0, 0)
    assert engine.store.head().offsets


@pytest.mark.parametrize(
    ("below", "expected"),
    [("ignore", [("y", 1.0), ("z", -1.0)]), ("dislike", [("x", -1.0), ("y", 1.0), ("z", -1.0)])],
)
def test_min_value_decides_what_a_low_rating_means(below, expected):
    engine = engine_with(learning={"min_value": 4.0, "below_min_value": below})
    engine.process(
        [Feed()(event("a", "x", value=1.0), event("a", "y", value=4.0), event("a", "z", value=-1.0))]
    )
    assert history(engine, "a") == expected
    assert (slot(engine.model.items, "x") >= 0) == (below == "dislike")


def test_a_full_catalogue_sends_new_items_to_the_dead_letters():
    """Whole records, and replaying them counts once there is room: their event ids were not used up."""
    settings = small_settings(state={"items_max": 100})
    store = MemoryStore()
    engine = Engine(settings, store)
    feed = Feed()
    engine.process([feed(*[event("a", f"i{k}") for k in range(98)])])
    late = event("b", "late", event_id="late")
    mixed = batch(event("c", "i1", event_id="m1"), event("c", "late2", event_id="m2"))
    report = engine.process(
        [feed(event("a", "i98"), event("a", "i99"), late, mixed, event("a", "i99"), event("d", "i5"))]
    )
    assert (report.counts.rejected, report.counts.learnt) == (2, 4)
    assert (engine.model.item_count, slot(engine.model.users, "b"), slot(engine.model.users, "c")) == (
        100,
        -1,
        -1,
    )
    letters = [record for _, record in store.outbox()]
    assert [letter.value for letter in letters] == [late, mixed]
    assert {dict(letter.headers)["code"] for letter in letters} == {b"catalogue_full"}
    assert all(b"state.items_max" in dict(letter.headers)["reason"] for letter in letters)
    larger = Engine(small_settings(state={"items_max": 200}), store)
    replayed = larger.process([feed(late, mixed)])
    assert (replayed.counts.learnt, replayed.counts.duplicates) == (3, 0)


def test_known_items_are_learnt_when_the_catalogue_is_full():
    engine = engine_with(state={"items_max": 100})
    feed = Feed()
    engine.process([feed(*[event("a", f"i{k}") for k in range(100)])])
    report = engine.process([feed(*[event("b", f"i{k}") for k in range(100)])])
    assert (report.counts.learnt, report.counts.rejected) == (100, 0)


def test_dead_letters_say_where_they_come_from_and_why():
    engine = engine_with()
    feed = Feed(offset=40)
    engine.process([feed(b"\x08rubbish", partition=2, headers=[("trace", b"t1")])])
    ((_, letter),) = engine.store.outbox()
    headers = dict(letter.headers)
    assert (letter.topic, letter.key, letter.value) == (DLQ, b"key", b"\x08rubbish")
    assert all([headers.pop("reason"), headers.pop("code"), headers.pop("app-version")])
    assert headers == {
        "trace": b"t1",
        "stage": b"decode",
        "source-topic": b"livefactor.interactions.v1",
        "source-partition": b"2",
        "source-offset": b"40",
        "source-timestamp-ms": b"1700000000000",
    }
    assert engine.store.head().offsets == {("livefactor.interactions.v1", 2): 41}


def test_a_batch_counts_like_its_parts():
    parts = [event("a", "x"), event("a", "y", value=2.0), event("a", "x", "remove")]
    one, several = engine_with(), engine_with()
    assert one.process([Feed()(batch(*parts))]).counts.learnt == 3
    several.process([Feed()(*parts)])
    assert history(one, "a") == history(several, "a")
    bad = one.process([Feed(offset=1)(batch(event("a", "z"), event("b", "z")))])
    assert (bad.counts.rejected, bad.counts.learnt, slot(one.model.items, "z")) == (1, 0, -1)


@every_learner
def test_refused_updates_keep_the_old_rows_and_are_counted(learning):
    engine = engine_with(
        learning={**learning, "norm_max": 1e-2, "init_std": 4e-3},
        als={"explicit_reg": 1e-4, "explicit_reg_per_rating": 0.0},
        sgd={"step": 10.0, "adagrad": False},
    )
    feed = Feed()
    likes = [event(f"u{k}", f"i{k % 3}", value=5.0 - 4 * (k % 2)) for k in range(9)]
    engine.process([feed(*likes)])
    before = engine.model.users.vectors[engine.model.users.slots].copy()
    report = engine.process([feed(*likes)])
    assert report.counts.refused["norm"] >= 4
    for table in (engine.model.users, engine.model.items):
        assert (np.linalg.norm(table.vectors, axis=1) <= 1e-2).all()
    if report.counts.refused["norm"] >= 9:
        np.testing.assert_array_equal(engine.model.users.vectors[engine.model.users.slots], before)
    else:
        assert learning.get("feedback") == "explicit"
    times = 1 if learning.get("feedback") == "explicit" else 2
    assert (report.counts.learnt, history(engine, "u1")) == (9, [("i1", 1.0)] * times)


def test_gramians_are_those_of_all_rows_whatever_was_evicted():
    """Bit for bit: the integers equal a rebuild over every row, resident or not."""
    settings = small_settings(state={"rows_max": 1_000, "items_max": 700, "history_max": 4})
    engine = Engine(settings, MemoryStore())
    for seed in range(3):
        run(engine, portions(random_events(1_200, 1_500, 150, seed), 25), flush_every=4)
        whole = stored_model(engine.store, settings)
        assert whole.users.size == engine.model.user_count > engine.model.users.capacity
        for name, table in (("gramian_user", whole.users), ("gramian_item", whole.items)):
            rebuilt = gramian_of(table.vectors[table.slots])
            np.testing.assert_array_equal(engine.model.globals[name], rebuilt)


@every_learner
def test_counters_are_those_of_the_histories(learning):
    """With histories that never overflow, interactions learnt are interactions remembered."""
    settings = small_settings(learning=learning, state={"history_max": 1_000})
    engine = run(Engine(settings, MemoryStore()), portions(random_events(1_500, 40, 30), 70))
    users = engine.model.users
    lengths = [len(users.history(found)[0]) for found in users.slots.tolist()]
    assert users.interactions[users.slots].tolist() == lengths
    assert engine.model.items.interactions.sum() == sum(lengths)


def frozen_answer(engine, action, feed, **fields):
    report = engine.process([feed(command(action, **fields))])
    answers = [CommandResult.FromString(r.value) for _, r in engine.store.outbox() if r.topic == DRIFT]
    return report, answers


def test_freeze_and_resume_by_command():
    engine = engine_with()
    events, commands = Feed(), Feed(CONTROL)
    engine.process([events(*[event(f"u{k}", f"i{k % 4}") for k in range(12)])])
    before = digest_of_rows(engine)
    _, answers = frozen_answer(engine, COMMAND_ACTION_FREEZE, commands, command_id="f")
    assert [(a.command_id, a.applied, a.frozen, a.batch_seq) for a in answers] == [("f", True, True, 2)]
    headers = dict(next(r for _, r in engine.store.outbox() if r.topic == DRIFT).headers)
    assert (headers["ce-id"], headers["ce-type"]) == (b"f", b"livefactor.v1.CommandResult")

    engine = Engine(engine.settings, engine.store)
    scored = engine.prequential.total.scored
    report = engine.process(
        [events(event("u1", "i2"), event("new", "i1"), event("u1", "x", "impression"), b"\x08?")]
    )
    assert (report.counts.frozen, report.counts.learnt, report.counts.not_learnt) == (2, 0, 1)
    assert report.counts.rejected == 1
    assert digest_of_rows(engine) == before
    assert engine.prequential.total.scored == scored + 1
    assert (slot(engine.model.users, "new"), engine.model.clock) == (-1, 12)
    assert engine.store.head().offsets[("livefactor.interactions.v1", 0)] == 16

    _, answers = frozen_answer(engine, COMMAND_ACTION_RESUME, commands, command_id="r")
    assert (answers[-1].command_id, answers[-1].frozen) == ("r", False)
    assert engine.process([events(event("new", "i1"))]).counts.learnt == 1


def test_commands_come_before_the_events_of_their_batch():
    engine = engine_with()
    polled = [Feed()(event("a", "x")), Feed(CONTROL)(command(COMMAND_ACTION_FREEZE))]
    assert engine.process(polled).counts.frozen == 1
    assert len(engine.store.head().offsets) == 2


def test_commands_for_others_and_unknown_ones_do_nothing():
    engine = engine_with()
    feed = Feed(CONTROL)
    engine.process([feed(command(COMMAND_ACTION_FREEZE, model="other"), command(99))])
    assert not engine.control.frozen
    ((_, answer),) = engine.store.outbox()
    result = CommandResult.FromString(answer.value)
    assert (result.applied, result.frozen) == (False, False)
    assert "newer" in result.message


def test_malformed_commands_are_dead_letters():
    engine = engine_with()
    engine.process([Feed(CONTROL)(b"\xff\xff", None, b"x" * 70_000)])
    letters = [record for _, record in engine.store.outbox()]
    assert [dict(letter.headers)["code"] for letter in letters] == [
        b"command_malformed",
        b"command_size",
        b"command_size",
    ]
    assert {dict(letter.headers)["source-topic"] for letter in letters} == {CONTROL.encode()}
    assert engine.store.head().offsets == {(CONTROL, 0): 3}


def test_freezing_by_setting_outlives_a_resume():
    engine = engine_with(learning={"freeze": True})
    engine.process([Feed(CONTROL)(command(COMMAND_ACTION_RESUME))])
    assert engine.process([Feed()(event("a", "x"))]).counts.frozen == 1


def test_a_store_that_lost_its_journal_is_refused():
    engine = engine_with()
    feed = Feed()
    for _ in range(3):
        engine.process([feed(event("a", "x"))])
    del engine.store._journal[2]
    with pytest.raises(StoreCorruptError, match="restored through micro-batch 1"):
        Engine(engine.settings, engine.store)


def test_flushes_are_due_by_rows_and_by_bytes():
    engine = engine_with(state={"dirty_rows_max": 100}, learning={"algorithm": "sgd"})
    feed = Feed()
    for _ in range(30):
        engine.process([feed(*[event(f"u{k}", "i") for k in range(20)])])
    assert not engine.flush_is_due()
    engine.process([feed(*[event(f"v{k}", "i") for k in range(90)])])
    assert engine.flush_is_due()
    engine.flush()
    assert not engine.flush_is_due()
    assert engine.store.head().flushed_through == 31
    wordy = engine_with(
        state={"journal_bytes_max": 1 << 20, "rows_max": 30_000}, learning={"rank": 64, "algorithm": "sgd"}
    )
    wordy.process([feed(*[event(f"u{k}", "i") for k in range(5_000)])])
    assert wordy.flush_is_due()

"""The live model beside a frozen one and popularity, against a slow oracle, and never after the fact."""

from copy import deepcopy

import numpy as np
import pytest
import twins
from pipeline import Feed, event, slot, small_settings

from state.codec import EVIDENCE
from state.digest import digest
from state.memory import MemoryStore
from state.scoring import blend
from state.scoring.dislikes import disliked_of
from state.scoring.popularity import COMMON
from stream.drift.frozen import frozen_of
from stream.engine import Engine
from stream.evaluation.ranking import Answer, Calibration, middle_rank

USERS, ITEMS = 9, 14


def engine_with(ranking="blend", **sections):
    return Engine(small_settings(ranking={"model": ranking}, **sections), MemoryStore())


def warmed(ranking="blend", seed=1, **sections):
    engine, feed = engine_with(ranking, **sections), Feed()
    random = np.random.default_rng(seed)
    for _ in range(6):
        pairs = zip(random.integers(0, USERS, 20), random.integers(0, ITEMS - 2, 20), strict=True)
        engine.process([feed(*(event(f"u{u}", f"i{i}") for u, i in pairs))])
    return engine, feed


def freeze(engine, version=7):
    """Compare with the model as it is; a copy of it."""
    kept = deepcopy(engine.model)
    settings = engine.settings
    engine.monitor.freeze(version, frozen_of(kept, settings))
    return kept


def frozen_scores(kept, engine, user, time_ms):
    """The kept items' scores for a user whose history is the present one."""
    config, model = engine.settings.als, engine.model
    history, strengths = model.users.history(user)
    known = kept.items.interactions[history] > 0
    history, strengths = history[known], strengths[known]
    confidences, values = zip(*twins.interaction_weights([strengths.tolist()], config.recency), strict=True)
    y = kept.items.vectors[: kept.item_count]
    solved = twins.solve_row(y, history, confidences, values, config.alpha, config.reg, config.reg_exponent)
    vector = solved.astype(np.float32)[None]
    scores = np.zeros(len(y))
    if engine.settings.ranking.model == "factors":
        scores[:] = kept.items.bias[: len(y)] + y.astype(np.float64) @ solved
        assert not len(disliked_of(history, strengths))
        return scores
    gap_ms = time_ms - int(model.users.last_event_ms[user])
    place = np.full(kept.items_max, -1, np.int32)
    person = blend.known_of(vector, 0, history, strengths, gap_ms, kept.catalogue, kept.clock, False, place)
    frozen = engine.monitor.comparison.frozen
    blend.score_all(kept.catalogue, person, frozen.scalars, kept.globals["weights"], scores)
    return scores


def expected(engine, kept, user_id, item_id, calibrations):
    """(log losses, reciprocal ranks) of frozen and baseline, before the event."""
    model = engine.model
    user, item = slot(model.users, user_id), slot(model.items, item_id)
    count = kept.item_count
    common = (model.items.interactions[:count] > 0) & (kept.items.interactions[:count] > 0)
    common[model.users.history(user)[0]] = False
    ages = model.clock - model.items.counted_at[:count]
    popular = model.items.counts[:count, COMMON] * 0.999**ages
    answers = (
        Answer(frozen_scores(kept, engine, user, 1_700_000_000_000), are_counts=False),
        Answer(popular, are_counts=True),
    )
    losses = [c.loss(answer, item, common) for c, answer in zip(calibrations, answers, strict=True)]
    return losses, [1 / middle_rank(answer.scores, item, common) for answer in answers]


@pytest.mark.parametrize("ranking", ["blend", "factors"])
def test_losses_are_those_of_a_slow_oracle_before_the_event(ranking):
    engine, feed = warmed(ranking)
    kept = freeze(engine)
    calibrations = [Calibration(row.copy()) for row in engine.monitor.comparison.calibrations[1:]]
    compared = 0
    for user, item in [(0, 1), (3, 5), (0, 7), (8, 11), (4, 2), (0, 9), (2, 10), (5, 3), (6, 6), (7, 0)]:
        seen = engine.model.users.history(slot(engine.model.users, f"u{user}"))[0]
        before, added = engine.model.evidence.added, slot(engine.model.items, f"i{item}") not in seen
        if added:
            losses, ranks = expected(engine, kept, f"u{user}", f"i{item}", calibrations)
        engine.process([feed(event(f"u{user}", f"i{item}"))])
        assert engine.model.evidence.added == before + added
        if added:
            record = engine.model.evidence.latest()[-1]
            assert record["losses"][1:] == pytest.approx(losses, rel=1e-4)
            assert record["reciprocal_ranks"][1:] == pytest.approx(ranks)
            assert (record["version"], record["offset"]) == (7, feed.offset - 1)
            compared += 1
    assert compared >= 4


def test_without_a_version_all_known_items_are_candidates():
    engine, feed = warmed()
    live = engine.prequential.total.ranking["live"]["mrr"]
    before = engine.model.evidence.added
    engine.process([feed(*(event("u1", f"i{item}") for item in range(ITEMS)))])
    records = engine.model.evidence.latest()[before:]
    assert len(records) > 0
    assert np.isnan(records["losses"][:, 1]).all()
    assert (records["version"] == 0).all()
    gained = engine.prequential.total.ranking["live"]["mrr"] - live
    assert records["reciprocal_ranks"][:, 0].sum() == pytest.approx(gained, rel=1e-6)


def test_what_the_version_does_not_know_is_not_compared():
    engine, feed = warmed()
    freeze(engine)
    engine.process([feed(event("u1", "new"))])
    before, scored = engine.model.evidence.added, engine.prequential.total.scored
    engine.process([feed(event("u2", "new"))])
    assert engine.model.evidence.added == before
    assert engine.prequential.total.scored == scored + 1


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_comparing_changes_nothing_of_the_model(algorithm):
    stores = []
    for enabled in (True, False):
        engine, feed = warmed(drift={"enabled": enabled}, learning={"rank": 4, "algorithm": algorithm})
        if enabled:
            freeze(engine)
        engine.process([feed(*(event(f"u{n % USERS}", f"i{n % ITEMS}") for n in range(40)))])
        assert (engine.model.evidence.added > 0) == enabled
        stores.append(engine.store)
    assert digest(stores[0]) == digest(stores[1])
    written = [[entry["rows"] for _, entry in store.schedule()] for store in stores]
    assert written[0] == written[1]


def test_evidence_survives_a_restart_bit_by_bit():
    def run(restart_after):
        engine, feed = warmed()
        for n in range(6):
            if n == restart_after:
                engine = Engine(engine.settings, engine.store)
            if n == 3:
                engine.flush()
            engine.process([feed(*(event(f"u{m}", f"i{(n * 5 + m) % ITEMS}") for m in range(USERS)))])
        return engine

    one, other, third = run(None), run(2), run(5)
    assert one.model.evidence.added > 20
    for engine in (other, third):
        assert engine.model.evidence.latest().tobytes() == one.model.evidence.latest().tobytes()
        assert (
            engine.monitor.comparison.calibrations.tobytes() == one.monitor.comparison.calibrations.tobytes()
        )


def test_each_batch_journals_only_what_it_added():
    engine, feed = warmed()
    before = engine.model.evidence.added
    engine.process([feed(event("u1", "i13"), event("u2", "i13"), event("u3", "i13"))])
    *_, entry = engine.store.journal(0)
    (rows,) = [rows for rows in entry.rows if rows.kind == EVIDENCE]
    assert len(rows) == engine.model.evidence.added - before == 2

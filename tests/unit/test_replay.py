"""Test-then-learn over a recorded stream: the protocol by hand, and what must not leak into a score."""

import numpy as np
import pytest
from pipeline import Feed
from streams import pairs, random_likes, replayed, settings, stream

from protos.events_pb2 import Interaction
from state.codec import EVIDENCE, INPUTS
from state.errors import ConfigError
from state.memory import MemoryStore
from stream.engine import Engine, rows_hash
from stream.evaluation.ranking import Calibration, middle_rank
from stream.replay import Plan, Replay, model_names

MISS = np.inf


def ranks(result, model="popularity"):
    return result.scores.ranks[model].tolist()


def test_protocol_by_hand():
    """Popularity's rank of each item among the items seen so far that the user does not have yet.

    a likes x, y; b likes x; then z is new; then everything is known but one repeat.
    """
    result = replayed(pairs("ax ay bx bz cx az by ax"))
    #      ax     ay    bx   bz    cx   az  by  ax: a has it already
    assert ranks(result) == [MISS, MISS, 1.5, MISS, 1.0, 1.0, 1.0, MISS]
    assert result.scores.warm.tolist() == [False] * 5 + [True, True, False]
    assert result.scores.events.tolist() == list(range(8))
    assert np.isnan(result.scores.losses["popularity"]).tolist() == [r == MISS for r in ranks(result)]


def test_with_repeats_the_history_stays_among_the_candidates():
    result = replayed(pairs("ax ay bx bz cx az by ax"), settings(ranking={"repeats": True}))
    #  before az: x 3, y 1, z 1     before by: x 3, z 2, y 1     before ax: x 3
    assert ranks(result)[-3:] == [2.5, 3.0, 1.0]
    assert result.scores.warm.tolist() == [False] * 5 + [True] * 3


def test_a_history_forgets_beyond_its_bound():
    configured = settings(state={"history_max": 2})
    result = replayed(pairs("bw ax ay az ax"), configured)
    assert result.scores.warm[-1]
    assert ranks(result)[-1] == 1.5


def test_a_stranger_is_told_what_is_popular_by_models_of_factors():
    result = replayed(pairs("ax bx by cx"), settings())
    assert [ranks(result, name)[-1] for name in ("live", "als", "sgd", "item_mean")] == [1.0] * 4


def test_only_positives_are_scored_and_only_what_is_learnt_is_a_candidate():
    rows = [
        {"user_id": "a", "item_id": "x", "value": 5},
        {"user_id": "a", "item_id": "y", "value": 1},
        {"user_id": "b", "item_id": "x", "value": 4},
        {"user_id": "c", "item_id": "y", "value": 4},
        {"user_id": "c", "item_id": "x", "event_type": "impression"},
    ]
    result = replayed(stream(rows), settings(learning={"rank": 4, "min_value": 4}))
    assert result.scores.events.tolist() == [0, 2, 3]
    assert ranks(result) == [MISS, 1.0, MISS]
    assert (result.counts.learnt, result.counts.not_learnt) == (3, 2)


def test_a_duplicate_is_neither_scored_nor_counted():
    row = {"user_id": "a", "item_id": "x", "event_id": "once"}
    result = replayed(stream([row, row, {"user_id": "b", "item_id": "x"}]))
    assert result.scores.events.tolist() == [0, 2]
    assert result.counts.duplicates == 1


def test_a_removed_like_leaves_history_and_candidates():
    rows = [{"user_id": "a", "item_id": item} for item in "xy"]
    rows += [{"user_id": "a", "item_id": "x", "event_type": "remove"}, {"user_id": "b", "item_id": "x"}]
    result = replayed(stream(rows))
    assert result.scores.events.tolist() == [0, 1, 3]
    assert ranks(result) == [MISS] * 3


def test_within_a_micro_batch_histories_and_counts_are_fresh():
    """What follows in a micro-batch is scored with what came before; items are solved at its end."""
    result = replayed(pairs("ax bx cx ay"), plan=Plan(batch_events=4))
    assert ranks(result) == [MISS, 1.0, 1.0, MISS]


def test_models_may_be_chosen_and_others_are_named():
    result = replayed(pairs("ax bx"), plan=Plan(models=["popularity", "sgd"]))
    assert list(result.scores.ranks) == ["popularity", "sgd"]
    with pytest.raises(ConfigError, match=r"unknown models: nonsense; .* live, als, sgd, item_mean"):
        Replay(pairs("ax"), settings(), Plan(models=["live", "nonsense"]))


def test_every_model_is_there_by_default():
    configured = settings()
    assert list(replayed(pairs("ax bx"), configured).scores.ranks) == model_names()


@pytest.mark.parametrize(
    "text",
    ["ax", "ax ay az ay", "ax bx cx ax", "ax ax ax ax"],
    ids=["one event", "one user", "one item", "all events equal"],
)
def test_tiny_streams(text):
    result = replayed(pairs(text), settings(learning={"rank": 32}))
    for name, found in result.scores.ranks.items():
        assert len(found) == len(text.split()), name
        assert not np.isnan(found).any()


def test_a_stream_that_pauses_for_ten_years_is_scored_on():
    rows = random_likes(200, 10, 12)
    ten_years_ms = 10 * 365 * 86_400_000
    for n, row in enumerate(rows):
        row["event_time_ms"] = 1_000_000 * (n + 1) + ten_years_ms * (n >= 100)
    scores = replayed(stream(rows), settings(ranking={"repeats": True}), Plan(models=["live"])).scores
    after = scores.warm & (scores.events >= 100)
    assert after.sum() > 90
    assert np.isfinite(scores.ranks["live"][after]).all()
    assert np.isfinite(scores.losses["live"][after]).all()


def test_a_stream_without_a_like_has_nothing_to_score():
    rows = [{**row, "value": 1.0} for row in random_likes(50, 10, 12)]
    result = replayed(stream(rows), settings(learning={"min_value": 9.0}))
    assert (result.counts.learnt, result.counts.not_learnt) == (0, 50)
    assert all(len(ranks) == 0 for ranks in result.scores.ranks.values())


def test_a_rating_without_a_value_is_not_scored():
    rows = [{"user_id": user, "item_id": "x", "event_type": "rating", "value": 5.0} for user in "ab"]
    rows.append({"user_id": "a", "item_id": "x", "event_type": "rating"})
    result = replayed(stream(rows), settings(learning={"feedback": "explicit"}))
    assert result.scores.events.tolist() == [0, 1]


def test_what_is_frozen_from_the_start_misses_everything():
    result = replayed(stream(random_likes(50, 10, 12)), settings(learning={"freeze": True}))
    for name, found in result.scores.ranks.items():
        assert np.isinf(found).all(), name
        assert len(found) == 50


def test_names_of_users_and_items_do_not_matter():
    """First vectors are hashes of ids: figures of renamed streams differ by chance alone."""
    rates = []
    for prefix in ("", "renamed-", "x/"):
        rows = random_likes(3_000, 60, 60)
        for row in rows:
            row.update(user_id=prefix + row["user_id"], item_id=prefix + row["item_id"])
        scores = replayed(stream(rows), settings(ranking={"repeats": True}), Plan(models=["live"])).scores
        rates.append((scores.ranks["live"] <= 10).mean())
    error = np.sqrt(rates[0] * (1 - rates[0]) / 3_000)
    assert max(rates) - min(rates) < 2 * error, rates


def test_equal_models_score_alike():
    """`live` is the algorithm that the settings name, if items are ranked by its factors."""
    events = stream(random_likes(300, 20, 30))
    for algorithm in ("als", "sgd"):
        learning = {"rank": 4, "algorithm": algorithm}
        result = replayed(events, settings(learning=learning, ranking={"model": "factors"}))
        assert np.array_equal(result.scores.ranks["live"], result.scores.ranks[algorithm])
    assert not np.array_equal(result.scores.ranks["live"], result.scores.ranks["als"])


@pytest.mark.parametrize("batch_events", [1, 7])
def test_two_replays_agree_to_the_bit(batch_events):
    events = stream(random_likes(300, 20, 30))
    one, other = (replayed(events, plan=Plan(batch_events=batch_events)) for _ in range(2))
    for name in one.scores.ranks:
        assert one.scores.ranks[name].tobytes() == other.scores.ranks[name].tobytes()
        assert one.scores.losses[name].tobytes() == other.scores.losses[name].tobytes()


class Onlooker:
    """In place of a trace: ranks, as the answers of the first model have them, by event."""

    def __init__(self):
        self.ranks, self.losses = {}, {}

    def observe(self, event, answer, calibration, item, candidate):
        self.ranks[event] = middle_rank(answer.scores, item, candidate)
        learnt = Calibration(calibration.learnt.copy())
        self.losses[event] = np.float32(learnt.loss(answer, item, candidate))

    def learn(self, items):
        pass


@pytest.mark.parametrize("plan", [{}, {"batch_events": 7}, {"sample_every": 3}], ids=str)
@pytest.mark.parametrize(
    "sections", [{}, {"ranking": {"repeats": True}}, {"ranking": {"model": "factors"}}], ids=str
)
@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_the_walk_judges_as_if_it_stopped_at_every_event_to_ask(algorithm, sections, plan):
    rows = random_likes(400, 60, 30)
    for n in range(5, 400, 40):
        rows[n] = {**rows[n - 3], "event_type": "remove"}
    events, configured = stream(rows), settings(learning={"rank": 4, "algorithm": algorithm}, **sections)
    plan, onlooker = Plan(models=["live"], **plan), Onlooker()
    at_once, stopping = Replay(events, configured, plan), Replay(events, configured, plan, onlooker)
    assert at_once.advance()
    assert at_once.done == len(events)
    while stopping.advance():
        pass
    one, other = at_once.result().scores, stopping.result().scores
    for name in ("events", "warm"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
    assert one.ranks["live"].tobytes() == other.ranks["live"].tobytes()
    assert one.losses["live"].tobytes() == other.losses["live"].tobytes()
    asked = np.isfinite(one.ranks["live"])
    assert one.events[asked].tolist() == list(onlooker.ranks)
    assert one.ranks["live"][asked].tolist() == list(onlooker.ranks.values())
    assert one.losses["live"][asked].tolist() == list(onlooker.losses.values())
    assert 0 < one.warm.sum() < asked.sum() < len(asked)


def test_live_is_as_warm_as_the_models_beside_it():
    events = stream(random_likes(300, 60, 30))
    live, beside = (replayed(events, plan=Plan(models=[name])).scores for name in ("live", "popularity"))
    assert live.warm.tolist() == beside.warm.tolist()
    assert np.isinf(live.ranks["live"]).tolist() == np.isinf(beside.ranks["popularity"]).tolist()


def test_nothing_of_the_future_reaches_a_score():
    """Whatever follows an event, what came before is scored alike."""
    past, future, other = (random_likes(n, 20, 30, seed) for n, seed in ((200, 1), (100, 2), (100, 3)))
    results = [replayed(stream(past + following)) for following in (future, other)]
    for name in results[0].scores.ranks:
        one, another = (result.scores.ranks[name] for result in results)
        assert one[:200].tobytes() == another[:200].tobytes()
        assert one[200:].tobytes() != another[200:].tobytes()


@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_the_scores_of_an_event_do_not_depend_on_its_item(algorithm):
    """Every item in turn as the last one: had a model peeked, it would not give each rank to one of them."""
    past = random_likes(300, 10, 12)
    configured = settings(learning={"rank": 4, "algorithm": algorithm}, ranking={"repeats": True})
    names = ["live", "item_mean", "popularity"]
    found = []
    for item in range(12):
        rows = [*past, {"user_id": "u1", "item_id": f"i{item}"}]
        scores = replayed(stream(rows), configured, Plan(models=names)).scores
        found.append([(scores.ranks[name][-1], scores.losses[name][-1]) for name in names])
    for name, outcomes in zip(names, np.swapaxes(found, 0, 1), strict=True):
        assert outcomes[:, 0].sum() == pytest.approx(sum(range(1, 13))), name
        assert np.exp(-outcomes[:, 1]).sum() == pytest.approx(1, abs=1e-5), name


def test_items_in_random_order_score_no_better_than_popularity():
    """With the items permuted among the events no user has a taste: what is left is popularity."""
    rows = random_likes(3_000, 60, 60)
    order = np.random.default_rng(4).permutation(len(rows))
    mixed = [{**row, "item_id": rows[other]["item_id"]} for row, other in zip(rows, order, strict=True)]
    gains = []
    for liked in (rows, mixed):
        configured = settings(ranking={"repeats": True})
        scores = replayed(stream(liked), configured, Plan(models=["live", "popularity"])).scores
        live, popularity = ((ranks <= 10).mean() for ranks in scores.ranks.values())
        gains.append(live - popularity)
    assert gains[0] > 0.1
    assert gains[1] < 0.02


def test_one_event_in_n_is_scored_and_nothing_else_changes():
    events = stream(random_likes(600, 20, 30))
    every, some = replayed(events), replayed(events, plan=Plan(sample_every=5))
    chosen = some.scores.events
    assert len(chosen) == pytest.approx(120, abs=30)
    for name in every.scores.ranks.keys() - {"live"}:
        assert np.array_equal(every.scores.ranks[name][chosen], some.scores.ranks[name]), name
    # The blend brings popularity up to date when it is asked.
    one, other = every.scores.ranks["live"][chosen], some.scores.ranks["live"]
    assert (one == other).mean() > 0.8


@pytest.mark.parametrize("sample_every", [1, 25])
@pytest.mark.parametrize("algorithm", ["als", "sgd"])
def test_a_replay_learns_what_the_service_learns(algorithm, sample_every):
    """The same events in the same micro-batches: equal to the bit."""
    configured = settings(
        learning={"rank": 4, "algorithm": algorithm}, state={"rows_max": 120_000, "items_max": 500}
    )
    rows = random_likes(210, 20, 30)
    replay = Replay(
        stream(rows), configured, Plan(batch_events=10, sample_every=sample_every, models=["live"])
    )
    engine, feed = Engine(configured, MemoryStore()), Feed()
    for start in range(0, 210, 10):
        engine.process([feed(*(Interaction(**row).SerializeToString() for row in rows[start : start + 10]))])
    while replay.advance():
        pass
    for model in (engine.model, replay.model):
        for part in (model.users, model.items, model.neighbours):
            part.changed_at[part.changed_at > 0] = 1
    one, other = engine.model.changed_since(0), replay.model.changed_since(0)
    lengths = [{rows.kind: len(rows) for rows in blocks} for blocks in (one, other)]
    assert lengths[0] == lengths[1] | {kind: lengths[0][kind] for kind in (EVIDENCE, INPUTS)}
    assert rows_hash(one) == rows_hash(other)

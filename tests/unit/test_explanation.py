"""A score taken apart: the parts add up and are what they are called, and the largest mistakes are kept."""

import numpy as np
import pytest
from streams import pairs, random_likes, settings, stream

from state.errors import ConfigError
from state.scoring import blend, neighbours
from state.scoring.explanation import explain
from stream.evaluation.experts import Blend, Query
from stream.evaluation.mistakes import PARTS
from stream.replay import Plan, Replay
from stream.walk.values import no_scalars


def replay_of(events, plan=None, **sections):
    replay = Replay(events, settings(**sections), plan or Plan(models=["live"]))
    while replay.advance():
        pass
    return replay


@pytest.fixture(scope="module", params=[False, True], ids=["new items", "repeats"])
def learnt(request):
    """(model, expert, whether items come again) after 400 likes, with weights of every sign."""
    repeats = request.param
    replay = replay_of(stream(random_likes(400, 12, 30)), ranking={"repeats": repeats})
    weights = replay.model.globals["weights"]
    weights[:] = np.random.default_rng(3).normal(size=len(weights))
    return replay.model, Blend(replay.model, no_scalars(replay.model.items_max), repeats), repeats


def query_of(model, user):
    return Query(model.item_count, user, model.users.history(user)[0].astype(np.int64), 10**6)


def test_the_parts_of_every_score_add_up_to_it(learnt):
    model, expert, _ = learnt
    with_neighbours = 0
    for user in model.users.slots:
        query = query_of(model, int(user))
        scores = expert.answer(query).scores.copy()
        for item in range(model.item_count):
            why = expert.explain(query, item)
            assert why.score == pytest.approx(scores[item], abs=1e-5)
            with_neighbours += bool(why.neighbours)
            assert set(why.neighbours) <= set(query.history[-neighbours.LAST :].tolist())
    assert with_neighbours > 50


@pytest.mark.parametrize(
    ("part", "weighed"),
    [
        ("taste", [0, blend.TASTES]),
        ("recent", [1, 2, blend.TASTES + 1, blend.TASTES + 2]),
        ("neighbours", list(range(blend.NEIGHBOURS, blend.REPEATS))),
        ("popularity", list(range(blend.POPULARITY, blend.NEIGHBOURS))),
        ("had_before", list(range(blend.REPEATS, blend.SIZE_REPEATS))),
    ],
)
def test_each_part_is_what_its_weights_give(learnt, part, weighed):
    """With all other weights zero the score is that part."""
    model, expert, repeats = learnt
    weights = model.globals["weights"]
    kept = weights.copy()
    query = query_of(model, 3)
    expert.answer(query)
    explained = [expert.explain(query, item) for item in range(model.item_count)]
    weights[:] = 0
    weights[weighed] = kept[weighed]
    alone = Blend(model, no_scalars(model.items_max), repeats).answer(query).scores.copy()
    weights[:] = kept
    for why, score in zip(explained, alone, strict=True):
        value = sum(why.neighbours.values()) if part == "neighbours" else getattr(why, part)
        assert value == pytest.approx(score, abs=1e-5)


def test_every_feature_is_of_the_strength_that_it_is_said_to_be_of():
    for feature, strength in enumerate(neighbours.STRENGTH_OF):
        for other in range(neighbours.STRENGTHS):
            before, after = np.zeros((2, neighbours.FEATURES))
            strengths = np.full(neighbours.STRENGTHS, 0.2)
            neighbours.features(strengths, 3.0, 50.0, before)
            strengths[other] *= 2
            neighbours.features(strengths, 3.0, 50.0, after)
            assert (before[feature] != after[feature]) == (other == strength)


def test_what_neighbours_say_is_shared_as_each_contributed():
    """Of what `z` owes to its neighbours, `x`, which it followed twice as often, has the larger part."""
    model = replay_of(pairs("ax az bx bz cy cz dx ex ey")).model
    x, y, z = (model.items.find_ids([name])[0] for name in (b"x", b"y", b"z"))
    slot = int(model.users.find_ids([b"e"])[0])
    weights = np.zeros(blend.SIZE_REPEATS)
    weights[blend.NEIGHBOURS + neighbours.NAMES.index("after the last five, share")] = 1.0
    place = np.full(model.items_max, -1, np.int32)
    known = blend.known_of(
        model.users.vectors, slot, *model.users.history(slot), 0, model.catalogue, model.clock, False, place
    )
    why = explain(known, model.catalogue, weights, 0.0, int(z))
    likes = model.items.counts[:, -1]
    gave = {
        y: neighbours.WEIGHTS[0] * neighbours.WEIGHTS[0] * 1 / (likes[y] + neighbours.PRIOR_EVENTS),
        x: neighbours.WEIGHTS[1] * neighbours.WEIGHTS[0] * 2 / (likes[x] + neighbours.PRIOR_EVENTS),
    }
    total = sum(gave.values())
    assert set(why.neighbours) == {x, y}
    for owner, share in gave.items():
        assert why.neighbours[owner] == pytest.approx(np.log1p(100 * total) * share / total)


def test_the_largest_mistakes_are_kept_and_told():
    events = random_likes(300, 12, 30)
    replay = replay_of(stream(events), Plan(models=["popularity", "live"], mistakes=5))
    result = replay.result()
    ranks = result.scores.ranks["live"]
    everything = replay_of(stream(events), Plan(models=["live"], mistakes=300)).result().mistakes
    assert result.mistakes == everything[:5]
    assert len(everything) == np.count_nonzero((ranks > 1) & np.isfinite(ranks))
    sizes = [mistake.first.score - mistake.wanted.score for mistake in everything]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] > 0
    for mistake in everything:
        row, at = events[mistake.event], np.searchsorted(result.scores.events, mistake.event)
        assert (mistake.wanted.item, mistake.rank) == (row["item_id"], ranks[at])
        assert mistake.user == (row["user_id"] if result.scores.warm[at] else None)
        assert mistake.first.score >= mistake.wanted.score
        for told in (mistake.wanted, mistake.first):
            assert tuple(told.parts) == PARTS
            assert sum(told.parts.values()) == pytest.approx(told.score, abs=1e-5)
            assert sum(told.because.values()) == pytest.approx(told.parts["neighbours"])


def test_only_the_blend_can_be_explained():
    for plan, sections in (
        (Plan(models=["popularity"], mistakes=1), {}),
        (Plan(mistakes=1), {"ranking": {"model": "factors"}}),
        (Plan(mistakes=1), {"learning": {"feedback": "explicit"}}),
    ):
        with pytest.raises(ConfigError, match="ranks by the blend"):
            Replay(pairs("ax ay"), settings(**sections), plan)

"""What becomes of dislikes and removes in the answers of a scorer."""

import numpy as np
import pytest
from pipeline import Feed, event, small_settings

from serving import ranker
from serving.replica import Bounds, Replica
from state.memory import MemoryStore
from state.scoring.dislikes import PENALTY
from stream.engine import Engine

NOW_MS = 1_700_000_100_000
MODES = {
    "blend": {},
    "repeats": {"ranking": {"repeats": True}},
    "factors": {"ranking": {"model": "factors"}},
    "sgd": {"learning": {"algorithm": "sgd"}},
    "sgd factors": {"learning": {"algorithm": "sgd"}, "ranking": {"model": "factors"}},
}
every_mode = pytest.mark.parametrize("sections", MODES.values(), ids=list(MODES))


class Service:
    """A learner in memory and a replica of its store."""

    def __init__(self, sections):
        self.engine = Engine(small_settings(**sections), MemoryStore())
        self.feed = Feed()
        random = np.random.default_rng(3)
        for _ in range(8):
            self.learn(*[event(f"u{random.integers(20)}", f"i{random.integers(10)}") for _ in range(25)])

    def learn(self, *values):
        self.engine.process([self.feed(*values)])

    def scores(self, user, *items):
        replica, row = self._asked(user)
        return ranker.score(
            replica.catalogue, row, replica.items([i.encode() for i in items]), NOW_MS
        ).tolist()

    def order(self, user, **options):
        """All items, best first."""
        replica, row = self._asked(user)
        options = {"include_seen": True, **options}
        return replica.item_ids(
            ranker.recommend(replica.catalogue, row, 100, now_ms=NOW_MS, **options).ordinals
        )

    def is_known(self, user):
        return ranker.is_known(self._asked(user)[1])

    def explained(self, user, item):
        replica, row = self._asked(user)
        return ranker.explain(replica.catalogue, row, int(replica.items([item.encode()])[0]), NOW_MS)

    def _asked(self, user):
        self.engine.flush()
        store = self.engine.store
        replica = Replica(store, self.engine.settings.scoring, Bounds(3_000, 500, 1 << 20))
        assert replica.load(store.head())
        return replica, replica.user(user.encode())


@every_mode
def test_a_disliked_item_goes_down_for_a_user_of_whom_nothing_else_is_known(sections):
    service = Service(sections)
    service.learn(event("other", "i9"))
    best = service.order("stranger")[0]
    service.learn(event("a", best, "dislike"))
    assert service.is_known("a")
    assert not service.is_known("stranger")
    [score], [stranger] = service.scores("a", best), service.scores("stranger", best)
    assert np.isfinite(score)
    assert service.order("a").index(best) > len(service.order("a")) / 2
    assert (
        score < min(service.scores("a", *set(service.order("a")) - {best})) or score < stranger - PENALTY / 2
    )


@every_mode
def test_a_later_opinion_outweighs_an_earlier_one(sections):
    service = Service(sections)
    service.learn(event("a", "i3", value=5.0), event("a", "i4"))
    [liked] = service.scores("a", "i3")
    service.learn(event("a", "i3", value=-1.0))
    [disliked] = service.scores("a", "i3")
    assert disliked < liked - 0.9 * PENALTY
    assert service.order("a")[-1] == "i3"
    service.learn(event("a", "i3", value=5.0))
    [again] = service.scores("a", "i3")
    assert again > disliked + 0.9 * PENALTY


@every_mode
def test_a_dislike_is_of_one_user_alone(sections):
    service = Service(sections)
    before = service.scores("u1", "i3")[0]
    service.learn(event("a", "i3", value=-1.0))
    assert service.scores("u1", "i3")[0] == pytest.approx(before, abs=0.5)


@every_mode
def test_what_many_liked_and_all_removed_is_popular_no_more(sections):
    service = Service(sections)
    service.learn(*[event(f"v{n}", "fad") for n in range(60)])
    assert "fad" in service.order("stranger")[:3]
    service.learn(*[event(f"v{n}", "fad", "unlike") for n in range(60)])
    others = [f"i{n}" for n in range(10)]
    for user in ("stranger", "u1"):
        assert "fad" not in service.order(user)
        if user == "stranger" or sections != MODES["sgd factors"]:  # steps taken cannot be undone
            assert service.scores(user, "fad")[0] < min(service.scores(user, *others))
    service.learn(event("v0", "fad"))
    assert "fad" in service.order("stranger")


@every_mode
def test_what_many_liked_and_all_dislike_now_is_popular_no_more(sections):
    service = Service(sections)
    service.learn(*[event(f"v{n}", "fad") for n in range(60)])
    service.learn(*[event(f"v{n}", "fad", "thumbs_down") for n in range(60)])
    assert service.order("stranger")[-1] == "fad"


@pytest.mark.parametrize("sections", [MODES[name] for name in ("blend", "repeats", "factors")])
def test_the_parts_of_a_score_say_that_an_item_is_disliked(sections):
    service = Service(sections)
    for value in (None, -1.0):
        service.learn(event("a", "i3", value=value))
        why = service.explained("a", "i3")
        assert why.score == pytest.approx(service.scores("a", "i3")[0], abs=1e-4)
    assert why.taste < -PENALTY / 2
    assert why.had_before == 0

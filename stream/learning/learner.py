"""The algorithms behind one method: a batch of interactions in, changed rows out.

What they do with the factors is in `als`, `explicit_als` and `sgd`; for implicit feedback the walk over the
events (`stream.walk`) does it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from state.arrays import F32, I64, U8, U64, Mask
from state.factors import FactorTable
from state.model import Model
from stream.config import LearnerSettings, LearningConfig
from stream.events import Changed, Learnable
from stream.learning import als, explicit_als, explicit_sgd, refusal, sgd
from stream.learning.implicit_sgd import Descent, Sampling
from stream.learning.initial_vectors import initial_vectors
from stream.learning.ratings_seen import clip_seen
from stream.learning.sgd import Rates

NO_PREDICTIONS = np.zeros(0, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Recollection:
    """Histories of rows int64 [n], ascending: others and ratings of row i are `bounds[i]:bounds[i + 1]`.

    `bounds` int64 [n + 1]; `others` int64 [m] are rows of the other side, `ratings` float32 [m].
    """

    rows: I64
    bounds: I64
    others: I64
    ratings: F32


Recalled = tuple[Recollection, Recollection]
"""What users and items remembered."""


class Learner(Protocol):
    """How the factors follow the interactions."""

    globals_changed: tuple[str, ...]
    """Global arrays that learning writes to."""

    keeps_item_history: bool
    """Whether items need to remember their users."""

    penalties: als.Penalties | None
    """With what the walk over the events solves rows; None if it does not."""

    descent: Descent | None
    """How the walk over the events takes steps on rows; None if it does not."""

    def start(self, table: FactorTable, slots: I64, hashes: U64) -> None:
        """Give new rows their first vectors."""
        ...

    def recall(self, model: Model, events: Learnable) -> Recalled | None:
        """What `learn` needs of the histories as they are before interactions enter them."""
        ...

    def learn(self, model: Model, events: Learnable, recalled: Recalled | None) -> Changed:
        """Learn interactions whose rows are resident and whose histories have them already.

        `recalled` is of these and maybe of further interactions.
        """
        ...


class WalkLearner:
    """Streaming ALS, or SGD, on implicit feedback: all is learnt in the walk over the events."""

    def __init__(
        self,
        learning: LearningConfig,
        globals_changed: tuple[str, ...],
        *,
        penalties: als.Penalties | None = None,
        descent: Descent | None = None,
    ) -> None:
        self._learning, self.globals_changed = learning, globals_changed
        self.keeps_item_history = penalties is not None
        self.penalties, self.descent = penalties, descent

    def start(self, table: FactorTable, slots: I64, hashes: U64) -> None:
        """Small random vectors."""
        table.vectors[slots] = _first_vectors(hashes, self._learning)

    def recall(self, model: Model, events: Learnable) -> None:
        """Nothing."""

    def learn(self, model: Model, events: Learnable, recalled: Recalled | None) -> Changed:
        """Nothing is left to do."""
        users, items = model.users.distinct(events.users), model.items.distinct(events.items)
        return Changed(users, items, {}, NO_PREDICTIONS)


class ExplicitAlsLearner:
    """Streaming explicit ALS: of every rating the user is solved anew, then the item."""

    globals_changed: tuple[str, ...] = ("mean", "ratings_seen")
    keeps_item_history = True
    penalties: als.Penalties | None = None
    descent: Descent | None = None

    def __init__(self, learning: LearningConfig, penalties: explicit_als.Penalties) -> None:
        self._learning, self._user_penalties = learning, penalties
        self._item_penalties = self._user_penalties._replace(
            recency=1.0, level_recency=1.0, level_reg=math.inf
        )

    def start(self, table: FactorTable, slots: I64, hashes: U64) -> None:
        """Small random vectors."""
        table.vectors[slots] = _first_vectors(hashes, self._learning)

    def recall(self, model: Model, events: Learnable) -> Recalled:
        """Histories of both sides: so that of each rating only earlier ones are known, whatever the batch."""
        return (
            _recollection(model.users, model.items, events.users),
            _recollection(model.items, model.users, events.items),
        )

    def learn(self, model: Model, events: Learnable, recalled: Recalled | None) -> Changed:
        """One rating after the other, each predicted before anything that knows of it."""
        assert recalled is not None
        users, items, added = model.users, model.items, ~events.remove
        of_users = _histories(recalled[0], events.users, added, users.history_max)
        of_items = _histories(recalled[1], events.items, added, items.history_max)
        predictions, refused = explicit_als.learn(
            events,
            explicit_als.Side(users.vectors, users.bias, of_users, self._user_penalties),
            explicit_als.Side(items.vectors, items.bias, of_items, self._item_penalties),
            model.globals["mean"],
        )
        clip_seen(predictions, events.strengths, model.globals["ratings_seen"])
        return Changed(
            users.distinct(events.users), items.distinct(events.items), _refused(refused), predictions
        )


def _recollection(table: FactorTable, others: FactorTable, rows: I64) -> Recollection:
    rows = np.unique(rows)
    bounds, ordinals, ratings = table.histories(rows)
    return Recollection(rows, bounds, others.find_ordinals(ordinals), ratings)


def _histories(recalled: Recollection, rows: I64, added: Mask, most: int) -> explicit_als.Histories:
    """What was recalled, with room for the events of `rows` [n] that add to it: those `added` [n]."""
    segments = np.searchsorted(recalled.rows, rows)
    lengths = np.diff(recalled.bounds)
    ends = np.cumsum(lengths + np.bincount(segments[added], minlength=len(lengths)))
    first = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    others, ratings = np.zeros(ends[-1], np.int64), np.zeros(ends[-1], np.float32)
    places = np.arange(len(recalled.others)) + np.repeat(first - recalled.bounds[:-1], lengths)
    others[places], ratings[places] = recalled.others, recalled.ratings
    return explicit_als.Histories(segments, first, first + lengths, ends, others, ratings, most)


class ExplicitSgdLearner:
    """Biased matrix factorisation by stochastic gradient descent, one rating after the other."""

    globals_changed: tuple[str, ...] = ("mean", "ratings_seen")
    keeps_item_history = False
    penalties: als.Penalties | None = None
    descent: Descent | None = None

    def __init__(self, learning: LearningConfig, rates: Rates) -> None:
        self._learning, self._rates = learning, rates

    def start(self, table: FactorTable, slots: I64, hashes: U64) -> None:
        """Small random vectors."""
        table.vectors[slots] = _first_vectors(hashes, self._learning)

    def recall(self, model: Model, events: Learnable) -> None:
        """Nothing."""

    def learn(self, model: Model, events: Learnable, recalled: Recalled | None) -> Changed:
        """One step per rating."""
        users, items = _side(model.users, model.users.capacity), _side(model.items, model.item_count)
        predictions, refused = explicit_sgd.learn(events, users, items, model.globals["mean"], self._rates)
        clip_seen(predictions, events.strengths, model.globals["ratings_seen"])
        return Changed(
            model.users.distinct(events.users),
            model.items.distinct(events.items),
            _refused(refused),
            predictions,
        )


def _first_vectors(hashes: U64, learning: LearningConfig) -> F32:
    """First vectors float32 [n, rank] of new rows."""
    vectors = initial_vectors(hashes, learning.rank, learning.seed, learning.init_std)
    return np.abs(vectors) if learning.nonneg else vectors


def _side(table: FactorTable, count: int) -> sgd.Side:
    return sgd.Side(table.vectors[:count], table.bias[:count], table.accumulator[:count])


def _refused(codes: U8) -> Mapping[str, int]:
    return refusals(np.bincount(codes, minlength=refusal.CODES))


def refusals(counts: npt.NDArray[np.integer]) -> Mapping[str, int]:
    """How many updates were refused by reason, from the number of updates by code."""
    return {name: int(counts[code]) for code, name in refusal.NAMES.items() if counts[code]}


def create_learner(settings: LearnerSettings) -> Learner:
    """The learner that the settings name."""
    learning = settings.learning
    explicit = learning.feedback == "explicit"
    if learning.algorithm == "als":
        if explicit:
            return ExplicitAlsLearner(learning, rating_penalties_of(settings))
        return WalkLearner(learning, ("gramian_user", "gramian_item"), penalties=penalties_of(settings))
    if explicit:
        return ExplicitSgdLearner(learning, _rates(settings))
    sampling = Sampling(settings.sgd.negatives, settings.sgd.recent_share, learning.seed)
    return WalkLearner(learning, ("recent", "recent_state"), descent=Descent(_rates(settings), sampling))


def penalties_of(settings: LearnerSettings) -> als.Penalties:
    """How a user is solved by ALS."""
    learning, config = settings.learning, settings.als
    return als.Penalties(config.alpha, config.reg, config.reg_exponent, learning.norm_max, learning.nonneg)


def rating_penalties_of(settings: LearnerSettings) -> explicit_als.Penalties:
    """How a user is solved by explicit ALS."""
    learning, config = settings.learning, settings.als
    return explicit_als.Penalties(
        config.explicit_reg,
        config.explicit_reg_per_rating,
        config.explicit_reg_bias,
        config.explicit_recency,
        config.explicit_level_recency,
        config.explicit_level_reg,
        learning.norm_max,
        learning.nonneg,
    )


def _rates(settings: LearnerSettings) -> Rates:
    learning, config = settings.learning, settings.sgd
    return Rates(
        config.step,
        config.step_bias,
        config.reg,
        config.reg_bias,
        config.adagrad,
        config.gradient_max,
        learning.norm_max,
        learning.nonneg,
    )

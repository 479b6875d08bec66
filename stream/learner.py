"""The two algorithms behind one method: a batch of interactions in, changed rows out.

Both keep the latest interactions of every user and item; what they do with the factors is in
`stream.als` and `stream.sgd`.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from state import gramian
from state.factors import Table
from state.model import Model
from stream import als, refusal, sgd
from stream.config import AlsConfig, LearnerSettings, LearningConfig, SgdConfig
from stream.events import I64, U64, Changed, Learnable

REFUSALS = {refusal.NOT_FINITE: "not_finite", refusal.NORM: "norm", refusal.TRACE: "trace"}
"""Why an update was refused, by the kernels' code."""

NO_PREDICTIONS = np.zeros(0, np.float64)


class Learner(Protocol):
    """How the factors follow the interactions."""

    globals_changed: tuple[str, ...]
    """Global arrays that `learn` and `start` write to."""

    keeps_item_history: bool
    """Whether items need to remember their users."""

    def start(self, model: Model, table: Table, slots: I64, hashes: U64) -> None:
        """Give new rows their first vectors."""
        ...

    def learn(self, model: Model, events: Learnable) -> Changed:
        """Learn interactions whose rows are resident and whose histories have them already."""
        ...


class AlsLearner:
    """Streaming implicit ALS: every touched row is solved anew, users against items first, then items."""

    globals_changed: tuple[str, ...] = ("gramian_user", "gramian_item")
    keeps_item_history = True

    def __init__(self, learning: LearningConfig, config: AlsConfig) -> None:
        self._learning, self._config = learning, config

    def start(self, model: Model, table: Table, slots: I64, hashes: U64) -> None:
        """Small random vectors, entered into the Gramian."""
        vectors = sgd.initial_vectors(hashes, model.rank, self._learning.seed, self._learning.init_std)
        table.vectors[slots] = vectors
        total = model.globals["gramian_item" if table is model.items else "gramian_user"]
        for vector in vectors:
            gramian.add(total, vector, 1)

    def learn(self, model: Model, events: Learnable) -> Changed:
        """Users against the old items, items against the new users."""
        users, items = model.users.distinct(events.users), model.items.distinct(events.items)
        user_refusals = self._solve(model, "user", users, self._config.recency)
        item_refusals = self._solve(model, "item", items, 1.0)
        refused = _refused(np.concatenate([user_refusals, item_refusals]))
        return Changed(users, items, refused, NO_PREDICTIONS)

    def _solve(self, model: Model, side: str, targets: I64, recency: float) -> npt.NDArray[np.uint8]:
        if side == "user":
            table, others, names = model.users, model.items, ("gramian_user", "gramian_item")
        else:
            table, others, names = model.items, model.users, ("gramian_item", "gramian_user")
        count = model.item_count if side == "user" else model.user_count
        bounds, ordinals, strengths = table.histories(targets)
        confidences, values = np.empty_like(strengths), np.empty_like(strengths)
        als.interaction_weights(bounds, strengths, recency, confidences, values)
        refused = np.zeros(len(targets), np.uint8)
        als.solve_rows(
            targets,
            bounds,
            others.find_ordinals(ordinals),
            confidences,
            values,
            table.vectors,
            others.vectors,
            model.globals[names[0]],
            model.globals[names[1]],
            count,
            self._config.alpha,
            self._config.reg,
            self._config.reg_exponent,
            self._learning.norm_max,
            refused,
        )
        return refused


class SgdLearner:
    """Biased matrix factorisation by stochastic gradient descent, one interaction after the other."""

    keeps_item_history = False

    def __init__(self, learning: LearningConfig, config: SgdConfig) -> None:
        self._learning = learning
        self._explicit = learning.feedback == "explicit"
        self.globals_changed: tuple[str, ...] = ("mean",) if self._explicit else ("recent", "recent_state")
        self._rates = sgd.Rates(
            config.step,
            config.step_bias,
            config.reg,
            config.reg_bias,
            config.adagrad,
            config.gradient_max,
            learning.norm_max,
        )
        self._sampling = sgd.Sampling(config.negatives, config.recent_share, learning.seed)

    def start(self, model: Model, table: Table, slots: I64, hashes: U64) -> None:
        """Small random vectors."""
        table.vectors[slots] = sgd.initial_vectors(
            hashes, model.rank, self._learning.seed, self._learning.init_std
        )

    def learn(self, model: Model, events: Learnable) -> Changed:
        """One step per interaction, and for implicit feedback one per sampled negative."""
        users, items = _side(model.users, model.users.capacity), _side(model.items, model.item_count)
        refused = np.zeros(len(events), np.uint8)
        predictions = np.zeros(len(events) if self._explicit else 0, np.float64)
        if self._explicit:
            mean = model.globals["mean"]
            sgd.explicit(
                events.users,
                events.items,
                events.strengths,
                events.remove,
                users,
                items,
                mean,
                self._rates,
                predictions,
                refused,
            )
            changed = model.items.distinct(events.items)
        else:
            touched = np.zeros(model.item_count, np.uint8)
            sgd.implicit(
                events.users,
                events.items,
                events.strengths,
                events.remove,
                events.positions,
                model.item_count,
                model.globals["recent"],
                model.globals["recent_state"],
                users,
                items,
                self._rates,
                self._sampling,
                refused,
                touched,
            )
            touched[events.items] = 1
            changed = np.flatnonzero(touched)
        return Changed(model.users.distinct(events.users), changed, _refused(refused), predictions)


def _side(table: Table, count: int) -> sgd.Side:
    return sgd.Side(table.vectors[:count], table.bias[:count], table.accumulator[:count])


def _refused(codes: npt.NDArray[np.uint8]) -> Mapping[str, int]:
    """How many updates were refused, by reason."""
    return {name: int((codes == code).sum()) for code, name in REFUSALS.items() if (codes == code).any()}


def create_learner(settings: LearnerSettings) -> Learner:
    """The learner that the settings name."""
    if settings.learning.algorithm == "als":
        return AlsLearner(settings.learning, settings.als)
    return SgdLearner(settings.learning, settings.sgd)

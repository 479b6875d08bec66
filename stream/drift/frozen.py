"""The frozen model: the items of a kept version, for users as they are now."""

import numpy as np

from state.model import Model
from state.neighbours import Lists
from state.scoring import blend, popularity
from state.scoring.blend import Catalogue
from stream.config import LearnerSettings
from stream.evaluation.ranking import first_calibrations
from stream.learning import gramian
from stream.learning.learner import penalties_of, rating_penalties_of
from stream.walk.values import COMPARED, Comparison, Frozen


def frozen_of(model: Model, settings: LearnerSettings) -> Frozen:
    """A model that nobody changes any more: its arrays are taken over."""
    items, count, weights = model.items, model.item_count, model.globals["weights"]
    lists = model.neighbours.lists
    catalogue = Catalogue(
        items.vectors[:count],
        items.inverse_norms[:count],
        items.counts[:count],
        items.counted_at[:count],
        Lists(lists.other[:count], lists.forward[:count], lists.backward[:count], lists.length[:count]),
    )
    scalars = np.empty(count, np.float64)
    of_popularity = weights[blend.POPULARITY : blend.NEIGHBOURS]
    popularity.scalars(catalogue.counts, catalogue.counted_at, model.clock, of_popularity, scalars)
    gram = np.zeros((model.rank, model.rank), np.int64)
    gramian.add_all(gram, catalogue.vectors)
    return Frozen(
        catalogue,
        items.bias[:count],
        items.interactions[:count],
        model.clock,
        weights,
        scalars,
        gram,
        penalties_of(settings),
        settings.als.recency,
        float(model.globals["mean"][0]),
        rating_penalties_of(settings),
    )


def nothing_frozen() -> Frozen:
    """Of no items: where there is no version."""
    return frozen_of(Model(1, 1, 0, 1, 0), LearnerSettings())


def no_comparison() -> Comparison:
    """Where nothing is compared."""
    return Comparison(False, nothing_frozen(), first_calibrations(0))


def first_comparison(settings: LearnerSettings) -> Comparison:
    """Where nothing has been compared yet, and there is no version."""
    ranking = settings.learning.feedback == "implicit"
    return Comparison(True, nothing_frozen(), first_calibrations(len(COMPARED) if ranking else 0))

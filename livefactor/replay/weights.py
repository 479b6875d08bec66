"""The weights of the ranking score by names that people understand."""

from collections.abc import Mapping

from state.arrays import F64
from state.model import Model
from state.scoring import blend, neighbours, popularity


def named_weights(model: Model, repeats: bool) -> Mapping[str, Mapping[str, float]]:
    """Weights by group and name, those of one half-life added up; `repeats` as in the settings."""
    weights = model.globals["weights"]
    pairs = weights[: blend.INTERESTS].reshape(2, blend.TASTES)
    near = weights[blend.NEIGHBOURS : blend.REPEATS].reshape(2, neighbours.FEATURES)
    groups = {
        "taste": _named(blend.TASTE_NAMES, pairs[0]),
        "neighbours": _named(neighbours.NAMES, near[0]),
        "popularity": _by_half_life(weights[blend.POPULARITY : blend.NEIGHBOURS]),
        "popularity, for newcomers": _by_half_life(model.globals["newcomer_weights"]),
        "taste, times the pace": _named(blend.TASTE_NAMES, pairs[1]),
        "neighbours, times the pace": _named(neighbours.NAMES, near[1]),
    }
    return groups | (
        {"items had before": _named(blend.REPEAT_NAMES, weights[blend.REPEATS :])} if repeats else {}
    )


def _by_half_life(weights: F64) -> Mapping[str, float]:
    half_lives = (f"{popularity.half_life(decay):,} likes" for decay in popularity.DECAYS[: popularity.EVER])
    return _named((*half_lives, "for ever"), weights.reshape(len(popularity.DECAYS), -1).sum(axis=1))


def _named(names: tuple[str, ...], values: F64) -> Mapping[str, float]:
    return dict(zip(names, values.tolist(), strict=True))

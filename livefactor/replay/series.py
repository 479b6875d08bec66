"""The numbers behind a report's plots, as one JSON object: from the scores of events and a replay's trace.

Metrics of a model are means over a window of consecutive scored events of one split, which moves along the
stream; the abscissa is always the number of the interaction in the stream. Numbers have five digits: more
cannot be seen, and they are most of the page.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from state.arrays import F64, I64, Mask
from stream.evaluation.panel import Scores
from stream.evaluation.ranking import event_metrics
from stream.evaluation.trace import SHARES, Certainty, ErrorSums, Lists, Mark, Trace

Numbers = list[float | None]

POINTS_MAX = 120
WINDOW_PART, WINDOW_PART_MAX = 20, 4
"""A window is one part in 20 of the scored events, and never more than one in 4..."""

WINDOW_EVENTS_MIN, WINDOW_EVENTS_MAX = 400, 5_000
"""...and within these bounds, if there are that many."""

GROUPS = 10
"""Points of the calibration plot."""

QUANTILE = 1.96
"""Of the normal distribution, for intervals that hold 95 %."""


def series(scores: Scores, trace: Trace, parts: Mapping[str, Mask], k: int) -> dict[str, object]:
    """Everything that is plotted; `parts` bool [n] says which scored events belong to each split."""
    everything = np.ones(len(scores.events), np.bool_)
    return {
        "model": next(iter(scores.ranks)),
        "rolling": {split: rolling(scores, part, k) for split, part in parts.items()},
        "warm_share": warm_share(scores, everything),
        "calibration": calibration(trace.certainty),
        "coverage": coverage(trace),
        "popularity": popularity(trace),
        "throughput": throughput(trace.marks),
        "weights": weights(trace.marks),
        "ratings": ratings(trace.marks),
    }


def rolling(scores: Scores, part: Mask, k: int) -> dict[str, object]:
    """Every metric of every model over windows of the events in `part`."""
    window, stops = windows(int(part.sum()))
    models = {}
    for name, ranks in scores.ranks.items():
        metrics = event_metrics(ranks[part], scores.losses[name][part], k)
        models[name] = {metric: moving_means(values, window, stops) for metric, values in metrics.items()}
    return {"window": window, "events": scores.events[part][stops - 1].tolist(), "models": models}


def windows(count: int) -> tuple[int, I64]:
    """Length of a window over `count` events, and int64 where windows end, none for no events."""
    if not count:
        return 0, np.zeros(0, np.int64)
    wanted = min(max(count // WINDOW_PART, WINDOW_EVENTS_MIN), WINDOW_EVENTS_MAX)
    window = max(min(wanted, count // WINDOW_PART_MAX), 1)
    points = min(POINTS_MAX, count - window + 1)
    return window, np.linspace(window, count, points).round().astype(np.int64)


def moving_means(values: F64, window: int, stops: I64) -> Numbers:
    """Means of the `window` values before each stop, NaN left out; None where there are no values.

    >>> moving_means(np.array([1.0, 3.0, np.nan, 5.0]), 2, np.array([2, 3, 4]))
    [2.0, 3.0, 5.0]
    """
    defined = ~np.isnan(values)
    sums = np.cumsum([0.0, *np.where(defined, values, 0.0)])
    counts = np.cumsum([0, *defined])
    starts = stops - window
    return quotients(sums[stops] - sums[starts], counts[stops] - counts[starts])


def warm_share(scores: Scores, everything: Mask) -> dict[str, object]:
    """Which share of the scored events was warm, over windows."""
    window, stops = windows(len(everything))
    share = moving_means(scores.warm.astype(np.float64), window, stops)
    return {"window": window, "events": scores.events[stops - 1].tolist(), "share": share}


def calibration(certainty: Certainty) -> dict[str, object]:
    """Lists in groups of about equal size, from the least to the most certain.

    Each group has its mean predicted probability of a hit, its share of hits, and the 95 % interval of that
    share (Wilson's).
    """
    starts = even_groups(certainty.lists, GROUPS)
    columns = certainty.lists, certainty.probability, certainty.hits
    lists, probability, hits = (np.add.reduceat(column, starts).astype(np.float64) for column in columns)
    centre = (hits + QUANTILE**2 / 2) / (lists + QUANTILE**2)
    half = QUANTILE * np.sqrt(hits * (lists - hits) / np.maximum(lists, 1) + QUANTILE**2 / 4)
    half /= lists + QUANTILE**2
    return {
        "lists": lists.astype(int).tolist(),
        "predicted": quotients(probability, lists),
        "observed": quotients(hits, lists),
        "low": rounded(centre - half),
        "high": rounded(centre + half),
    }


def even_groups(counts: I64, groups: int) -> I64:
    """First bins int64 of runs of consecutive bins that each hold about one part in `groups` of the whole.

    >>> even_groups(np.array([5, 0, 1, 1, 3]), 2).tolist()
    [0, 1]
    """
    reached = np.cumsum(counts)
    wanted = np.arange(1, groups) * reached[-1] / groups
    stops = np.searchsorted(reached, wanted, side="left") + 1
    last = np.count_nonzero(reached < reached[-1])
    starts: I64 = np.unique([0, *stops[stops <= last]])
    return starts


def coverage(trace: Trace) -> dict[str, object]:
    """How many items are known, and which share of them lists showed: in each stretch, and up to its end."""
    shown = {
        name: {
            "stretch": quotients(lists.distinct, trace.known),
            "so_far": quotients(lists.distinct_so_far, trace.known),
        }
        for name, lists in trace.lists.items()
        if name != "chosen"
    }
    return {"events": trace.stops.tolist(), "items": trace.known.tolist(), "choosers": shown}


def popularity(trace: Trace) -> dict[str, object]:
    """Which share of the places in lists the most popular items held, and how popular the listed were."""

    def of(lists: Lists) -> dict[str, object]:
        return {
            "top": [quotients(row, lists.slots) for row in lists.popular],
            "place": quotients(lists.places, lists.slots),
        }

    def overall(lists: Lists) -> dict[str, object]:
        slots = lists.slots.sum(keepdims=True)
        return {
            "top": quotients(lists.popular.sum(axis=1), slots),
            "place": quotients(lists.places.sum(keepdims=True), slots)[0],
        }

    return {
        "events": trace.stops.tolist(),
        "shares": list(SHARES),
        "choosers": {name: of(lists) for name, lists in trace.lists.items()},
        "overall": {name: overall(lists) for name, lists in trace.lists.items()},
    }


def throughput(marks: Sequence[Mark]) -> dict[str, object]:
    """Interactions a second between marks."""
    events = np.array([0, *(mark.events for mark in marks)], np.float64)
    seconds = np.array([0.0, *(mark.seconds for mark in marks)])
    rate = quotients(np.diff(events), np.diff(seconds))
    return {"events": [mark.events for mark in marks], "events_per_second": rate}


def weights(marks: Sequence[Mark]) -> dict[str, object] | None:
    """The weights of the ranking score by group and name; None for a score that has none."""
    weighed = [mark for mark in marks if mark.weights]
    if not weighed:
        return None
    groups = {
        group: {
            name: rounded(mark.weights.get(group, {}).get(name, float("nan")) for mark in weighed)
            for name in names
        }
        for group, names in weighed[-1].weights.items()
    }
    return {"events": [mark.events for mark in weighed], "groups": groups}


def ratings(marks: Sequence[Mark]) -> dict[str, object] | None:
    """Each rating model's errors between marks; None without ratings."""
    names = list(marks[-1].ratings) if marks else []
    if not names:
        return None
    models = {name: errors([mark.ratings[name] for mark in marks]) for name in names}
    return {"events": [mark.events for mark in marks], "models": models}


def errors(sums: Sequence[ErrorSums]) -> dict[str, Numbers]:
    """MAE and RMSE between moments at which the sums so far were taken."""
    rated, absolute, squared = np.diff(np.array([(0, 0.0, 0.0), *sums], np.float64), axis=0).T
    mean_squared = np.array([np.nan if value is None else value for value in quotients(squared, rated)])
    return {"mae": quotients(absolute, rated), "rmse": rounded(np.sqrt(mean_squared))}


def quotients(numerators: npt.NDArray[np.number], denominators: npt.NDArray[np.number]) -> Numbers:
    """Element by element, None where the denominator is not positive."""
    defined = denominators > 0
    return rounded(np.where(defined, numerators / np.where(defined, denominators, 1), np.nan))


def rounded(values: Iterable[float]) -> Numbers:
    """To five digits, None for what is not finite."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]

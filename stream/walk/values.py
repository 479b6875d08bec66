"""What a walk over the events of a micro-batch reads and writes: arrays, as compiled code takes them."""

from typing import NamedTuple

import numpy as np

from state.arrays import F32, F64, I8, I32, I64, U8, U32, Mask
from state.maps import Histories
from state.model import Model
from state.neighbours import LAST
from state.scoring.blend import Catalogue
from stream.learning import als, explicit_als, refusal
from stream.learning.blend import Weights
from stream.learning.implicit_sgd import Descent
from stream.learning.normal_equations import Equations
from stream.learning.recent import Recent, recent_of

STEPS = 4 * LAST
"""Steps that an event takes on the lists of neighbours, at most: a `remove` looks both ways."""

MODELS = ("live", "popularity", "neighbours")
"""What may be ranked side by side: columns of the ranks, of the losses and of the calibrations.

The last needs lists of neighbours, which the blend alone has; fewer are the first of them.
"""


COMPARED = ("live", "frozen", "baseline")
LIVE, FROZEN, BASELINE = range(len(COMPARED))
"""Models that are compared event by event, by what all of them know; see `Frozen`."""


class Options(NamedTuple):
    """What is done.

    `blends`: items are ranked by the blend, else by bias + inner product; `solves`: ALS, with
    `penalties`; `descends`: SGD, as `descent` says; `rates`: strengths are ratings; `repeats`: items of
    the history stay candidates; `recency` of a user's history; `seed` of samples.
    """

    blends: bool
    solves: bool
    descends: bool
    rates: bool
    keeps_item_history: bool
    repeats: bool
    recency: float
    penalties: als.Penalties
    descent: Descent
    seed: int


class Chosen(NamedTuple):
    """Which events are ranked, and which teach the weights: bool [n].

    `cold`: likes of users of whom nothing is known are ranked too, and likes of what is no candidate are told
    as misses.
    """

    ranked: Mask
    teaches: Mask
    cold: bool


class Users(NamedTuple):
    """Columns of the table of users."""

    vectors: F32
    biases: F32
    accumulators: F32
    interactions: I32
    last_event_ms: I64
    ordinals: U32
    by_ordinal: I32
    histories: Histories


def users_of(model: Model, added: int) -> Users:
    """Those of a model, with room for `added` entries more in their histories."""
    table = model.users
    return Users(
        table.vectors,
        table.bias,
        table.accumulator,
        table.interactions,
        table.last_event_ms,
        *table.slot_map,
        table.entries(added),
    )


class Items(NamedTuple):
    """Columns of the table of items; `place` int32 [items] is scratch, -1 everywhere."""

    catalogue: Catalogue
    biases: F32
    accumulators: F32
    interactions: I32
    histories: Histories
    place: I32


def items_of(model: Model, added: int, place: I32) -> Items:
    """Those of a model, with room for `added` entries more in their histories."""
    table = model.items
    entries = table.entries(added)
    return Items(model.catalogue, table.bias, table.accumulator, table.interactions, entries, place)


class Scalars(NamedTuple):
    """What popularity adds to the score of each item, float64 [items], as it was a short while ago.

    `refreshed_at` int64 [2]: the clock then, -1 if never; of those for users known, and of newcomers' own.
    """

    of_known: F64
    of_newcomers: F64
    refreshed_at: I64


def no_scalars(items_max: int) -> Scalars:
    """Room for that many items."""
    return Scalars(np.empty(items_max, np.float64), np.empty(items_max, np.float64), np.full(2, -1, np.int64))


class Frozen(NamedTuple):
    """The n items of a kept version, by which users are ranked whose history is the present one.

    `catalogue`, `biases` float32 [n] and `interactions` int32 [n] as they were at `clock`; `weights` of the
    ranking score, and what popularity adds to it: `scalars` float64 [n]. A user is folded in by ALS with
    `penalties` and `recency`, against the `gramian` int64 [r, r] of the items; one who rates by explicit ALS
    with `rating_penalties`, the `mean` rating being what it was.
    """

    catalogue: Catalogue
    biases: F32
    interactions: I32
    clock: int
    weights: F64
    scalars: F64
    gramian: I64
    penalties: als.Penalties
    recency: float
    mean: float
    rating_penalties: explicit_als.Penalties


class Comparison(NamedTuple):
    """The live model beside others: `frozen`, of no items where there is no version yet, and the baseline.

    `compares`: they are judged at all; `calibrations` float64 [3, 3] of `COMPARED`, [0, 3] where they rank
    nothing.
    """

    compares: bool
    frozen: Frozen
    calibrations: F64


class Shared(NamedTuple):
    """Arrays of which there is one. `born` int64 [2] is how many users and items have had an event.

    `calibrations` float64 [models, 3] of as many of `MODELS` as are judged: see `stream.evaluation.ranking`;
    `mean` and `ratings_seen` as before the pass: see `state.global_arrays`.
    """

    born: I64
    clock: I64
    mean: F64
    ratings_seen: F64
    gramian_user: I64
    gramian_item: I64
    recent: Recent
    learnt: Weights
    of_newcomers: Weights
    calibrations: F64
    comparison: Comparison
    scalars: Scalars


def shared_of(
    model: Model, born: tuple[int, int], calibrations: F64, comparison: Comparison, scalars: Scalars
) -> Shared:
    """Those of a model."""
    values = model.globals
    return Shared(
        np.array(born, np.int64),
        values["clock"],
        values["mean"],
        values["ratings_seen"],
        values["gramian_user"],
        values["gramian_item"],
        recent_of(model),
        Weights(values["weights"], values["curvature"]),
        Weights(values["newcomer_weights"], values["newcomer_curvature"]),
        calibrations,
        comparison,
        scalars,
    )


class Pending(NamedTuple):
    """Items whose rows are due at the end of the micro-batch: `items` int64 [items], the first `size`[0]."""

    items: I64
    size: I64
    is_pending: Mask


def no_items_pending(items_max: int) -> Pending:
    """Room for that many."""
    return Pending(np.zeros(items_max, np.int64), np.zeros(1, np.int64), np.zeros(items_max, np.bool_))


class Walked(NamedTuple):
    """What came of the events.

    `kept` bool [n]: all but a `remove` of what nobody remembers; `strengths` float32 [n], for a `remove`
    that of the like taken back. Of likes that were ranked: `warm` bool [n], whether user and item were known;
    `ranks` (infinite for a miss) and log `losses` (NaN for a miss) float64 [n, models], else NaN. `compared`
    float64 [n, 3, 2]: of likes ranked and known to all models of `COMPARED`, log loss and reciprocal rank
    among the items known to all, or squared errors of ratings; NaN for `FROZEN` where there is no version.
    Ratings are predicted by `LIVE` as if the pass learnt nothing. `clocks` int64 [n] before each event;
    `refused` int64 [codes]: updates by code of `refusal`; `touched` uint8 [items]: 1 for items that SGD has
    moved, [0] without it; and the first `steps`[0] steps on lists of neighbours: `owners` int64, `others`
    uint32, `forward` and `backward` int8.
    """

    kept: Mask
    strengths: F32
    warm: Mask
    ranks: F64
    losses: F64
    compared: F64
    clocks: I64
    refused: I64
    touched: U8
    steps: I64
    owners: I64
    others: U32
    forward: I8
    backward: I8


LOSS, RECIPROCAL_RANK = range(2)
"""Places of the last axis of `Walked.compared`."""


def nothing_walked(count: int, items: int, models: int, compared: int, options: Options) -> Walked:
    """Room for what comes of `count` events, judged by so many `models`, and does to so many `items`.

    So many models are `compared`: all or none.
    """
    steps = count * STEPS if options.blends else 0
    return Walked(
        np.ones(count, np.bool_),
        np.zeros(count, np.float32),
        np.zeros(count, np.bool_),
        np.full((count, models), np.nan),
        np.full((count, models), np.nan),
        np.full((count, compared, 2), np.nan),
        np.zeros(count, np.int64),
        np.zeros(refusal.CODES, np.int64),
        np.zeros(items if options.descends else 0, np.uint8),
        np.zeros(1, np.int64),
        np.empty(steps, np.int64),
        np.empty(steps, np.uint32),
        np.empty(steps, np.int8),
        np.empty(steps, np.int8),
    )


class Room(NamedTuple):
    """Scratch of one pass: of solves, of one ranking ([items] each), and of one user folded in, or rater.

    `folded` float32 [1, r].
    """

    of_users: als.Scratch
    of_items: als.Scratch
    of_folded: als.Scratch
    of_rater: Equations
    scores: F64
    candidate: Mask
    common: Mask
    folded: F32

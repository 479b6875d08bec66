"""The ranking score: one inner product, one scalar per item, and a sparse part over lists of neighbours.

    s(u, i) = ŷ_i . sum_v w_v b_v(u)  +  sum_dc w_dc log(P_d(i) + c)  +  sum_f w_f n_f(i)

with hats for vectors of length one; the interests b_v of a user are x̂_u, the mean of ŷ over the last items,
and ŷ of the last one; P_d are counts of events that decay by the factor d with every event of the stream;
n_f are the features of `neighbours`, zero outside the lists of the last items. What belongs to the
user, b_v and n_f, comes twice: as it is, and times the user's `pace`, so that a weight may differ between
someone who acted a moment ago and someone who returns. Where items already
seen stay candidates three features follow for them: that they were seen, log(1 + how many steps ago), and
log(how often). The weights are the same for all users; `stream.learning.blend` learns them.

An item that the user dislikes scores less by a constant (see `dislikes`), whatever the weights.

So the scalar is the same for everybody, and outside the lists the order is that of the dense part. Users of
whom nothing is known yet have weights w_dc of their own, for what newcomers choose is not what others do:

    s(i) = sum_dc w'_dc log(P_d(i) + c)
"""

from typing import NamedTuple

import numba
import numpy as np

from state.arrays import F32, F64, I32, I64, U32
from state.inner_product import dot
from state.neighbours import LAST, Lists
from state.scoring import neighbours, popularity
from state.scoring.dislikes import disliked_of, push_down, push_down_some

TASTE_NAMES = ("the user's vector", "mean of the last five", "the last item")
"""What the `interests` of a user are, before they are multiplied by the pace."""

TASTES = len(TASTE_NAMES)

INTERESTS = 2 * TASTES
POPULARITY = INTERESTS
"""Where the popularity features begin."""

NEIGHBOURS = POPULARITY + popularity.FEATURES
"""Where the neighbour features begin."""

REPEATS = NEIGHBOURS + 2 * neighbours.FEATURES
"""Where the features of items already seen begin, if there are any."""

REPEAT_NAMES = ("had before", "log of steps ago", "log of how often")

SIZE, SIZE_REPEATS = REPEATS, REPEATS + len(REPEAT_NAMES)
"""Number of features, without and with those of items already seen."""


def first_weights() -> F64:
    """Before anything is learnt: an equal share of every popularity feature, nothing else; float64 [40]."""
    weights = np.zeros(SIZE_REPEATS, np.float64)
    weights[POPULARITY:NEIGHBOURS] = popularity.first_weights()
    return weights


LOG_GAP_MEAN, LOG_GAP_SPAN = 7.5, 15.0
"""Middle and width of log(1 + seconds) from a moment to a month: what a pace of 0 and of one are."""


class Catalogue(NamedTuple):
    """What the score needs of all items.

    `vectors` float32 [items, r], `inverse_norms` float32 [items] (0 for a zero vector), `counts`
    float64 [items, 5] for the decays as of event `counted_at` int64 [items], and the lists of neighbours.
    """

    vectors: F32
    inverse_norms: F32
    counts: F64
    counted_at: I64
    lists: Lists


class Sparse(NamedTuple):
    """The items with a sparse part for one user, and what `sparse_features` makes it of.

    `items` int64 [m] with `counts` float64 [m] of `total` likes, and `strengths` float64 [m, 4] as
    neighbours; where `repeats`, how many `steps` ago and how many `times` they were seen, int64 [m], 0 for
    never. Negatives are drawn in proportion to `draws` float64 [m]. `pace` is the user's.
    """

    items: I64
    counts: F64
    total: float
    strengths: F64
    steps: I64
    times: I64
    draws: F64
    pace: float
    repeats: bool


@numba.njit(cache=True)
def inverse_norm(vectors: F32, row: int) -> np.float32:
    """1 / |vectors[row]|, or 0 for the zero vector."""
    squared = dot(vectors, row, vectors, row)
    return np.float32(1.0 / np.sqrt(squared)) if squared > 0.0 else np.float32(0.0)


@numba.njit(cache=True)
def inverse_norms_of(vectors: F32, rows: I64, out: F32) -> None:
    """out[row] = `inverse_norm` of each of `rows` int64 [n]."""
    for row in rows:
        out[row] = inverse_norm(vectors, row)


@numba.njit(cache=True)
def pace(gap_ms: int) -> float:
    """About -1/2 for a user whose last event was a moment ago, 0 after half an hour, 1/2 after a month."""
    return float((np.log1p(max(gap_ms, 0) / 1000.0) - LOG_GAP_MEAN) / LOG_GAP_SPAN)


@numba.njit(cache=True)
def last_liked(others: U32, strengths: F32) -> I64:
    """Items of the last likes, newest first, int64 [<= 5]; the history, uint32 and float32 [h], is not."""
    last = np.empty(LAST, np.int64)
    found = 0
    for e in range(len(others) - 1, -1, -1):
        if strengths[e] > 0:
            last[found] = others[e]
            found += 1
            if found == LAST:
                break
    return last[:found]


@numba.njit(cache=True)
def interests(
    user_vectors: F32, user: int, catalogue: Catalogue, last: I64, user_pace: float, out: F32
) -> None:
    """The interests b_v of a user whose last items are `last` int64 [<= 5], newest first.

    `out` float32 [6, r], the last three times `user_pace`; what there is no item or no vector for is zero.
    """
    vectors, norms = catalogue.vectors, catalogue.inverse_norms
    scale = inverse_norm(user_vectors, user)
    for b in range(out.shape[1]):
        out[0, b] = scale * user_vectors[user, b]
    out[1:] = 0
    for q in range(len(last)):
        item = last[q]
        for b in range(out.shape[1]):
            normed = norms[item] * vectors[item, b]
            out[1, b] += normed / np.float32(len(last))
            if q == 0:
                out[2, b] = normed
    for v in range(TASTES):
        for b in range(out.shape[1]):
            out[TASTES + v, b] = np.float32(user_pace) * out[v, b]


@numba.njit(cache=True)
def sparse_part(
    catalogue: Catalogue,
    last: I64,
    history: U32,
    liking: F32,
    total: float,
    user_pace: float,
    repeats: bool,
    place: I32,
) -> Sparse:
    """Items whose score has a sparse part for a user.

    `last` int64 [<= 5] are the items of the last likes, newest first, `history` uint32 [h] all, oldest first,
    and `liking` float32 [h] their strengths;
    `total` is the number of events behind `counts`; `place` int32 [items] is scratch, -1 everywhere before
    and after.
    """
    room = len(last) * catalogue.lists.other.shape[1] + (len(history) if repeats else 0)
    items, strengths = np.empty(room, np.int64), np.empty((room, neighbours.STRENGTHS), np.float64)
    likes = catalogue.counts[:, popularity.EVER]
    size = neighbours.gather(catalogue.lists, likes, last, place, items, strengths)
    draws = np.empty(room, np.float64)
    for at in range(size):
        draws[at] = strengths[at, 1] + strengths[at, 3]
    steps, times = np.zeros(room, np.int64), np.zeros(room, np.int64)
    if repeats:
        size = _with_history(items, strengths, draws, steps, times, size, history, liking, place)
    items = items[:size]
    return Sparse(
        items,
        likes[items],
        total,
        strengths[:size],
        steps[:size],
        times[:size],
        draws[:size],
        user_pace,
        repeats,
    )


@numba.njit(cache=True)
def _with_history(
    items: I64,
    strengths: F64,
    draws: F64,
    steps: I64,
    times: I64,
    size: int,
    history: U32,
    liking: F32,
    place: I32,
) -> int:
    """Add the liked items of the history to the first `size` gathered ones; returns how many there are then.

    Of the negatives half are drawn from the history, every event of it alike.
    """
    drawn = 0.0
    for at in range(size):
        place[items[at]] = at
        drawn += draws[at]
    share = (drawn if drawn > 0.0 else 1.0) / max(len(history), 1)
    for back in range(len(history)):
        if not liking[len(history) - 1 - back] > 0:
            continue
        item = history[len(history) - 1 - back]
        at = int(place[item])
        if at < 0:
            at = size
            place[item] = at
            items[at] = item
            strengths[at, :] = 0.0
            draws[at] = 0.0
            size += 1
        if times[at] == 0:
            steps[at] = back + 1
        times[at] += 1
        draws[at] += share
    for at in range(size):
        place[items[at]] = -1
    return size


@numba.njit(cache=True)
def sparse_features(sparse: Sparse, at: int, out: F64) -> None:
    """Features of one item of the sparse part, into `out` float64 [16 or 19], which it had zeros in."""
    neighbours.features(sparse.strengths[at], sparse.counts[at], sparse.total, out)
    for f in range(neighbours.FEATURES):
        out[neighbours.FEATURES + f] = sparse.pace * out[f]
    if sparse.repeats and sparse.times[at] > 0:
        first = 2 * neighbours.FEATURES
        out[first] = 1.0
        out[first + 1] = np.log1p(np.float64(sparse.steps[at]))
        out[first + 2] = np.log(np.float64(sparse.times[at]))


@numba.njit(cache=True)
def sparse_scores(sparse: Sparse, weights: F64) -> F64:
    """What the sparse part adds to the score of each of its items, float64 [m]."""
    of_sparse = weights[NEIGHBOURS : SIZE_REPEATS if sparse.repeats else SIZE]
    features = np.empty(len(of_sparse), np.float64)
    added = np.zeros(len(sparse.items), np.float64)
    for at in range(len(added)):
        features[:] = 0.0
        sparse_features(sparse, at, features)
        for f in range(len(features)):
            added[at] += of_sparse[f] * features[f]
    return added


class Known(NamedTuple):
    """What is known of one user.

    `interests` float32 [6, r], the items `last` liked, int64 [<= 5], newest first, those with a sparse part,
    and those `disliked`, int64 [m].
    """

    interests: F32
    last: I64
    sparse: Sparse
    disliked: I64


@numba.njit(cache=True)
def known_of(
    user_vectors: F32,
    user: int,
    history: U32,
    strengths: F32,
    gap_ms: int,
    catalogue: Catalogue,
    clock: int,
    repeats: bool,
    place: I32,
) -> Known:
    """What is known of the user `user_vectors`[user] with this history, uint32 and float32 [h].

    The last event was `gap_ms` ago; `clock` is the number of events learnt; `place` as in `sparse_part`.
    """
    last = last_liked(history, strengths)
    user_pace = pace(gap_ms)
    user_interests = np.empty((INTERESTS, user_vectors.shape[1]), np.float32)
    interests(user_vectors, user, catalogue, last, user_pace, user_interests)
    sparse = sparse_part(catalogue, last, history, strengths, np.float64(clock), user_pace, repeats, place)
    return Known(user_interests, last, sparse, disliked_of(history, strengths))


@numba.njit(cache=True)
def direction_of(known: Known, weights: F64) -> F32:
    """sum_v w_v b_v, float32 [1, r]: the vector whose inner product with ŷ is the dense part."""
    direction = np.zeros((1, known.interests.shape[1]), np.float32)
    for v in range(INTERESTS):
        for b in range(direction.shape[1]):
            direction[0, b] += np.float32(weights[v]) * known.interests[v, b]
    return direction


@numba.njit(cache=True)
def _dense(catalogue: Catalogue, item: int, direction: F32, scalars: F64) -> float:
    """What an item scores without the sparse part."""
    product = dot(catalogue.vectors, item, direction, 0)
    return float(product * catalogue.inverse_norms[item] + scalars[item])


@numba.njit(cache=True)
def score_all(catalogue: Catalogue, known: Known, scalars: F64, weights: F64, out: F64) -> None:
    """Score of the first items, as many as `out` float64 [items] has room for, for one user.

    `scalars` float64 [items] are `popularity.scalars`.
    """
    direction = direction_of(known, weights)
    for item in range(len(out)):
        out[item] = _dense(catalogue, item, direction, scalars)
    added = sparse_scores(known.sparse, weights)
    for at in range(len(added)):
        out[known.sparse.items[at]] += added[at]
    push_down(known.disliked, out)


@numba.njit(cache=True)
def score_some(
    catalogue: Catalogue, known: Known, scalars: F64, weights: F64, items: I64, place: I32, out: F64
) -> None:
    """Score of each of `items` int64 [n], into `out` float64 [n]: the same as among all.

    `place` int32 [items] is scratch, -1 everywhere before and after.
    """
    direction = direction_of(known, weights)
    added = sparse_scores(known.sparse, weights)
    for at in range(len(added)):
        place[known.sparse.items[at]] = at
    for n in range(len(items)):
        out[n] = _dense(catalogue, items[n], direction, scalars)
        if place[items[n]] >= 0:
            out[n] += added[place[items[n]]]
    for item in known.sparse.items:
        place[item] = -1
    push_down_some(known.disliked, items, out)

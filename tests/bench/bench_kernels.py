"""The learning kernels alone, against the libraries that do the same in one thread.

ALS: microseconds per solved row, next to `implicit`'s batch solve of the same rows. SGD: updates per
second on 1 M users and 200 k items of rank 64 (items by Zipf, users uniform), next to river's BiasedMF.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from river import optim, reco
from scipy.sparse import csr_matrix

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from als_rows import gramian_of, solve_rows
from sgd_events import learn_events

from stream.events import Learnable
from stream.learning import als, explicit_sgd, implicit_sgd, sgd
from stream.learning.initial_vectors import initial_vectors
from stream.learning.recent import Recent

ROUNDS = 5
USERS, ITEMS, RANK = 1_000_000, 200_000, 64


def best_s(run):
    """Shortest of several rounds, after one to compile and warm up."""
    run()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def als_figure(rank, length, targets_count=1_000):
    random = np.random.default_rng(0)
    x = (random.normal(size=(targets_count, rank)) * 0.1).astype(np.float32)
    y = (random.normal(size=(10_000, rank)) * 0.1).astype(np.float32)
    gram_x, gram_y = gramian_of(x), gramian_of(y)
    targets = np.arange(targets_count)
    bounds = np.arange(targets_count + 1) * length
    others = random.integers(0, len(y), bounds[-1])
    values = random.uniform(1, 5, bounds[-1]).astype(np.float32)
    confidences = values - np.float32(1)

    def ours():
        args = (targets, bounds, others, confidences, values, x, y, gram_x, gram_y)
        solve_rows(*args, als.Penalties(1.0, 0.1, 0.0, 1e4, False))

    model = AlternatingLeastSquares(factors=rank, regularization=0.1, alpha=1.0, num_threads=1)
    model.item_factors, model.user_factors = y, x.copy()
    matrix = csr_matrix((values, others, bounds), shape=(targets_count, len(y)))
    ours_us = best_s(ours) / targets_count * 1e6
    theirs_us = best_s(lambda: model.recalculate_user(targets, matrix)) / targets_count * 1e6
    detail = {"us": round(ours_us, 1), "implicit_us": round(theirs_us, 1)}
    figure = f"ALS solve, rank {rank}, {length} interactions: implicit's time / ours"
    return {"figure": figure, "ratio": theirs_us / ours_us, "must": 1.0, "aim": 2.0, "detail": detail}


def river_events_per_s(users, items, ratings):
    model = reco.BiasedMF(
        n_factors=RANK, latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.1, seed=1)
    )
    start = time.perf_counter()
    for user, item, rating in zip(users.tolist(), items.tolist(), ratings.tolist(), strict=True):
        model.predict_one(user, item)
        model.learn_one(user, item, rating)
    return len(users) / (time.perf_counter() - start)


def initial_side(count, seed):
    vectors = initial_vectors(np.arange(count, dtype=np.uint64), RANK, seed, 0.1)
    return sgd.Side(vectors, np.zeros(count, np.float32), np.zeros(count, np.float32))


def sgd_figures(count=1_000_000):
    random = np.random.default_rng(0)
    users = random.integers(0, USERS, count)
    items = (ITEMS ** random.random(count)).astype(np.int64)
    ratings = random.integers(1, 6, count).astype(np.float32)
    user_side, item_side = initial_side(USERS, 1), initial_side(ITEMS, 2)
    positions = random.integers(0, 2**64, count, dtype=np.uint64)
    events = Learnable(users, items, ratings, np.zeros(count, np.bool_), positions, np.zeros(count, np.int64))
    likes = events._replace(strengths=np.ones_like(ratings))
    mean = np.zeros(2)
    recent = Recent(np.zeros(2_000, np.int64), np.zeros(2, np.int64), np.zeros(ITEMS, np.int32))
    rates = sgd.Rates(0.05, 0.025, 0.0, 0.0, True, 10.0, 64.0, False)
    descent = implicit_sgd.Descent(rates, implicit_sgd.Sampling(4, 0.5, 1))
    norms = np.zeros(ITEMS, np.float32)
    sides = (user_side, item_side)

    def explicit():
        explicit_sgd.learn(events, *sides, mean, rates)

    def implicit():
        learn_events(likes, ITEMS, recent, *sides, norms, descent)

    river = river_events_per_s(users[:20_000], items[:20_000], ratings[:20_000])
    names = (("explicit", explicit, 40.0, 60.0), ("implicit with 4 negatives", implicit, 5.0, 10.0))
    for name, run, must, aim in names:
        rate = count / best_s(run)
        detail = {"events_per_s": round(rate), "river_events_per_s": round(river)}
        figure = f"SGD {name}, rank {RANK}: events/s / river's BiasedMF"
        yield {"figure": figure, "ratio": rate / river, "must": must, "aim": aim, "detail": detail}


if __name__ == "__main__":
    print(json.dumps([als_figure(32, 100), als_figure(64, 50), *sgd_figures()]))

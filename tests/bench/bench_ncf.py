"""Accuracy of the ALS kernels in batch epochs, by a published protocol: MovieLens 1M of "Neural CF".

    python tests/bench/bench_ncf.py

He et al. 2017, "Neural collaborative filtering": the last item of each user is left out and ranked among 99
stored negatives; HR@10 and NDCG@10, ties get the middle rank, means over several initial vectors. Reference:
iALS .722 / .445 (rank 192, mean of ten) in Rendle et al. 2022, "Revisiting the performance of iALS on item
recommendation benchmarks".

Each epoch solves all users and then all items from their whole histories, with every confidence and value 1.
Ridge and weight of the unobserved pairs were chosen without the test items: on one random training item of
each user held out, among 99 random negatives. Epochs and standard deviation are those of the paper.
"""

import csv
import gzip
import json
import os
import re
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from workload import DATA, load_average

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from als_rows import gramian_of, solve_rows

from stream.learning import als

RANK = 64
REG, ALPHA, EPOCHS = 0.007, 0.15, 12
INIT_STD = 0.1 / RANK**0.5
NORM_MAX = 1e4
SEEDS = (1, 2, 3, 4, 5)
K = 10
PUBLISHED = {"hr": 0.722, "ndcg": 0.445}


def train_pairs(folder: Path):
    """Users and items of the training pairs, int64 [n] each."""
    with gzip.open(folder / "train.csv.gz", "rt") as file:
        rows = [(int(row["u"]), int(row["i"])) for row in csv.DictReader(file)]
    users, items = np.array(rows, np.int64).T
    return users, items


def candidates(folder: Path):
    """Of each test: its user, int64 [t], and its item followed by the negatives, int64 [t, 100]."""
    with gzip.open(folder / "ml-1m.test.negative.gz", "rt") as file:
        rows = [[int(number) for number in re.findall(r"\d+", line)] for line in file]
    table = np.array(rows, np.int64)
    return table[:, 0], np.ascontiguousarray(table[:, 1:])


def histories(targets, others, count: int):
    """Interactions by target: `bounds` int64 [count + 1] into the others, int64 [n]."""
    order = np.argsort(targets, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(targets, minlength=count))])
    return bounds.astype(np.int64), others[order]


def train(users, items, reg: float = REG, alpha: float = ALPHA, epochs: int = EPOCHS, seed: int = SEEDS[0]):
    """Factors of all users and items after some epochs, float32 [., RANK] each."""
    user_count, item_count = int(users.max()) + 1, int(items.max()) + 1
    random = np.random.default_rng(seed)
    x, y = (
        (random.standard_normal((n, RANK)) * INIT_STD).astype(np.float32) for n in (user_count, item_count)
    )
    gram_x, gram_y = gramian_of(x), gramian_of(y)
    ones = np.ones(len(users), np.float32)

    penalties = als.Penalties(alpha, reg, 1.0, NORM_MAX, False)

    def solve(bounds, others, *sides):
        refused = solve_rows(np.arange(len(bounds) - 1), bounds, others, ones, ones, *sides, penalties)
        assert not refused.any()

    of_users, of_items = histories(users, items, user_count), histories(items, users, item_count)
    for _ in range(epochs):
        solve(*of_users, x, y, gram_x, gram_y)
        solve(*of_items, y, x, gram_y, gram_x)
    return x, y


def measure(x, y, users, choices) -> dict[str, float]:
    """HR and NDCG of the first of each row of choices."""
    scores = np.einsum("tr,tcr->tc", x[users], y[choices])
    wanted = scores[:, :1]
    ranks = 1 + (scores[:, 1:] > wanted).sum(axis=1) + 0.5 * (scores[:, 1:] == wanted).sum(axis=1)
    hits = ranks <= K
    return {"hr": float(hits.mean()), "ndcg": float((hits / np.log2(1 + ranks)).mean())}


def figures(folder: Path) -> list[dict[str, object]]:
    users, items = train_pairs(folder)
    tests = candidates(folder)
    train(users, items, epochs=1)  # compiles
    start_s = time.perf_counter()
    measured = [measure(*train(users, items, seed=seed), *tests) for seed in SEEDS]
    seconds = (time.perf_counter() - start_s) / len(SEEDS)
    detail = {
        "rank": RANK,
        "reg": REG,
        "alpha": ALPHA,
        "reg_exponent": 1.0,
        "epochs": EPOCHS,
        "init_std": INIT_STD,
        "seconds": round(seconds, 1),
        "load": load_average(),
    }
    title = f"NCF protocol, MovieLens 1M, ALS of rank {RANK} in batch epochs"
    targets = {"hr": (f"HR@{K}", 0.715, 0.725), "ndcg": (f"NDCG@{K}", 0.440, 0.447)}
    found = []
    for metric, (name, must, aim) in targets.items():
        each = [run[metric] for run in measured]
        facts = {**detail, "each": [round(value, 4) for value in each], "ials_rank_192": PUBLISHED[metric]}
        mean = sum(each) / len(each)
        print(f"{name} {mean:.4f}, {EPOCHS} epochs in {seconds:.1f} s", file=sys.stderr)
        found.append({"figure": f"{title}: {name}", "ratio": mean, "must": must, "aim": aim, "detail": facts})
    return found


def main() -> None:
    folder = Path(DATA) / "ncf-ml1m"
    if folder.is_dir():
        print(json.dumps(figures(folder)))
    else:
        print("left out: set LIVEFACTOR_TEST_DATA to the folder that holds ncf-ml1m", file=sys.stderr)
        print("[]")


if __name__ == "__main__":
    main()

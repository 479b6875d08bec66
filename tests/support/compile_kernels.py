"""Compiles what a learner and a scorer run into numba's cache, so that no process under test has to do it."""

from itertools import product

from serving.refresh import Shape
from serving.refresh import warm_up as warm_up_scorer
from stream.config import LearnerSettings
from stream.run import warm_up as warm_up_learner

if __name__ == "__main__":
    for algorithm, feedback in product(("als", "sgd"), ("implicit", "explicit")):
        warm_up_learner(
            LearnerSettings.model_validate({"learning": {"algorithm": algorithm, "feedback": feedback}})
        )
    for blends in (False, True):
        warm_up_scorer(
            Shape(
                rank=8,
                explicit=False,
                rows_max=2,
                items_max=1,
                history_max=10,
                blends=blends,
                repeats=False,
                overlay_bytes_max=1 << 20,
            )
        )

"""Compiles what a learner and a scorer run into numba's cache, so that no process under test has to do it."""

from itertools import product

from serving.warm_up import warm_up as warm_up_scorer
from stream.config import LearnerSettings
from stream.run import warm_up as warm_up_learner

if __name__ == "__main__":
    for algorithm, feedback in product(("als", "sgd"), ("implicit", "explicit")):
        warm_up_learner(
            LearnerSettings.model_validate({"learning": {"algorithm": algorithm, "feedback": feedback}})
        )
    warm_up_scorer()

"""Compiles what a learner runs into numba's cache, so that no process under test has to do it."""

from itertools import product

from stream.config import LearnerSettings
from stream.run import warm_up

if __name__ == "__main__":
    for algorithm, feedback in product(("als", "sgd"), ("implicit", "explicit")):
        warm_up(LearnerSettings.model_validate({"learning": {"algorithm": algorithm, "feedback": feedback}}))

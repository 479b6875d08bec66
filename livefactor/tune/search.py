"""Which settings to try, and on how much of a stream: successive halving.

    every candidate on a short stretch  ->  the best third on a longer one  ->  their best third on all of it

Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization". One
half of the candidates is drawn from the whole space, the other half afterwards from around the best so far.
"""

import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

Candidate = tuple[tuple[str, float], ...]
"""Values of settings by name, such as `(("als.reg", 0.1), ("learning.rank", 64))`."""

Measure = Callable[[Sequence[Candidate], int], Sequence[float | None]]
"""Losses of candidates on the first so many events: infinite for one that failed, None if time ran out."""

KEPT = 3
"""One in so many candidates goes on to the next stretch."""

NEARNESS = 0.15
"""How far candidates of the second half lie from the best, of the whole range, in each direction."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting `section.key` that is tuned between `low` and `high`.

    Even steps of its logarithm are alike, or with `log=False` of its value; a multiple of `multiple` if that
    is not 0.
    """

    name: str
    low: float
    high: float
    log: bool = True
    multiple: int = 0

    def value(self, place: float) -> float:
        """The value at a place of the range, 0 to 1, to three digits."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        scaled = low + (high - low) * place
        value = math.exp(scaled) if self.log else scaled
        if self.multiple:
            return max(round(value / self.multiple), 1) * self.multiple
        return float(f"{value:.3g}")

    def place(self, value: float) -> float:
        """Where a value stands in the range, 0 to 1; values outside stand at its end."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        within = min(max(value, self.low), self.high)
        return (self._scaled(within) - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


RANK = Parameter("learning.rank", 8, 64, multiple=8)

SGD = (
    RANK,
    Parameter("sgd.step", 0.003, 0.5),
    Parameter("sgd.step_bias", 0.003, 0.5),
    Parameter("sgd.reg", 1e-5, 0.1),
)

SPACES: Mapping[tuple[str, str], Sequence[Parameter]] = {
    ("als", "implicit"): (
        RANK,
        Parameter("als.reg", 0.001, 3),
        Parameter("als.alpha", 0.002, 1),
        Parameter("als.recency", 0.5, 1, log=False),
    ),
    ("als", "explicit"): (
        RANK,
        Parameter("als.explicit_reg", 0.3, 30),
        Parameter("als.explicit_reg_per_rating", 0.005, 0.5),
        Parameter("als.explicit_reg_bias", 0.3, 30),
        Parameter("als.explicit_recency", 0.8, 1, log=False),
        Parameter("als.explicit_level_recency", 0.3, 1, log=False),
        Parameter("als.explicit_level_reg", 1, 100),
    ),
    ("sgd", "implicit"): SGD,
    ("sgd", "explicit"): SGD,
}
"""What is tuned of each algorithm and feedback."""


def space(algorithm: str, feedback: str, held: Collection[str]) -> Sequence[Parameter]:
    """What is tuned, without the settings that are held."""
    return [parameter for parameter in SPACES[algorithm, feedback] if parameter.name not in held]


def search(
    parameters: Sequence[Parameter],
    base: Candidate,
    stretches: Sequence[int],
    trials: int,
    seed: int,
    measure: Measure,
) -> Candidate | None:
    """The best of `base` and so many further candidates; None if all failed.

    `stretches`: ascending numbers of events. It is the best on the longest stretch on which two or more could
    be compared before time ran out. `measure` must answer the same question with the same loss.
    """
    table = _Table(measure)
    table.ask([base], stretches[-1])
    first = trials - trials // 2
    wide = [_anywhere(parameters, seed, number) for number in range(first)]
    if _halve(table, [base, *wide], stretches):
        centre = table.best() or base
        near = [_near(parameters, centre, seed, number) for number in range(first, trials)]
        _halve(table, near, stretches)
    return table.best()


def questions(trials: int, stretches: int) -> int:
    """How many losses `search` asks for, if no two candidates are equal."""
    total = 1
    for count in (1 + trials - trials // 2, trials // 2):
        for _ in range(stretches if count else 0):
            total += count
            count = _kept(count)
    return total


class _Table:
    """Every loss so far."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._losses: dict[int, dict[Candidate, float]] = {}

    def ask(self, candidates: Sequence[Candidate], events: int) -> tuple[list[Candidate], bool]:
        """Those that did not fail, best first, and whether there was time for all."""
        losses = dict(zip(candidates, self._measure(candidates, events), strict=True))
        known = {candidate: loss for candidate, loss in losses.items() if loss is not None}
        self._losses.setdefault(events, {}).update(known)
        good = [candidate for candidate, loss in known.items() if math.isfinite(loss)]
        return sorted(good, key=known.__getitem__), len(known) == len(losses)

    def best(self) -> Candidate | None:
        """The best on the longest stretch with two or more that did not fail, else on the longest."""
        good = {
            events: finite
            for events, losses in self._losses.items()
            if (finite := {c: loss for c, loss in losses.items() if math.isfinite(loss)})
        }
        if not good:
            return None
        longest = good[max(good, key=lambda events: (len(good[events]) > 1, events))]
        return min(longest, key=longest.__getitem__)


def _halve(table: _Table, candidates: Sequence[Candidate], stretches: Sequence[int]) -> bool:
    """Ask for ever fewer candidates on ever longer stretches; False if time ran out."""
    remaining = list(dict.fromkeys(candidates))
    for events in stretches:
        ranked, complete = table.ask(remaining, events)
        if not complete:
            return False
        remaining = ranked[: _kept(len(remaining))]
    return True


def _kept(count: int) -> int:
    return -(-count // KEPT)


def _anywhere(parameters: Sequence[Parameter], seed: int, number: int) -> Candidate:
    """Candidate `number`: each value from its whole range."""
    draw = random.Random(f"{seed}/{number}")
    return tuple((parameter.name, parameter.value(draw.random())) for parameter in parameters)


def _near(parameters: Sequence[Parameter], centre: Candidate, seed: int, number: int) -> Candidate:
    """Candidate `number`: each value from around that of another candidate."""
    draw, values = random.Random(f"{seed}/{number}"), dict(centre)
    places = [
        parameter.place(values[parameter.name]) + NEARNESS * (2 * draw.random() - 1)
        for parameter in parameters
    ]
    return tuple(
        (parameter.name, parameter.value(min(max(place, 0.0), 1.0)))
        for parameter, place in zip(parameters, places, strict=True)
    )

"""Search for settings on the first part of a recorded stream, and what they are worth on the rest.

    |------------- 30 % -------------|------------------------- 70 % --------------------------|
     search: test-then-learn on its        report: the settings as they were and those found,
     beginning, on more, on all of it      after learning the 30 %, on the same events

What counts in the search is the second half of each stretch: how good a model is on its very first events
says little. (Of ten settings on MovieLens 100K, the rank correlation of NDCG on the ninth of the 30 % with
that on the rest was .78 so, and .55 with the first half included.)

Nothing that is reported was searched on.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from livefactor.replay.run import config
from livefactor.settings import Settings
from livefactor.tune.comparison import Part, compare, is_better
from livefactor.tune.measuring import (
    RATING_METRICS,
    Figures,
    Stop,
    Task,
    TuneError,
    Work,
    Workers,
    with_values,
)
from livefactor.tune.search import Candidate, questions, search, space
from livefactor.tune.trials import Journal, Trial
from state.arrays import I64, Mask
from state.errors import ConfigError
from stream.evaluation.ranking import METRICS
from stream.events import COLUMNS, Interactions
from stream.learning.meaning import strengths
from stream.lineage.fingerprint import REPLAY_PROGRAM, code_hash

SEARCHED_SHARE = 0.3
STRETCHES = (1 / 9, 1 / 3, 1.0)
"""Parts of the searched events that candidates are compared on."""

SCORED_MIN = 100
"""Events that count which a stretch must have for candidates to be compared on it."""

Advance = Callable[[int, int, str], None]
"""Hears of pieces done, pieces in all, and how it goes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to search with: so many trials by `jobs` processes; settings named in `held` stay as they are."""

    trials: int
    seed: int
    jobs: int
    held: Collection[str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it, after a search on the first `searched` events and a report on the `reported` others.

    `changed`: what the search chose otherwise, by name: before and after. `measured`: trials in the journal,
    `resumed` of them from earlier runs; `failures`: those that failed, by reason. `parts`: all, warm and cold
    events of the rest, and ratings; none if a configuration failed there, for the reason in `default_failure`
    or `tuned_failure`. `better`: the tuned settings are, beyond the interval of the difference.
    """

    settings: Settings
    changed: Mapping[str, tuple[float, float]]
    searched: int
    reported: int
    measured: int
    resumed: int
    failures: Mapping[str, int]
    parts: Mapping[str, Part]
    better: bool
    default_failure: str | None
    tuned_failure: str | None


class Tuning:
    """A search on the first part of a stream, which goes on from its journal, and a report on the rest."""

    def __init__(self, work: Work, request: Request, journal: Path) -> None:
        """Raises ConfigError for a stream that is too short, a journal of something else, nothing to tune."""
        self._work, self._request = work, request
        self._searched = int(len(work.stream) * SEARCHED_SHARE)
        self._stretches = stretches_of(scorable(work), self._searched)
        learning = work.settings.learning
        self._parameters = space(learning.algorithm, learning.feedback, request.held)
        if not self._parameters:
            raise ConfigError("every setting that could be tuned is held by --set: leave one of them out")
        self._base = values_of(work.settings, [parameter.name for parameter in self._parameters])
        self._journal = Journal(journal, about(work))
        self._workers = Workers(work, request.jobs)

    def __enter__(self) -> "Tuning":
        return self

    def __exit__(self, *raised: object) -> None:
        self._workers.close()
        self._journal.close()

    def search(self, stop: Stop, advance: Advance) -> Candidate:
        """The best candidate, perhaps the settings as they are. Raises TuneError if all failed."""
        total = questions(self._request.trials, len(self._stretches))
        progress = Progress(self._work.metric, total, advance)

        def losses(candidates: Sequence[Candidate], events: int) -> Sequence[float | None]:
            return self._losses(candidates, events, stop, progress)

        trials, seed = self._request.trials, self._request.seed
        best = search(self._parameters, self._base, self._stretches, trials, seed, losses)
        if best is None:
            reasons = (
                "; ".join(self._failures())
                or "time ran out; raise --timeout-s, or score fewer events with --sample"
            )
            raise TuneError(f"no settings could be measured: {reasons}")
        return best

    def report(self, best: Candidate, advance: Advance) -> Outcome:
        """Compare the best candidate with the settings as they are, on the rest."""
        default, tuned = self._on_the_rest(best, advance)
        return Outcome(
            with_values(self._work.settings, best),
            changes(self._base, best),
            self._searched,
            len(self._work.stream) - self._searched,
            len(self._journal.trials()),
            self._journal.resumed,
            self._failures(),
            {} if default.failure or tuned.failure else compare(default, tuned),
            is_better(default, tuned, self._work.metric),
            default.failure,
            tuned.failure,
        )

    def _losses(
        self, candidates: Sequence[Candidate], events: int, stop: Stop, progress: "Progress"
    ) -> Sequence[float | None]:
        """Those in the journal, and the others measured."""
        tasks = []
        for candidate in candidates:
            if trial := self._journal.find(candidate, events):
                progress.done(trial)
            else:
                ranked = self._work.metric in METRICS
                tasks.append(Task(candidate, events, counted_from(events), ranked))
        for task, figures in self._workers.run(tasks, stop, progress.events):
            trial = trial_of(task, figures, self._work.metric)
            self._journal.add(trial)
            progress.done(trial)
        known = [self._journal.find(candidate, events) for candidate in candidates]
        return [None if trial is None else math.inf if trial.loss is None else trial.loss for trial in known]

    def _failures(self) -> Mapping[str, int]:
        return Counter(trial.failure for trial in self._journal.trials() if trial.failure)

    def _on_the_rest(self, best: Candidate, advance: Advance) -> tuple[Figures, Figures]:
        """Figures of the settings as they are and of the best, on all events after the searched ones."""
        count = len(self._work.stream)
        tasks = [Task(candidate, count, self._searched) for candidate in dict.fromkeys((self._base, best))]
        figures: dict[Candidate, Figures] = {}

        def tell(events: int) -> None:
            advance(len(figures) * count + events, len(tasks) * count, "")

        for task, measured in self._workers.run(tasks, lambda: False, tell):
            figures[task.candidate] = measured
            tell(0)
        return figures[self._base], figures[best]


def changes(base: Candidate, best: Candidate) -> dict[str, tuple[float, float]]:
    """Values before and after, by name, where they differ."""
    before = dict(base)
    return {name: (before[name], value) for name, value in best if before[name] != value}


def about(work: Work) -> dict[str, object]:
    """What a loss depends on, besides the candidate and the number of events."""
    return {
        "events of the file": _digest(work.stream),
        "number of events": len(work.stream),
        "program": code_hash(REPLAY_PROGRAM),
        "--metric": work.metric,
        "--k": work.k,
        "--sample": work.plan.sample_every,
        **config(work.settings),
    }


def _digest(stream: Interactions) -> str:
    digest = xxhash.xxh3_128(stream.buffer.tobytes())
    for name in COLUMNS:
        digest.update(getattr(stream, name).tobytes())
    return digest.hexdigest()


def scorable(work: Work) -> I64:
    """Numbers of about as many events as a metric will be of: int64, ascending.

    With ratings the rated ones; else, one in `sample_every`, positives whose user and item came before, but
    not together (unless repeats count). Duplicates and the bound of histories are not looked at.
    """
    stream = work.stream
    strength, learnable = strengths(stream, work.settings.learning)
    learnt = np.flatnonzero(learnable & ~stream.remove)
    if work.metric in RATING_METRICS:
        return learnt
    users, items = stream.user_hash[learnt], stream.item_hash[learnt]
    warm = _came_before(users) & _came_before(items) & (strength[learnt] > 0)
    if not work.settings.ranking.repeats:
        warm &= ~_came_before(users * np.uint64(3) ^ items)
    return learnt[warm][:: work.plan.sample_every]


def _came_before(hashes: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Mask:
    """Which of the values stand further to the front too, bool [n]."""
    before = np.ones(len(hashes), np.bool_)
    before[np.unique(hashes, return_index=True)[1]] = False
    return before


def stretches_of(scored: I64, searched: int) -> list[int]:
    """Ascending numbers of events to compare candidates on, given the numbers of the scorable events.

    Raises ConfigError if there are too few in the `searched` first events.
    """
    counts = {
        length: int(np.diff(np.searchsorted(scored, (counted_from(length), length)))[0])
        for length in (int(searched * share) for share in STRETCHES)
    }
    if counts[searched] < SCORED_MIN:
        raise ConfigError(
            f"of the first {SEARCHED_SHARE:.0%} of the file, {searched:,} events, the second half holds "
            f"{counts[searched]:,} that can be scored; to compare settings {SCORED_MIN} are needed: take a "
            "longer file, a smaller --sample or another learning.min_value"
        )
    return [length for length, count in counts.items() if count >= SCORED_MIN]


def counted_from(events: int) -> int:
    """The event of a stretch from which on its events count."""
    return events // 2


class Progress:
    """How far the search is; `advance` hears of losses known, those there may be, and how it goes."""

    def __init__(self, metric: str, total: int, advance: Advance) -> None:
        self._metric, self.total, self._advance = metric, total, advance
        self._done, self._best, self._events = 0, math.inf, 0

    def done(self, trial: Trial) -> None:
        """One more loss is known."""
        self._done += 1
        if trial.events > self._events:
            self._events, self._best = trial.events, math.inf
        if trial.events == self._events and trial.loss is not None:
            self._best = min(self._best, trial.loss)
        self._tell("")

    def events(self, done: int) -> None:
        """The trial being measured has come so far."""
        self._tell(f"  at event {done:,}")

    def _tell(self, place: str) -> None:
        found = f"best {self._metric} {abs(self._best):.4f}" if math.isfinite(self._best) else ""
        self._advance(self._done, self.total, found + place)


def trial_of(task: Task, figures: Figures, metric: str) -> Trial:
    """What a journal keeps of figures."""
    loss = figures.loss(metric)
    failed = not math.isfinite(loss)
    failure = (figures.failure or f"{metric} is not a number") if failed else None
    return Trial(task.candidate, task.events, None if failed else loss, failure, round(figures.seconds, 3))


def values_of(settings: Settings, names: Sequence[str]) -> Candidate:
    """What some settings are."""
    parts = [(name, *name.partition(".")[::2]) for name in names]
    return tuple((name, getattr(getattr(settings, section), key)) for name, section, key in parts)

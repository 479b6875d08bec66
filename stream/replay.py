"""A recorded stream again, test-then-learn: every model is asked about an event before any learns from it.

    for every event that was chosen:
        1  rank the items for it: all models, same candidates, same history
           (`live` does that within the walk of 2, see `stream.walk`; nothing stops for it)
        2  learn it and those up to the next one: the same `stream.step` that the service runs, in
           micro-batches (by default of one event), once for each algorithm

An event is *scored* if it is a positive, no duplicate, and in the sample. Its history is what its user's row
remembers (`state.history_max` interactions); its candidates are all items learnt from so far minus that
history, or with `ranking.repeats` all of them. It is *warm* if its user has been learnt from and its item is
a candidate, else *cold*. An item that is no candidate is a miss for every model; for a user never seen each
model gives the answer that it has for strangers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from state.arrays import F32, F64, I64, U64, Mask
from state.errors import ConfigError
from state.event_ids import EventIds
from state.model import Model
from state.scoring.neighbours import cosine_scores, directed_scores
from stream.config import LearnerSettings, LearningConfig, SgdConfig
from stream.effects import Counts
from stream.evaluation.experts import Blend, Expert, Factors, ItemMean, ItemToItem, Query, popularities
from stream.evaluation.judged import Judged
from stream.evaluation.mistakes import Mistake, Mistakes
from stream.evaluation.panel import Panel, Scores
from stream.evaluation.ranking import Calibration, candidates
from stream.evaluation.rating import Baseline, Errors, Predictor, Ratings, RunningMean
from stream.evaluation.trace import Trace
from stream.events import Interactions, Records
from stream.learning.learner import create_learner
from stream.learning.meaning import strengths
from stream.sampling import position_hashes, sampled
from stream.step import Step

LIVE = "live"
LEARNT_AT_ONCE = 5_000
"""Most events that one call of `Replay.advance` learns."""

ALGORITHMS = ("als", "sgd")

OF_RATINGS = ("running_mean", "baseline", "biased_mf")
"""Models that predict ratings and rank nothing."""

BIASED_MF_RANK = 10
BIASED_MF = SgdConfig(step=0.05, step_bias=0.025, adagrad=False, gradient_max=1e12)
"""Settings of `reco.BiasedMF` in river's documentation."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to score.

    One in `sample_every` eligible events, each before it is learnt; items are solved anew at the end of every
    micro-batch of `batch_events`. `models`: names, all there are by default. As many of the largest mistakes
    of `live` as `mistakes` says are explained.
    """

    sample_every: int = 1
    batch_events: int = 1
    models: Sequence[str] | None = None
    mistakes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The outcome. `counts` are the live model's steps'; `ratings` are of explicit feedback only.

    `mistakes`: the largest first.
    """

    events: int
    scores: Scores
    ratings: Mapping[str, Errors]
    counts: Counts
    mistakes: Sequence[Mistake] = ()


class Replay:
    """All models on one stream, as far as it has been replayed."""

    def __init__(
        self, stream: Interactions, settings: LearnerSettings, plan: Plan, trace: Trace | None = None
    ) -> None:
        """`stream` is in time order. Raises ConfigError for models there are none of.

        `trace` observes the first model; `model` is the live model, `done` the number of events replayed.
        """
        self._stream, self._settings, self._plan = stream, settings, plan
        # Rows for everyone: in a replay nothing is ever evicted, so all algorithms agree on the slots.
        self._users_max = max(len(np.unique(stream.user_hash)), 1)
        self._items_max = max(len(np.unique(stream.item_hash)), 1)
        self._algorithm = settings.learning.algorithm
        self._positive = positives(stream, settings)
        self._chosen = self._positive & sample(len(stream), plan.sample_every, settings.learning.seed)
        self._chosen_at = np.flatnonzero(self._chosen)
        self._steps: dict[str, Step] = {}
        self._judged: dict[str, Judged] = {}
        names = self._names()
        self._ranking = [name for name in names if name not in OF_RATINGS]
        self._add_steps(names)
        self._main = next(iter(self._steps))
        self.model = self._steps[self._main].model
        explicit = settings.learning.feedback == "explicit"
        self.blends = settings.blends and LIVE in names
        self._ratings = self._create_ratings(names) if explicit else None
        makers = self._makers()
        self._panel = Panel(
            {name: makers[name]() for name in self._ranking if name != LIVE}, len(self._chosen_at)
        )
        self._trace, self._watched = trace, self._observed()
        self._mistakes = Mistakes(plan.mistakes, self.model, self._blend()) if plan.mistakes else None
        self._asks = self._ranking != [LIVE] or trace is not None or self._mistakes is not None
        self._stops = self._asks or explicit
        self._counts = Counts()
        self._batch_seq = 0
        self.done = 0

    def advance(self, pause_at: int | None = None) -> bool:
        """Score the next events and learn them, as many as can be at once; False at the end.

        It learns no further than up to event number `pause_at`, if that is still to come.
        """
        if self.done == len(self._stream):
            return False
        if self._asks and self._chosen[self.done]:
            self._score(self._stream.take(slice(self.done, self.done + 1)))
        stop = min(self.done + LEARNT_AT_ONCE, len(self._stream))
        following = int(np.searchsorted(self._chosen_at, self.done, side="right"))
        if self._stops and following < len(self._chosen_at):
            stop = min(stop, int(self._chosen_at[following]))
        if pause_at is not None and pause_at > self.done:
            stop = min(stop, pause_at)
        self._learn(self._stream.take(slice(self.done, stop)))
        self.done = stop
        return True

    def hit_rate(self, k: int) -> float:
        """The first model's, over everything scored so far."""
        ranks = self._scored(self._ranking[0])[0]
        return float((ranks <= k).mean()) if len(ranks) else 0.0

    @property
    def latest_errors(self) -> Mapping[str, F64]:
        """Of each model the errors of the ratings that `advance` has just learnt, float64 [n]."""
        return self._ratings.latest if self._ratings else {}

    def result(self) -> Result:
        """What was measured so far."""
        errors = self._ratings.errors if self._ratings else {}
        scored = {name: self._scored(name) for name in self._ranking}
        ranks, losses = ({name: columns[row] for name, columns in scored.items()} for row in range(2))
        warm = self._judged[self._main].warm if LIVE in scored else self._panel.warm
        scores = Scores(self._chosen_at[: self._scored_count], warm[: self._scored_count], ranks, losses)
        mistakes: Sequence[Mistake] = ()
        if self._mistakes:
            mistakes = self._mistakes.largest(scores.events, ranks[LIVE], losses[LIVE])
        return Result(self.done, scores, errors, self._counts, mistakes)

    @property
    def _scored_count(self) -> int:
        """How many of the chosen events are done."""
        return int(np.searchsorted(self._chosen_at, self.done))

    def _scored(self, name: str) -> tuple[F32, F32]:
        """Ranks and log losses of a model so far."""
        if name != LIVE:
            return self._panel.ranks(name), self._panel.losses(name)
        judged, count = self._judged[self._main], self._scored_count
        return judged.ranks[:count], judged.losses[:count]

    def _names(self) -> Sequence[str]:
        """The models asked for."""
        known = [*model_names(), *rating_names(self._settings.learning)]
        names = known if self._plan.models is None else list(dict.fromkeys(self._plan.models))
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ConfigError(
                f"unknown models: {', '.join(unknown) or 'none named'}; with learning.feedback = "
                f'"{self._settings.learning.feedback}" there are {", ".join(known)}'
            )
        if set(names) <= set(OF_RATINGS):
            raise ConfigError(f"{', '.join(names)} rank nothing: name {LIVE} or another that does as well")
        return names

    def _add_steps(self, names: Sequence[str]) -> None:
        """Make what has to learn for these models; the first keeps histories and candidates for all."""
        alone = [algorithm for algorithm in ALGORITHMS if algorithm in names]
        if not alone or {LIVE, "item_mean"} & set(names):
            self._add_step(self._algorithm, self._settings)
        for algorithm in alone:
            learning = self._settings.learning.model_copy(update={"algorithm": algorithm})
            self._add_step(algorithm, self._settings.model_copy(update={"learning": learning}))
        if "biased_mf" in names:
            update = {"algorithm": "sgd", "rank": BIASED_MF_RANK}
            learning = self._settings.learning.model_copy(update=update)
            update_all = {"learning": learning, "sgd": BIASED_MF}
            self._add_step("biased_mf", self._settings.model_copy(update=update_all))

    def _add_step(self, name: str, settings: LearnerSettings) -> None:
        """Make what learns, unless it is there already."""
        if name in self._steps:
            return
        learning, state = settings.learning, settings.state
        rows_max, ids_kept = self._users_max + self._items_max, settings.decode.event_ids_kept
        model = Model(learning.rank, rows_max, self._items_max, state.history_max, ids_kept)
        # The first is that of `live`, if it was asked for.
        judges = LIVE in self._ranking and not self._steps
        judged = self._judged[name] = Judged(positions_of(self._chosen_at if judges else self._chosen_at[:0]))
        self._steps[name] = Step(model, create_learner(settings), judged, settings)

    def _blend(self) -> Blend:
        """The blend as a model to be asked."""
        if not self.blends:
            raise ConfigError(
                f"mistakes can be explained of {LIVE} alone, where it ranks by the blend: name it among the "
                'models, with ranking.model = "blend" and learning.feedback = "implicit"'
            )
        return Blend(self.model, self._steps[self._main].walk.scalars, self._settings.ranking.repeats)

    def _observed(self) -> tuple[Expert, Calibration]:
        """What a trace observes: the first model."""
        first = self._ranking[0]
        if first != LIVE:
            return self._panel.expert(first)
        live = self._blend() if self.blends else Factors(self.model)
        return live, Calibration(self._judged[self._main].calibrations[0])

    def _create_ratings(self, names: Sequence[str]) -> Ratings:
        judged = dict(self._judged)
        if LIVE in names:
            judged[LIVE] = judged[self._algorithm]
        simple: dict[str, Predictor] = {
            "running_mean": RunningMean(),
            "baseline": Baseline(self._users_max, self._items_max),
        }
        return Ratings(
            {name: judged[name] for name in names if name in judged},
            {name: simple[name] for name in names if name in simple},
        )

    def _makers(self) -> dict[str, Callable[[], Expert]]:
        """How to make each model but `live`."""
        return {
            "als": lambda: Factors(self._steps["als"].model),
            "sgd": lambda: Factors(self._steps["sgd"].model),
            "item_mean": lambda: ItemMean(self.model),
            "item_to_item_cosine": lambda: ItemToItem(self.model, cosine_scores),
            "item_to_item_directed": lambda: ItemToItem(self.model, directed_scores),
            **popularities(self._items_max),
        }

    def _score(self, event: Interactions) -> None:
        """Ask every model but `live` about one event that nothing has learnt."""
        model = self.model
        users, items = _slots(model, event)
        user, item = int(users[0]), int(items[0])
        if user >= 0 and model.users.interactions[user] == 0:
            user = -1
        history = model.users.history(user)[0].astype(np.int64) if user >= 0 else np.zeros(0, np.int64)
        candidate = np.empty(model.item_count, np.bool_)
        excluded = history[:0] if self._settings.ranking.repeats else history
        candidates(model.items.interactions, excluded, candidate)
        if item < 0 or not candidate[item]:
            self._panel.miss()
        else:
            query = Query(model.item_count, user, history, int(event.time_ms[0]))
            self._observe(query, item, candidate)
            self._panel.ask(query, item, candidate, warm=user >= 0)

    def _observe(self, query: Query, item: int, candidate: Mask) -> None:
        """Let those look on who want to."""
        if self._trace:
            expert, calibration = self._watched
            self._trace.observe(self.done, expert.answer(query), calibration, item, candidate)
        if self._mistakes:
            self._mistakes.observe(self.done, query, item, candidate)

    def _learn(self, batch: Interactions) -> None:
        """One step of every algorithm; then the experts that count."""
        self._batch_seq += 1
        records = self._records(batch)
        ends = self._ends(len(batch))
        for name, step in self._steps.items():
            users = step.model.users.find(*batch.user_spans)
            _, _, counts = step.learn(records, batch, users, self._batch_seq, ends)
            if name == self._main:
                self._counts += counts
        if self._ratings:
            self._ratings.learn()
        positive = np.flatnonzero(self._positive[self.done : self.done + len(batch)])
        if self._asks and len(positive):
            users, items = _slots(self.model, batch)
            learnt = positive[(users[positive] >= 0) & (items[positive] >= 0)]
            self._panel.learn(users[learnt], items[learnt])
            if self._trace:
                self._trace.learn(items[learnt])

    def _ends(self, count: int) -> I64:
        """Where micro-batches end among the next `count` events, as numbers of them."""
        every, stop = self._plan.batch_events, self.done + count
        ends = np.arange(self.done // every * every + every, stop + 1, every)
        last = [stop] if stop == len(self._stream) else []
        return np.unique(np.append(ends, last)).astype(np.int64) - self.done

    def _records(self, batch: Interactions) -> Records:
        """The records that a log of one partition would hold, without their bytes."""
        count = len(batch)
        nothing = [None] * count
        return Records(
            self._settings.topics.interactions,
            nothing,
            nothing,
            nothing,
            np.zeros(count, np.int32),
            np.arange(self.done, self.done + count),
            batch.time_ms,
        )


def model_names() -> list[str]:
    """Every model that ranks, in the order of reports."""
    return [
        LIVE,
        *ALGORITHMS,
        "item_mean",
        "item_to_item_cosine",
        "item_to_item_directed",
        *popularities(0),
    ]


def rating_names(learning: LearningConfig) -> list[str]:
    """Every model that predicts ratings without ranking; none for implicit feedback."""
    return list(OF_RATINGS) if learning.feedback == "explicit" else []


def positives(stream: Interactions, settings: LearnerSettings) -> Mask:
    """Which events are likes that count, bool [n]."""
    strength, meaningful = strengths(stream, settings.learning)
    duplicate = EventIds(settings.decode.event_ids_kept).admit(0, stream.event_id)
    positive: Mask = meaningful & (strength > 0) & ~stream.remove & ~duplicate
    return positive


def sample(count: int, sample_every: int, seed: int) -> Mask:
    """Which of `count` events are in the sample: a hash of the position decides, bool [count]."""
    chosen: Mask = sampled(positions_of(np.arange(count)), sample_every, seed)
    return chosen


def positions_of(events: I64) -> U64:
    """What a step takes for the positions of the stream's events with these numbers, uint64 [n]."""
    none = np.zeros(len(events), np.int32)
    positions: U64 = position_hashes(none, events, none)
    return positions


def _slots(model: Model, events: Interactions) -> tuple[I64, I64]:
    """Slots of users and ordinals of items, -1 where there is none."""
    return model.users.find(*events.user_spans), model.items.find(*events.item_spans)

"""A recorded stream again, test-then-learn: every model is asked about an event before any learns from it.

    for each micro-batch (by default one event):
        1  rank the items for every event chosen from it: all models, same candidates, same history
        2  learn it: the same `stream.step` that the service runs, once for each algorithm

An event is *scored* if it is a positive, no duplicate, and in the sample. Its history is what its user's row
remembers (`state.history_max` interactions); its candidates are all items learnt from so far minus that
history, or with `repeats` all of them. It is *warm* if its user has been learnt from and its item is a
candidate, else *cold*. An item that is no candidate is a miss for every model; for a user never seen each
model gives the answer that it has for strangers.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from state.errors import ConfigError
from state.event_ids import EventIds
from state.model import Model
from state.neighbours import cosine_scores, directed_scores
from stream.config import LearnerSettings, LearningConfig, SgdConfig
from stream.events import I64, Interactions, Records
from stream.experts import Expert, Factors, ItemMean, ItemToItem, Query, popularities
from stream.learner import create_learner
from stream.meaning import strengths
from stream.panel import Panel, Scores
from stream.prequential import position_hashes, sampled
from stream.rating import Errors, Ratings, Recorder
from stream.step import Step

Mask = npt.NDArray[np.bool_]

LIVE = "live"
ALGORITHMS = {"implicit": ("als", "sgd"), "explicit": ("sgd",)}
"""Algorithms that can learn a kind of feedback."""

BIASED_MF_RANK = 10
BIASED_MF = SgdConfig(step=0.05, step_bias=0.025, adagrad=False, gradient_max=1e12)
"""Settings of `reco.BiasedMF` in river's documentation."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to score.

    One in `sample_every` eligible events, all those of a micro-batch of `batch_events` before any of it is
    learnt; with `repeats` items of the history stay candidates. `models`: names, all there are by default.
    """

    repeats: bool = False
    sample_every: int = 1
    batch_events: int = 1
    models: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The outcome. `counts` are the live model's steps', by name; `ratings` are of explicit feedback only."""

    events: int
    scores: Scores
    ratings: Mapping[str, Errors]
    counts: Mapping[str, int]


class Replay:
    """All models on one stream, as far as it has been replayed."""

    def __init__(self, stream: Interactions, settings: LearnerSettings, plan: Plan) -> None:
        """`stream` is in time order. Raises ConfigError for models there are none of.

        `model` is the live model, `done` the number of events replayed.
        """
        self._stream, self._settings, self._plan = stream, settings, plan
        # Rows for everyone: in a replay nothing is ever evicted, so all algorithms agree on the slots.
        self._users_max = max(len(np.unique(stream.user_hash)), 1)
        self._items_max = max(len(np.unique(stream.item_hash)), 1)
        self._algorithm = settings.learning.algorithm
        self._steps: dict[str, Step] = {}
        names = self._names()
        recorder = self._add_steps(names)
        self.model = self._steps[self._algorithm].model
        self._ratings = self._create_ratings(recorder) if settings.learning.feedback == "explicit" else None
        self._positive = positives(stream, settings)
        self._chosen = self._positive & sample(len(stream), plan.sample_every, settings.learning.seed)
        makers = self._makers()
        self._panel = Panel({name: makers[name]() for name in names}, np.flatnonzero(self._chosen))
        self._counts: Counter[str] = Counter()
        self._batch_seq = 0
        self.done = 0

    def advance(self) -> bool:
        """Replay one micro-batch; False at the end."""
        stop = min(self.done + self._plan.batch_events, len(self._stream))
        if self.done == stop:
            return False
        batch = self._stream.take(slice(self.done, stop))
        for event in np.flatnonzero(self._chosen[self.done : stop]).tolist():
            self._score(batch.take(slice(event, event + 1)))
        self._learn(batch)
        self.done = stop
        return True

    def hit_rate(self, k: int) -> float:
        """The first model's, over everything scored so far."""
        return self._panel.hit_rate(k)

    def result(self) -> Result:
        """What was measured so far."""
        errors = self._ratings.errors if self._ratings else {}
        return Result(self.done, self._panel.scores(), errors, dict(self._counts))

    def _names(self) -> Sequence[str]:
        """The models asked for."""
        known = model_names(self._settings.learning)
        names = known if self._plan.models is None else list(dict.fromkeys(self._plan.models))
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ConfigError(
                f"unknown models: {', '.join(unknown) or 'none named'}; with learning.feedback = "
                f'"{self._settings.learning.feedback}" there are {", ".join(known)}'
            )
        return names

    def _add_steps(self, names: Sequence[str]) -> Recorder:
        """The configured model, and each algorithm that was asked for; what the first records."""
        recorder = Recorder(self._settings)
        self._steps[self._algorithm] = self._step(self._settings, recorder)
        for algorithm in ALGORITHMS[self._settings.learning.feedback]:
            if algorithm in names and algorithm not in self._steps:
                learning = self._settings.learning.model_copy(update={"algorithm": algorithm})
                settings = self._settings.model_copy(update={"learning": learning})
                self._steps[algorithm] = self._step(settings, Recorder(settings))
        return recorder

    def _step(self, settings: LearnerSettings, recorder: Recorder) -> Step:
        learning, state = settings.learning, settings.state
        rows_max, ids_kept = self._users_max + self._items_max, settings.decode.event_ids_kept
        model = Model(learning.rank, rows_max, self._items_max, state.history_max, ids_kept)
        return Step(model, create_learner(settings), recorder, learning, settings.prequential)

    def _create_ratings(self, live: Recorder) -> Ratings:
        learning = self._settings.learning.model_copy(update={"rank": BIASED_MF_RANK})
        settings = self._settings.model_copy(update={"learning": learning, "sgd": BIASED_MF})
        recorder = Recorder(settings)
        return Ratings(live, self._step(settings, recorder), recorder, self._users_max, self._items_max)

    def _makers(self) -> dict[str, Callable[[], Expert]]:
        """How to make each model; `live` is the same one as the algorithm that it runs."""
        half_life_events = self._settings.prequential.half_life_events
        factors = {name: Factors(step.model, half_life_events) for name, step in self._steps.items()}
        return {
            LIVE: lambda: factors[self._algorithm],
            "als": lambda: factors["als"],
            "sgd": lambda: factors["sgd"],
            "item_mean": lambda: ItemMean(self.model, half_life_events),
            "item_to_item_cosine": lambda: ItemToItem(self.model, half_life_events, cosine_scores),
            "item_to_item_directed": lambda: ItemToItem(self.model, half_life_events, directed_scores),
            **popularities(self._items_max),
        }

    def _score(self, event: Interactions) -> None:
        """Ask every model about one event that nothing has learnt."""
        model = self.model
        users, items = _slots(model, event)
        user, item = int(users[0]), int(items[0])
        if user >= 0 and model.users.interactions[user] == 0:
            user = -1
        history = model.users.history(user)[0].astype(np.int64) if user >= 0 else np.zeros(0, np.int64)
        candidate = model.items.interactions[: model.item_count] > 0
        if not self._plan.repeats:
            candidate[history] = False
        if item < 0 or not candidate[item]:
            self._panel.miss()
        else:
            self._panel.ask(Query(model.item_count, user, history), item, candidate, warm=user >= 0)

    def _learn(self, batch: Interactions) -> None:
        """One step of every algorithm; then the experts that count."""
        self._batch_seq += 1
        records = self._records(batch)
        for algorithm, step in self._steps.items():
            _, _, counts = step.learn(records, batch, self._batch_seq)
            if algorithm == self._algorithm:
                self._counts.update(counts)
        if self._ratings:
            self._ratings.learn(records, batch, self._batch_seq)
        positive = np.flatnonzero(self._positive[self.done : self.done + len(batch)])
        if len(positive):
            users, items = _slots(self.model, batch)
            learnt = positive[(users[positive] >= 0) & (items[positive] >= 0)]
            self._panel.learn(users[learnt], items[learnt])

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


def model_names(learning: LearningConfig) -> list[str]:
    """Every model that can be shown for a kind of feedback, in the order of reports."""
    return [
        LIVE,
        *ALGORITHMS[learning.feedback],
        "item_mean",
        "item_to_item_cosine",
        "item_to_item_directed",
        *popularities(0),
    ]


def positives(stream: Interactions, settings: LearnerSettings) -> Mask:
    """Which events are likes that count, bool [n]."""
    strength, _ = strengths(stream, settings.learning)
    duplicate = EventIds(settings.decode.event_ids_kept).admit(0, stream.event_id)
    positive: Mask = (strength > 0) & ~stream.remove & ~duplicate
    return positive


def sample(count: int, sample_every: int, seed: int) -> Mask:
    """Which of `count` events are in the sample: a hash of the position decides, bool [count]."""
    none = np.zeros(count, np.int32)
    chosen: Mask = sampled(position_hashes(none, np.arange(count), none), sample_every, seed)
    return chosen


def _slots(model: Model, events: Interactions) -> tuple[I64, I64]:
    """Slots of users and ordinals of items, -1 where there is none."""
    return (
        model.users.find(events.buffer, events.user_start, events.user_length, events.user_hash),
        model.items.find(events.buffer, events.item_start, events.item_length, events.item_hash),
    )

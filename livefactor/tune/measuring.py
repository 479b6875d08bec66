"""Candidate settings measured by replay, here or in other processes."""

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Event

import numpy as np

from livefactor.settings import Settings
from livefactor.tune.search import Candidate
from state.arrays import F64, I64, Mask
from state.errors import ConfigError, LivefactorError
from stream.evaluation.ranking import event_metrics, mean
from stream.events import Interactions
from stream.replay import LIVE, Plan, Replay

_NONE = np.zeros(0)

RATING_METRICS = ("rmse", "mae")
HIGHER_IS_BETTER = ("hr", "ndcg", "mrr")

REFUSED_SHARE_MAX = 0.01
"""A configuration diverges if more updates than this share of the events are refused."""

NEVER = 2**62
"""As `sample_every`: no event is ranked."""

TICK_S = 0.2
"""How often a replay tells how far it is, and asks whether to stop."""


class TuneError(LivefactorError):
    """No candidate could be measured to the end."""


@dataclass(frozen=True, slots=True)
class Work:
    """A stream and how settings are compared on it: by `metric` at cut-off `k`, scored as `plan` says."""

    stream: Interactions
    settings: Settings
    plan: Plan
    metric: str
    k: int


@dataclass(frozen=True, slots=True)
class Task:
    """Replay the first `events` with a candidate's settings and measure from event `first` on.

    Without `ranked` only ratings are measured.
    """

    candidate: Candidate
    events: int
    first: int = 0
    ranked: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What a replay measured.

    Of scored events, in parallel: their numbers `events` int64 [n], `warm` bool [n], and `ranking` float64
    [n] by metric. Of rated events: `absolute` and `squared` errors float64 [m]. `failure` says why they do
    not count.
    """

    events: I64
    warm: Mask
    ranking: Mapping[str, F64]
    absolute: F64
    squared: F64
    failure: str | None
    seconds: float

    def loss(self, metric: str) -> float:
        """What a search minimises: of warm events or of ratings; infinite if the figures do not count."""
        if metric == "rmse":
            value = mean(self.squared)
        else:
            value = mean(self.absolute if metric == "mae" else self.ranking[metric][self.warm])
        if self.failure or value is None or not math.isfinite(value):
            return math.inf
        return -value if metric in HIGHER_IS_BETTER else value**0.5 if metric == "rmse" else value


Stop = Callable[[], bool]
Tell = Callable[[int], None]


def measure(work: Work, task: Task, stop: Stop, tell: Tell) -> Figures | None:
    """Carry out a task, or None when told to stop; `tell` hears now and then of the events done."""
    started_s = told_s = time.monotonic()
    settings = with_values(work.settings, task.candidate)
    plan = work.plan if task.ranked else replace(work.plan, sample_every=NEVER)
    replay = Replay(work.stream.take(slice(0, task.events)), settings, plan)
    errors, failure = [_NONE], None
    try:
        while replay.advance(pause_at=task.first):
            if replay.done > task.first:
                errors.append(replay.latest_errors.get(LIVE, _NONE))
            if time.monotonic() - told_s >= TICK_S:
                told_s = time.monotonic()
                tell(replay.done)
                if stop():
                    return None
    except ConfigError:
        raise
    except LivefactorError as error:
        failure = str(error)
    failure, seconds = failure or _divergence(replay), time.monotonic() - started_s
    return _figures(work, task, replay, np.concatenate(errors), failure, seconds)


def _figures(
    work: Work, task: Task, replay: Replay, errors: F64, failure: str | None, seconds: float
) -> Figures:
    scores = replay.result().scores
    later = scores.events >= task.first
    ranking = event_metrics(scores.ranks[LIVE][later], scores.losses[LIVE][later], work.k)
    events, warm = scores.events[later], scores.warm[later]
    return Figures(events, warm, ranking, np.abs(errors), np.square(errors), failure, seconds)


def _divergence(replay: Replay) -> str | None:
    """Why a replay does not count, in words, if it does not."""
    counts = replay.result().counts.refused
    if sum(counts.values()) <= REFUSED_SHARE_MAX * replay.done:
        return None
    refused = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    return f"diverged: updates refused in {replay.done:,} events: {refused}"


def with_values(settings: Settings, candidate: Candidate) -> Settings:
    """Settings with a candidate's values."""
    tables = {section: dict(values) for section, values in settings}  # a dump would swallow an interrupt
    for name, value in candidate:
        section, _, key = name.partition(".")
        tables[section][key] = value
    return Settings.model_validate(tables)


class Workers:
    """Those who carry out tasks: this process for one job, so many others for more."""

    def __init__(self, work: Work, jobs: int) -> None:
        self._work = work
        self._pool: ProcessPoolExecutor | None = None
        if jobs > 1:
            context = multiprocessing.get_context("spawn")
            self._stopped = context.Event()
            self._pool = ProcessPoolExecutor(jobs, context, _begin, (work, self._stopped))

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        if self._pool:
            self._stopped.set()
            self._pool.shutdown(cancel_futures=True)

    def run(self, tasks: Sequence[Task], stop: Stop, tell: Tell) -> Iterator[tuple[Task, Figures]]:
        """Tasks as they are done; ends early when `stop` says so."""
        return self._run_elsewhere(tasks, stop) if self._pool else self._run_here(tasks, stop, tell)

    def _run_here(self, tasks: Sequence[Task], stop: Stop, tell: Tell) -> Iterator[tuple[Task, Figures]]:
        for task in tasks:
            figures = None if stop() else measure(self._work, task, stop, tell)
            if figures is None:
                return
            yield task, figures

    def _run_elsewhere(self, tasks: Sequence[Task], stop: Stop) -> Iterator[tuple[Task, Figures]]:
        assert self._pool
        task_of: dict[Future[Figures | None], Task] = {}
        try:
            self._stopped.clear()
            with _deaf_to_interrupts():
                task_of = {self._pool.submit(_carry_out, task): task for task in tasks}
            pending = set(task_of)
            while pending:
                done, pending = wait(pending, TICK_S, FIRST_COMPLETED)
                for future in done:
                    if figures := future.result():
                        yield task_of[future], figures
                if stop():
                    self._stopped.set()
        except BrokenProcessPool as error:
            raise TuneError(
                "a worker process died, perhaps for lack of memory: go on with fewer --jobs; "
                "what was measured is kept"
            ) from error


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that start here never hear Ctrl-C; their parent hears afterwards what came meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work: Work
_stopped: Event


def _begin(work: Work, stopped: Event) -> None:
    """A worker process begins."""
    global _work, _stopped
    _work, _stopped = work, stopped


def _carry_out(task: Task) -> Figures | None:
    return None if _stopped.is_set() else measure(_work, task, _stopped.is_set, lambda done: None)

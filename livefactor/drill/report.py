"""What the page of a drill shows besides its figures; `livefactor.page` draws it."""

import numpy as np

from livefactor.drill.run import Course, Plan
from livefactor.page.document import shown
from livefactor.replay.series import moving_means, rounded
from state.arrays import F64, I64
from stream.drift.announcement import action_of, severity_of
from stream.drift.loss import LOG_LOSS
from stream.drift.windows import WINDOW_EVENTS
from stream.walk.values import COMPARED, LIVE

POINTS = 240

CLOSE_WINDOWS = 10
"""Windows before the fault, and after its begin, that are shown from close by."""

TWIN = "live, undisturbed"


def plots(name: str, plan: Plan, disturbed: Course, twin: Course) -> dict[str, object]:
    """Of a drill on the file `name`: every mean is over a window of events of the stream that were judged."""
    events = len(disturbed.losses)
    part = plan.part(events)
    close = CLOSE_WINDOWS * WINDOW_EVENTS
    around = _stops(max(part.start - close, 0), min(part.start + close, events))
    more = np.nan_to_num(disturbed.losses[:, LIVE] - twin.losses[:, LIVE])
    everything = _stops(0, events)
    return {
        "file": shown(name),
        "fault": {"begins": part.start, "ends": part.stop, "none": plan.fault == "none"},
        "window": WINDOW_EVENTS,
        "loss": {"name": disturbed.loss.name, "unit": disturbed.loss.unit},
        "whole": _means(disturbed, twin, everything),
        "close": _means(disturbed, twin, around),
        "area": {
            "events": everything.tolist(),
            "sums": rounded(np.cumsum(np.where(np.arange(events) < part.start, 0.0, more))[everything - 1]),
        },
        "alarms": [
            {
                "at": alarm.at,
                "severity": severity_of(alarm.event),
                "action": action_of(alarm.event),
                "reason": alarm.event.reason,
                "segment": alarm.event.segment,
                "message": alarm.event.message,
            }
            for alarm in disturbed.alarms
        ],
    }


def _stops(first: int, last: int) -> I64:
    """Where windows end: int64, the last at `last`, the first a window after `first` if there is room."""
    return np.unique(np.linspace(min(first + WINDOW_EVENTS, last), last, POINTS).round().astype(np.int64))


def _means(disturbed: Course, twin: Course, stops: I64) -> dict[str, object]:
    """Losses, and reciprocal ranks if there are any, of all models over windows that end there, by model."""

    def of(values: F64, undisturbed: F64) -> dict[str, object]:
        columns = dict(zip(COMPARED, values.T, strict=True)) | {TWIN: undisturbed[:, LIVE]}
        window = min(WINDOW_EVENTS, int(stops[0]))
        return {name: moving_means(column, window, stops) for name, column in columns.items()}

    means = {"events": stops.tolist(), "loss": of(disturbed.losses, twin.losses)}
    if disturbed.loss is LOG_LOSS:
        means["reciprocal_rank"] = of(disturbed.reciprocal_ranks, twin.reciprocal_ranks)
    return means

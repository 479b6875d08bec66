"""What a watcher of drift events is told: each event once and in order, or that some are missing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.events_pb2 import (
    DRIFT_ACTION_RETRAIN,
    DRIFT_ACTION_WARN,
    SEVERITY_ERROR,
    SEVERITY_INFO,
    SEVERITY_UNSPECIFIED,
    SEVERITY_WARNING,
    DriftEvent,
    DriftEvents,
)
from serving.cursor import EVENTS_MISSED, Cursor, selected

KEPT = 3


def kept(raised):
    """What a store keeps when so many have been raised: the latest few."""
    events = [DriftEvent(id=str(n)) for n in range(max(0, raised - KEPT), raised)]
    return DriftEvents(events=events, raised=raised)


def ids(events):
    return [event.id for event in events]


@pytest.mark.parametrize(
    ("after", "expected"), [(None, []), ("", ["0", "1"]), ("0", ["1"]), ("1", []), ("gone", ["", "0", "1"])]
)
def test_where_a_watcher_begins(after, expected):
    cursor = Cursor(kept(2), after)
    assert ids(cursor.advance(kept(2))) == expected
    assert ids(cursor.advance(kept(3))) == ["2"]
    assert ids(cursor.advance(kept(3))) == []


def test_an_id_that_is_not_kept_is_named():
    first, *_ = Cursor(kept(9), "2").advance(kept(9))
    assert (first.id, first.reason, first.severity) == ("", EVENTS_MISSED, SEVERITY_WARNING)
    assert "the event 2 is not among the latest 3" in first.message


@given(st.integers(0, 8), st.lists(st.integers(0, 8), min_size=1, max_size=10))
def test_each_event_comes_once_and_in_order_or_is_counted_as_missing(start, steps):
    cursor = Cursor(kept(start), None)
    raised, following = start, start
    for step in steps:
        raised += step
        told = cursor.advance(kept(raised))
        if told and not told[0].id:
            missing = re.match(r"(\d+) events were raised", told.pop(0).message)
            following += int(missing[1])
        assert ids(told) == [str(n) for n in range(following, raised)]
        following = raised


def test_a_history_that_went_back_tells_what_is_new_in_it():
    cursor = Cursor(kept(5), None)
    other = DriftEvents(events=[DriftEvent(id="1"), DriftEvent(id="other")], raised=3)
    assert ids(cursor.advance(other)) == ["1", "other"]
    assert ids(cursor.advance(other)) == []


def test_a_store_without_a_count_of_what_was_raised_begins_with_what_it_keeps():
    older = DriftEvents(events=kept(2).events)
    assert ids(Cursor(older, "0").advance(older)) == ["1"]


@pytest.mark.parametrize(
    ("actions", "severity", "expected"),
    [
        ([], SEVERITY_UNSPECIFIED, True),
        ([], SEVERITY_WARNING, True),
        ([], SEVERITY_ERROR, False),
        ([DRIFT_ACTION_WARN], SEVERITY_INFO, True),
        ([DRIFT_ACTION_RETRAIN], SEVERITY_INFO, False),
        ([DRIFT_ACTION_RETRAIN, DRIFT_ACTION_WARN], SEVERITY_WARNING, True),
    ],
)
def test_actions_and_severity_select(actions, severity, expected):
    event = DriftEvent(action=DRIFT_ACTION_WARN, severity=SEVERITY_WARNING)
    assert selected(event, actions, severity) is expected

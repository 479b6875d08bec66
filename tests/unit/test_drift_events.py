"""Faults planted in a stream become drift events, through the real loop: one for each row of the table."""

from collections import Counter

import numpy as np
import orjson
import pytest
from memory_learner import Learner
from pipeline import DLQ, DRIFT, INTERACTIONS, in_directory
from streams import likes_by_taste
from webhook_server import Answer, WebhookServer

from livefactor.drill.faults import plant
from protos.events_pb2 import (
    DRIFT_ACTION_RETRAIN,
    DRIFT_ACTION_ROLLBACK,
    DRIFT_ACTION_WARN,
    SEVERITY_ERROR,
    SEVERITY_INFO,
    DriftEvent,
    DriftEvents,
)
from state.rocksdb.writer import RocksWriter
from state.store import DRIFT_EVENTS_MEMO
from stream.drift.telling import EVENTS_KEPT
from stream.lineage.identity import identity
from stream.outgoing import Outgoing
from stream.webhooks import WebhookSink

BEFORE, AFTER = 4_800, 600
ROWS = likes_by_taste(BEFORE + AFTER, users=300, items=120, tastes=6)


def stream(fault):
    return plant(ROWS, fault, slice(BEFORE, BEFORE + AFTER), 3)


@pytest.fixture
def learner():
    return Learner(ranking={"repeats": True}, learning={"batch_records_max": 100})


def feed(learner, rows, first=0):
    for n, row in enumerate(rows, first):
        timed = row | {"event_time_ms": 1_600_000_000_000 + 60_000 * n}
        learner.log.append(INTERACTIONS, 0, orjson.dumps(timed), b"k")


def told(learner):
    return [DriftEvent.FromString(record.value) for record in learner.log.read(DRIFT)]


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [("shuffle-labels", {"taste_lost"}), ("permute-items", {"taste_lost", "everything_collapsed"})],
)
def test_a_fault_is_told_with_what_to_do(learner, fault, reasons):
    feed(learner, stream(fault))
    learner.until_end()
    found, *_ = told(learner)
    assert found.reason in reasons
    assert (found.action, found.severity) == (DRIFT_ACTION_RETRAIN, SEVERITY_ERROR)
    assert found.model == "default"
    [where] = found.positions
    assert (where.topic, where.partition) == (INTERACTIONS, 0)
    assert abs(where.offset - BEFORE) < 60
    record = learner.log.read(DRIFT)[0]
    headers = dict(record.headers)
    assert headers["ce-id"] == found.id.encode()
    assert headers["ce-type"] == b"livefactor.v1.DriftEvent"
    assert record.key == b"default"
    assert {sample.item_id for sample in found.samples} <= {row["item_id"] for row in ROWS}


def test_sampled_events_have_the_losses_that_were_compared(learner):
    feed(learner, stream("none")[:400])
    model = learner.until_end().engine.model
    compared = {record["offset"]: record["losses"] for record in model.evidence.latest()}
    inputs = model.inputs.latest()
    expected = [compared.get(offset, [np.nan] * 3) for offset in inputs["offset"]]
    assert 50 < len(compared) < len(inputs)
    assert np.array_equal(inputs["losses"], expected, equal_nan=True)


def test_a_pumped_item_is_named(learner):
    rows = stream("pump-item")
    pumped, _ = Counter(row["item_id"] for row in rows[BEFORE:]).most_common(1)[0]
    feed(learner, rows)
    learner.until_end()
    [found] = [event for event in told(learner) if event.reason == "item_pumped"]
    assert (found.action, found.severity) == (DRIFT_ACTION_ROLLBACK, SEVERITY_ERROR)
    assert found.segment == f"item {pumped}"
    assert repr(pumped) in found.message
    [where] = found.positions
    assert (where.topic, where.partition) == (INTERACTIONS, 0)
    assert rows[where.offset]["item_id"] == pumped
    assert abs(where.offset - BEFORE) < 300


def test_a_program_among_the_users_is_named(learner):
    random = np.random.default_rng(3)
    items = sorted({row["item_id"] for row in ROWS})
    rows = [
        row | {"user_id": "bot", "item_id": str(random.choice(items))}
        if n >= BEFORE and random.random() < 0.2
        else row
        for n, row in enumerate(ROWS)
    ]
    feed(learner, rows)
    learner.until_end()
    [found] = [event for event in told(learner) if event.severity == SEVERITY_ERROR]
    assert (found.reason, found.action, found.segment) == ("user_floods", DRIFT_ACTION_ROLLBACK, "user bot")
    [where] = found.positions
    assert rows[where.offset]["user_id"] == "bot"
    assert abs(where.offset - BEFORE) < 300


@pytest.mark.parametrize("feedback", ["implicit", "explicit"])
def test_values_in_another_unit_are_told(feedback):
    learner = Learner(learning={"batch_records_max": 100, "feedback": feedback})
    feed(learner, [{"value": 1.0} | row for row in stream("rescale-values")])
    learner.until_end()
    [found] = told(learner)
    assert (found.reason, found.segment) == ("inputs_moved", "values")
    assert (found.action, found.severity) == (DRIFT_ACTION_WARN, SEVERITY_INFO)
    assert "median 1 -> 20" in found.message
    [where] = found.positions
    assert abs(where.offset - BEFORE) < 60


def test_nothing_is_told_where_nothing_happens(learner):
    feed(learner, stream("none"))
    learner.until_end()
    assert told(learner) == []


def test_nothing_is_told_where_nothing_is_compared():
    learner = Learner(drift={"enabled": False}, ranking={"repeats": True})
    feed(learner, stream("shuffle-labels"))
    learner.until_end()
    assert told(learner) == []
    assert DRIFT_EVENTS_MEMO not in learner.store.head().memo


def test_the_store_has_what_was_told_and_a_restart_tells_it_no_second_time(tmp_path):
    learner = Learner(ranking={"repeats": True}, learning={"batch_records_max": 100})
    learner.settings = in_directory(learner.settings, tmp_path)
    rows = stream("shuffle-labels")
    for part in np.array_split(np.arange(len(rows)), 4):
        feed(learner, [rows[n] for n in part], int(part[0]))
        learner.store = RocksWriter(learner.settings.state, identity(learner.settings))
        loop = learner.until_end()
        stored = DriftEvents.FromString(learner.store.head().memo.get(DRIFT_EVENTS_MEMO, b""))
        assert list(stored.events) == list(loop.engine.monitor.kept.events) == told(learner)
        assert stored.raised == len(told(learner))
        learner.store.close()
    first, *others = told(learner)
    assert first.reason == "taste_lost"
    # Whether a version was there to compare with is a matter of when it was loaded.
    assert [found.reason for found in others] in ([], ["updates_do_harm"])
    assert len({found.id for found in told(learner)}) == 1 + len(others) < EVENTS_KEPT


def test_webhooks_get_what_the_topic_gets_and_what_one_refuses_is_a_dead_letter(monkeypatch):
    """From the same micro-batch: the outbox is empty only when all have it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WebhookServer() as server, WebhookServer(Answer(404)) as refusing:
        webhooks = {
            "ops": {"url": server.url},
            "gone": {"url": refusing.url},
            "bored": {"url": server.url + "/bored", "min_severity": "error"},
        }
        learner = Learner(
            ranking={"repeats": True},
            learning={"batch_records_max": 100},
            drift={"webhooks": webhooks, "cool_down_ms": 10**12},
        )
        hooks = WebhookSink(learner.settings.drift.webhooks)
        learner.sink = Outgoing(learner.sink, hooks, DLQ, "1.0")
        feed(learner, stream("shuffle-labels"))
        learner.until_end()
        hooks.close()
        posted = [server.came.get_nowait() for _ in range(server.came.qsize())]
    found = told(learner)
    assert {(event.reason, event.severity) for event in found} == {("taste_lost", SEVERITY_ERROR)}
    assert Counter(each.path for each in posted) == {"/": len(found), "/bored": len(found)}
    assert {each.headers["ce-id"] for each in posted} == {event.id for event in found}
    letters = learner.dead()
    assert [DriftEvent.FromString(letter.value) for letter in letters] == found
    headers = dict(letters[0].headers)
    assert headers["code"] == b"webhook_failed"
    assert headers["source-topic"] == b"webhook:gone"
    assert headers["reason"].startswith(b"HTTP 404")
    assert learner.store.outbox_count == 0

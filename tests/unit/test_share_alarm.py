"""A share of what comes in that begins to be wrong, told once, with what it is."""

import numpy as np
import orjson
import pytest
from memory_learner import Learner
from pipeline import DRIFT, INTERACTIONS, Feed
from streams import likes_by_taste

from livefactor.drill.faults import plant
from protos.events_pb2 import DRIFT_ACTION_WARN, SEVERITY_ERROR, DriftEvent
from stream.drift.decision import RECORDS_REJECTED
from stream.drift.share_alarm import WINDOW, ShareAlarm, wrong_of
from stream.effects import Counts
from stream.events import Rejected


def some(count):
    return [Rejected(n, "decode", "the field 'sku' is not known", "json_field_unknown") for n in range(count)]


def batch(records, rejected, feed):
    """What is wrong with a batch of which so many records are rejected, the first of them."""
    return dict(wrong_of(feed(*[b""] * records), some(rejected), Counts(), again=False))[RECORDS_REJECTED]


def add(rejects, records, rejected, feed):
    return rejects.add(batch(records, rejected, feed))


def fed(rejects, batches, records, rejected, feed=None):
    feed = feed or Feed()
    return [verdict for _ in range(batches) if (verdict := add(rejects, records, rejected, feed))]


@pytest.fixture
def settled():
    rejects = ShareAlarm(RECORDS_REJECTED)
    assert fed(rejects, 60, 100, 0) == []
    return rejects


@pytest.mark.parametrize("records", [1, 20, 100, 1_000])
def test_a_jump_is_told_once_and_ends(settled, records):
    feed = Feed(offset=7_000)
    [verdict] = fed(settled, -(-WINDOW // records), records, records, feed)
    assert settled.first == {0: 7_000}
    assert (verdict.reason, verdict.severity) == ("records_rejected", SEVERITY_ERROR)
    assert verdict.p_value < 1e-6
    assert settled.standing
    fed(settled, 1_000 // records + 1, records, 0)
    assert not settled.standing
    assert fed(settled, -(-WINDOW // records), records, records)


def test_what_has_always_been_rejected_is_no_news():
    rejects, random, feed = ShareAlarm(RECORDS_REJECTED), np.random.default_rng(5), Feed()
    verdicts = [add(rejects, 100, random.binomial(100, 0.2), feed) for _ in range(400)]
    assert not any(verdicts)


def test_a_few_are_no_alarm(settled):
    assert fed(settled, 50, 100, 5) == []


def test_everything_rejected_from_the_start_is_told():
    rejects = ShareAlarm(RECORDS_REJECTED)
    assert fed(rejects, 2, 100, 100) == []
    [verdict] = fed(rejects, 3, 100, 100)
    assert verdict.detector == "limit"


def test_the_sentence_names_what_is_wrong(settled):
    fed(settled, 3, 100, 100)
    assert "100% of the latest records" in settled.sentence()
    assert "json_field_unknown (300)" in settled.sentence()
    assert "'sku'" in settled.sentence()


@pytest.mark.parametrize("at", [0, 3, 61, 64])
def test_it_goes_on_after_a_restart_as_if_there_had_been_none(at):
    rejects, random, feed = ShareAlarm(RECORDS_REJECTED), np.random.default_rng(1), Feed()
    shares = [0.0] * 60 + [0.4] * 5 + [0.0] * 5
    for n, share in enumerate(shares):
        wrong = batch(100, int(random.binomial(100, share)), feed)
        if n == at:
            copy = ShareAlarm(RECORDS_REJECTED)
            copy.restore(orjson.loads(orjson.dumps(rejects.pack())))
        if n >= at:
            assert copy.add(wrong) == rejects.add(wrong)
        else:
            rejects.add(wrong)
    assert copy.pack() == rejects.pack()


@pytest.mark.parametrize("feedback", ["implicit", "explicit"])
def test_renamed_fields_are_told_and_nothing_of_them_is_learnt(feedback):
    learner = Learner(learning={"batch_records_max": 100, "feedback": feedback})
    rows = plant(likes_by_taste(3_600, 100, 60, 3), "rename-fields", slice(3_000, 3_600), 1)
    for row in rows:
        learner.log.append(INTERACTIONS, 0, orjson.dumps({**row, "value": 4.0}), b"k")
    loop = learner.until_end()
    assert loop.engine.model.clock == 3_000
    [told] = [DriftEvent.FromString(record.value) for record in learner.log.read(DRIFT)]
    assert (told.reason, told.action, told.severity) == (
        "records_rejected",
        DRIFT_ACTION_WARN,
        SEVERITY_ERROR,
    )
    assert "'customer'" in told.message or "'sku'" in told.message
    [where] = told.positions
    assert (where.topic, where.partition, where.offset) == (INTERACTIONS, 0, 3_000)
    assert len(learner.dead()) == 600

"""The ring of compared losses, and the windows made of it."""

import numpy as np
import pytest

from state.codec import EVIDENCE, INPUTS, single_rows
from state.errors import StoreCorruptError
from state.evidence import EARLIER_INPUTS, INPUT, OUTGROWN, RECORD, Evidence, Inputs
from state.ring import KEPT
from stream.drift.windows import WINDOW_EVENTS, windows_of


def records(count, seed=0, users=40):
    random = np.random.default_rng(seed)
    made = np.zeros(count, RECORD)
    made["user"], made["time_ms"] = random.integers(0, users, count), np.arange(count) + 10
    made["losses"], made["reciprocal_ranks"] = random.gamma(2, 1, (count, 3)), random.random((count, 3))
    return made


@pytest.mark.parametrize("portions", [[5], [KEPT], [KEPT - 1, 3], [3 * KEPT + 7], [100] * 90, [0, 1]])
def test_the_ring_keeps_the_latest_and_its_rows_bring_them_back(portions):
    evidence, journal, copy = Evidence(), Evidence(), Evidence()
    everything = records(sum(portions))
    ends = np.cumsum(portions)
    for end, size in zip(ends, portions, strict=True):
        evidence.add(everything[end - size : end])
        rows = evidence.take_changed()
        assert len(rows) == min(size, KEPT)
        journal.apply(rows)
    kept = everything[-KEPT:].copy()
    kept["number"] = np.arange(len(everything) - len(kept), len(everything)) + 1
    copy.apply(evidence.changed_since(0))
    for ring in (evidence, journal, copy):
        assert ring.added == len(everything)
        assert ring.latest().tobytes() == kept.tobytes()
    assert len(copy.take_changed()) == 0


def test_a_flush_writes_what_the_one_before_has_not():
    evidence, stored = Evidence(), {}
    for size in (100, 1, KEPT + 50, 0, 700):
        evidence.add(records(size))
        assert len(evidence.changed_since(0)) == min(evidence.added, KEPT), "asking for all changes nothing"
        rows = evidence.changed_since(evidence.added)
        assert len(rows) == min(size, KEPT)
        stored |= dict(zip(rows.ordinals.tolist(), rows.data.reshape(-1, RECORD.itemsize), strict=True))
        copy = Evidence()
        copy.apply(single_rows(EVIDENCE, {at: stored[at].tobytes() for at in sorted(stored)}))
        assert copy.latest().tobytes() == evidence.latest().tobytes()
    assert len(copy.changed_since(9)) == KEPT


def test_a_version_is_outgrown_by_many_records_in_a_row():
    evidence, made = Evidence(), records(OUTGROWN)
    made["version"] = 7
    evidence.add(made[1:])
    assert not evidence.has_outgrown(7)
    evidence.add(made[:1])
    assert evidence.has_outgrown(7)
    made["version"] = 8
    evidence.add(made[:1])
    assert not evidence.has_outgrown(7)
    assert not evidence.has_outgrown(8)


def test_rows_of_a_smaller_ring_find_their_places():
    small, many = KEPT // 4, Evidence()
    many.add(records(KEPT - 100))
    kept = many.latest()[-small:]
    order = np.argsort(kept["number"] % small)
    rows = single_rows(EVIDENCE, {int(r["number"] % small): r.tobytes() for r in kept[order]})
    evidence = Evidence()
    evidence.apply(rows)
    assert evidence.latest().tobytes() == kept.tobytes()
    evidence.add(records(200))
    assert len(evidence.latest()) == small + 200


@pytest.mark.parametrize("rows", [{0: b"short"}, {KEPT: bytes(RECORD.itemsize)}])
def test_damaged_records_are_named(rows):
    with pytest.raises(StoreCorruptError, match="compared losses"):
        Evidence().apply(single_rows(EVIDENCE, rows))


def test_records_of_an_earlier_program_are_let_go():
    inputs, later = Inputs(), Inputs()
    made = np.zeros(300, INPUT)
    made["item"] = np.arange(300)
    inputs.add(made)
    rows = {int(each["number"]): each.tobytes() for each in inputs.latest()}
    early = {at: row[: EARLIER_INPUTS[0]] if at < 200 else row for at, row in rows.items()}
    later.apply(single_rows(INPUTS, early))
    assert later.latest()["item"].tolist() == list(range(199, 300))
    only = Inputs()
    only.apply(single_rows(INPUTS, {at: row[: EARLIER_INPUTS[0]] for at, row in rows.items()}))
    assert (only.added, len(only.latest())) == (0, 0)


def test_a_user_counts_once_in_each_window():
    made = records(WINDOW_EVENTS + 500)
    made["losses"][:100, 1] = np.nan
    reference, current = windows_of(made)
    assert (reference.events, current.events) == (500, WINDOW_EVENTS)
    assert (reference.first_ms, reference.last_ms, current.last_ms) == (10, 509, 509 + WINDOW_EVENTS)
    for window, part in ((reference, made[:500]), (current, made[500:])):
        for column, name in enumerate(("live", "frozen", "baseline")):
            of_user = {}
            for record in part:
                if not np.isnan(record["losses"][column]):
                    of_user.setdefault(int(record["user"]), []).append(float(record["losses"][column]))
            means = [np.mean(values) for values in of_user.values()]
            assert window.models[name].loss == pytest.approx(np.mean(means))
            assert window.models[name].variance == pytest.approx(np.var(means))
        assert window.users == len(set(part["user"].tolist()))


def test_one_user_who_shouts_does_not_move_a_window():
    made = records(600, users=50)
    quiet = windows_of(made)[-1].models["live"].loss
    loud = np.concatenate([made, made[:1].repeat(150)])
    loud["losses"][600:] = 50.0
    assert windows_of(loud)[-1].models["live"].loss < quiet + 50 / 40


def test_windows_that_hold_nothing_are_left_out():
    assert windows_of(records(0)) == ()
    (current,) = windows_of(records(10))
    assert current.name == "current"
    unjudged = records(3)
    unjudged["losses"][:, 1] = np.nan
    assert windows_of(unjudged)[0].models["frozen"].loss is None

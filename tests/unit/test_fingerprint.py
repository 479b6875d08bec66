"""What decides which bits are learnt, and what does not."""

import pytest
from pipeline import small_settings

from stream.lineage.fingerprint import code_hash, fingerprint, learnt_settings
from stream.lineage.identity import identity


@pytest.mark.parametrize(
    "sections",
    [
        {"learning": {"seed": 2}},
        {"learning": {"rank": 8}},
        {"learning": {"min_value": 3.0}},
        {"learning": {"freeze": True}},
        {"als": {"alpha": 0.3}},
        {"sgd": {"negatives": 7}},
        {"decode": {"event_weights": {"impression": 0.5}}},
        {"decode": {"event_ids_kept": 51}},
        {"prequential": {"k": 11}},
        {"model": {"name": "other"}},
        {"topics": {"framing": "confluent"}},
        {"state": {"history_max": 13}},
        {"state": {"rows_max": 9_000}},
        {"state": {"items_max": 501}},
    ],
    ids=str,
)
def test_it_changes_with_what_is_learnt_from(sections):
    assert fingerprint(small_settings(**sections)) != fingerprint(small_settings())


@pytest.mark.parametrize(
    "sections",
    [
        {"learning": {"batch_records_max": 7}},
        {"learning": {"poll_timeout_ms": 99}},
        {"state": {"sync": "always"}},
        {"state": {"flush_interval_ms": 77}},
        {"kafka": {"bootstrap.servers": "127.0.0.1:1"}},
        {"rocksdb": {"max_background_jobs": 3}},
        {"topics": {"interactions": "renamed"}},
    ],
    ids=str,
)
def test_it_does_not_change_with_where_and_how_fast(sections):
    assert fingerprint(small_settings(**sections)) == fingerprint(small_settings())


def test_it_is_the_same_each_time_and_short():
    assert fingerprint(small_settings()) == fingerprint(small_settings())
    assert len(fingerprint(small_settings())) == 32
    assert code_hash() == code_hash()


def test_recorded_settings_are_plain_values():
    recorded = learnt_settings(small_settings())
    assert set(recorded) == {"decode", "model", "learning", "als", "sgd", "prequential"}
    assert "batch_records_max" not in recorded["learning"]


def test_the_identity_is_what_rows_depend_on():
    assert identity(small_settings()) == {
        "model": "default",
        "rank": 4,
        "algorithm": "als",
        "feedback": "implicit",
        "history_max": 12,
        "event_ids_kept": 50,
    }

"""Files as streams: their order, and what becomes of rows and files that are not as they should be."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from livefactor.replay.recording import EXAMPLES_MAX, read
from state.errors import PublishError
from stream.config import DecodeConfig
from stream.events import Interactions

HEADER = "user_id,item_id,event_type,value,timestamp_ms"
CONFIG = DecodeConfig()


def file(folder: Path, *rows: str, name: str = "events.csv") -> Path:
    path = folder / name
    content = "".join(f"{row}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def users(stream: Interactions) -> list[str]:
    spans = zip(stream.user_start.tolist(), stream.user_length.tolist(), strict=True)
    return [stream.buffer[start : start + length].tobytes().decode() for start, length in spans]


def test_rows_out_of_order_are_sorted_and_it_is_said(tmp_path):
    recording = read(file(tmp_path, HEADER, "a,x,,,30", "b,x,,,10", "c,x,,,20", "d,x,,,10"), CONFIG)
    assert users(recording.stream) == ["b", "d", "c", "a"]
    assert recording.stream.time_ms.tolist() == [10, 10, 20, 30]
    assert not recording.sorted


@pytest.mark.parametrize("times", ["55555", "12345", "     "], ids=["all the same", "ascending", "none"])
def test_rows_in_order_stay_as_they_are(tmp_path, times):
    rows = [f"{user},x,,,{time.strip()}" for user, time in zip("edcba", times, strict=True)]
    recording = read(file(tmp_path, HEADER, *rows), CONFIG)
    assert users(recording.stream) == list("edcba")
    assert recording.sorted


def test_a_row_without_a_time_has_that_of_the_row_before(tmp_path):
    recording = read(file(tmp_path, HEADER, "a,x,,,30", "b,x,,,", "c,x,,,10", "d,x,,,"), CONFIG)
    assert users(recording.stream) == ["c", "d", "a", "b"]


def test_json_lines_are_read_as_well(tmp_path):
    row = '{"user_id": "ann", "item_id": "film", "value": 2.5, "event_time_ms": 7}'
    stream = read(file(tmp_path, row, name="events.jsonl.gz"), CONFIG).stream
    assert (users(stream), stream.value.tolist(), stream.time_ms.tolist()) == (["ann"], [2.5], [7])


def test_many_rows_keep_their_ids_and_values(tmp_path):
    """More than are decoded at a time."""
    rows = [f"u{n},i{n % 7},,{n},{n}" for n in range(23_000)]
    stream = read(file(tmp_path, HEADER, *rows), CONFIG).stream
    assert users(stream) == [f"u{n}" for n in range(23_000)]
    assert np.array_equal(stream.value, np.arange(23_000))
    assert len(np.unique(stream.item_hash)) == 7
    assert np.array_equal(stream.record, np.arange(23_000))


def test_the_limit_counts_in_time_order(tmp_path):
    assert users(read(file(tmp_path, HEADER, "a,x,,,3", "b,x,,,1", "c,x,,,2"), CONFIG, limit=2).stream) == [
        "b",
        "c",
    ]


def test_bad_rows_are_counted_by_reason_and_the_first_are_shown(tmp_path):
    """Both what is no row and what the learner would refuse; lines count the header."""
    rows = ["a,x,,many,1", "a,x,,1,1", "a,x,,1e9,1", "a,,,1,1", *(["a,x"] * 4), "a\tb,x,,1,1"]
    recording = read(file(tmp_path, HEADER, *rows), CONFIG)
    assert recording.bad == {
        "value is not a number": 1,
        "value_too_large": 1,
        "item_id is empty": 1,
        "expected 5 fields, found 2": 4,
        "user_id_control_character": 1,
    }
    assert [row.line for row in recording.examples] == [2, 4, 5, 6, 7]
    assert len(recording.examples) == EXAMPLES_MAX
    assert len(recording.stream) == 1


@pytest.mark.parametrize("row", ["a,x,,many,1", "a,x,,1e9,1"])
def test_strict_stops_at_a_bad_row_and_says_where(tmp_path, row):
    with pytest.raises(PublishError, match=r"events\.csv: line 3: .*value"):
        read(file(tmp_path, HEADER, "a,x,,1,1", row), CONFIG, strict=True)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "there is nothing in it"),
        ([HEADER], "there is no interaction in it"),
        ([HEADER, "a,,,,"], "there is no interaction in it; line 2: item_id is empty"),
        (["user_id,rating", "a,1"], "columns found: user_id, rating; none of them looks like item_id"),
    ],
)
def test_a_file_without_interactions_is_an_error(tmp_path, rows, expected):
    with pytest.raises(PublishError) as caught:
        read(file(tmp_path, *rows), CONFIG)
    assert expected in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(PublishError, match="there is no such file"):
        read(tmp_path / "nothing.csv", CONFIG)


def test_a_file_cut_short_is_read_up_to_the_cut_unless_strict(tmp_path):
    random = np.random.default_rng(1)
    rows = [f"u{random.integers(10**9)},i{n},,1,{n}" for n in range(20_000)]
    path = file(tmp_path, HEADER, *rows, name="events.csv.gz")
    path.write_bytes(path.read_bytes()[:-2_000])
    recording = read(path, CONFIG)
    assert 1_000 < len(recording.stream) < 20_000
    assert "cut short" in str(recording.damage)
    with pytest.raises(PublishError, match="cut short"):
        read(path, CONFIG, strict=True)

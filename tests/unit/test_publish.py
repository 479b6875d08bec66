"""Event files: what is read from them, which rows are bad and why, and how a damaged file ends."""

import gzip
from pathlib import Path

import pytest

from livefactor.event_files import BadRow, read_events
from protos.events_pb2 import Interaction
from state.errors import PublishError

HEADER = "user_id,item_id,event_type,value,timestamp_ms"


def file(folder: Path, name: str, lines: list[str]) -> Path:
    path = folder / name
    content = ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz"])
def test_csv_rows_become_interactions(tmp_path: Path, name: str):
    path = file(tmp_path, name, [HEADER, "ann,film,rating,8,1362062307000", 'bob,"a,b",click,,'])
    assert list(read_events(path)) == [
        Interaction(user_id="ann", item_id="film", event_type="rating", value=8, event_time_ms=1362062307000),
        Interaction(user_id="bob", item_id="a,b", event_type="click"),
    ]


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
def test_json_lines_become_interactions(tmp_path: Path, name: str):
    rows = ['{"user_id": "ann", "item_id": "film", "value": -1, "event_time_ms": 5, "event_id": "e"}', ""]
    [interaction] = read_events(file(tmp_path, name, rows))
    assert interaction == Interaction(user_id="ann", item_id="film", value=-1, event_time_ms=5, event_id="e")


def test_a_value_that_is_absent_stays_absent_and_zero_stays_zero(tmp_path: Path):
    rows = list(read_events(file(tmp_path, "a.csv", [HEADER, "ann,film,,,", "ann,film,,0,"])))
    assert [isinstance(row, Interaction) and row.HasField("value") for row in rows] == [False, True]


def test_optional_columns_may_be_missing_and_in_any_order(tmp_path: Path):
    path = file(tmp_path, "a.csv", ["item_id,user_id", "film,ann"])
    assert list(read_events(path)) == [Interaction(user_id="ann", item_id="film")]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("user,item_id", "columns found: user, item_id; missing 'user_id'; unknown 'user'"),
        ("user_id,item_id,rating", "unknown 'rating'"),
        ("user_id,item_id,value,value", "repeated 'value'"),
        ("", "columns found: none; missing 'user_id', 'item_id'"),
    ],
)
def test_wrong_columns_are_named_with_those_found(tmp_path: Path, header: str, expected: str):
    with pytest.raises(PublishError) as caught:
        list(read_events(file(tmp_path, "a.csv", [header, "ann,film"])))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",film,,,", "user_id is empty"),
        ("ann,,,,", "item_id is empty"),
        (f"{'é' * 129},film,,,", "user_id is longer than 256 bytes"),
        ("\udcff,film,,,", "user_id is not UTF-8"),
        ("ann,film,click,many,", "value is not a number"),
        ("ann,film,click,nan,", "value is not finite"),
        ("ann,film,click,1,yesterday", "timestamp_ms is not a whole number"),
        ("ann,film,click,1,-1", "timestamp_ms is out of range"),
        (f"ann,film,click,1,{2**63}", "timestamp_ms is out of range"),
        ("ann,film", "expected 5 fields, found 2"),
    ],
)
def test_a_bad_csv_row_gives_its_line_and_reason_and_the_next_is_read(tmp_path: Path, row: str, reason: str):
    path = file(tmp_path, "a.csv", [HEADER, row, "ann,film,,,"])
    assert list(read_events(path)) == [BadRow(2, reason), Interaction(user_id="ann", item_id="film")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"user_id": 1, "item_id": "film"}', "user_id is not text"),
        ('{"user_id": "ann"}', "item_id is empty"),
        ('{"user_id": "ann", "item_id": "film", "rating": 3}', "unknown field 'rating'"),
        ('{"user_id": "ann", "item_id": "film", "value": "3"}', "value is not a number"),
        ('{"user_id": "ann", "item_id": "film", "value": true}', "value is not a number"),
        (
            '{"user_id": "ann", "item_id": "film", "event_time_ms": 1.5}',
            "event_time_ms is not a whole number",
        ),
    ],
)
def test_a_bad_json_row_gives_its_line_and_reason_and_the_next_is_read(tmp_path: Path, row: str, reason: str):
    good = '{"user_id": "ann", "item_id": "film"}'
    rows = list(read_events(file(tmp_path, "a.jsonl", [row, good])))
    assert rows == [BadRow(1, reason), Interaction(user_id="ann", item_id="film")]


def test_a_gzip_file_cut_short_yields_what_was_good_and_then_says_so(tmp_path: Path):
    whole = file(tmp_path, "a.csv.gz", [HEADER, *(f"user-{i},film-{i * i},,," for i in range(20_000))])
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    rows: list[Interaction | BadRow] = []
    with pytest.raises(PublishError, match="cut short"):
        rows.extend(read_events(cut))
    assert 1_000 < len(rows) < 20_000
    assert rows[-1] == Interaction(user_id=f"user-{len(rows) - 1}", item_id=f"film-{(len(rows) - 1) ** 2}")


def test_a_file_that_is_not_gzip_is_an_error(tmp_path: Path):
    path = tmp_path / "a.csv.gz"
    path.write_text("user_id,item_id\n")
    with pytest.raises(PublishError, match="damaged"):
        list(read_events(path))


def test_other_kinds_of_files_and_missing_ones_are_named(tmp_path: Path):
    with pytest.raises(PublishError, match=r"ends in \.csv"):
        list(read_events(tmp_path / "a.parquet"))
    with pytest.raises(PublishError, match="no such file"):
        list(read_events(tmp_path / "a.csv"))

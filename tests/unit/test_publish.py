"""Event files and publishing: what is read, which rows are bad, how damage ends; dead letters read back."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from livefactor.dead_letters import collect
from livefactor.event_files import BadRow, read_events
from livefactor.publish import publish
from protos.events_pb2 import Interaction
from state.errors import PublishError, SourceError
from state.store import OutboxRecord, TopicPartition
from stream.dead_letters import HEADERS, dead_letters
from stream.events import Records, Rejected

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
        ("who,item_id", "columns found: who, item_id; none of them looks like user_id"),
        ("user_id,item_id,value,value", "repeated 'value'"),
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
        (
            "ann,film,click,1,yesterday",
            "timestamp_ms is not a number of milliseconds, nor a time in ISO 8601",
        ),
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
        ('{"user_id": 1, "item_id": "film"}', "user_id is not a string"),
        ('{"user_id": "ann"}', "item_id is empty"),
        ('{"user_id": "ann", "item_id": "film", "rating": 3}', "unknown field 'rating'"),
        ('{"user_id": "ann", "item_id": "film", "value": "3"}', "value is not a number"),
        ('{"user_id": "ann", "item_id": "film", "value": true}', "value is not a number"),
        ('{"user_id": "ann", "item_id": "film", "event_time_ms": 1.5}', "event_time_ms is not an integer"),
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
    (tmp_path / "a.zip").write_bytes(b"PK\3\4")
    with pytest.raises(PublishError, match="unpack it first"):
        list(read_events(tmp_path / "a.zip"))
    with pytest.raises(PublishError, match="no such file"):
        list(read_events(tmp_path / "a.csv"))


class Shelf:
    """An outlet that keeps what it is given, and refuses records from a given number on."""

    def __init__(self, takes: int = 10**9) -> None:
        self.acknowledged = 0
        self.positions: dict[TopicPartition, int] = {}
        self.records: list[tuple[str, bytes | None, bytes | None]] = []
        self._takes = takes

    def publish(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        if len(self.records) >= self._takes:
            raise SourceError("the topic is full")
        self.records.append((topic, key, value))

    def flush(self, timeout_ms: int) -> None:
        self.acknowledged = len(self.records)
        self.positions = {TopicPartition("t", 0): len(self.records)}


def interactions(count: int) -> list[Interaction | BadRow]:
    return [Interaction(user_id=f"user-{i}", item_id="film") for i in range(count)]


def test_every_interaction_is_published_under_its_user():
    shelf = Shelf()
    account = publish(interactions(3), shelf, "t")
    assert [(topic, key) for topic, key, _ in shelf.records] == [
        ("t", f"user-{i}".encode()) for i in range(3)
    ]
    assert Interaction.FromString(shelf.records[2][2] or b"").user_id == "user-2"
    assert (account.events, account.acknowledged, account.complete) == (3, 3, True)
    assert account.positions == {TopicPartition("t", 0): 3}


def test_bad_rows_are_counted_by_reason_and_the_first_five_are_kept():
    bad = [BadRow(line, "odd" if line % 2 else "even") for line in range(2, 10)]
    account = publish([*bad, *interactions(1)], Shelf(), "t")
    assert account.bad == {"odd": 4, "even": 4}
    assert account.examples == bad[:5]
    assert (account.events, account.complete) == (1, True)


def test_the_limit_counts_events_and_not_bad_rows():
    account = publish([BadRow(2, "odd"), *interactions(9)], Shelf(), "t", limit=4)
    assert (account.events, sum(account.bad.values())) == (4, 1)


def test_a_refusal_ends_publishing_and_is_reported_with_what_was_acknowledged():
    account = publish(interactions(9), Shelf(takes=5), "t")
    assert (account.events, account.acknowledged, account.failure) == (5, 5, "the topic is full")
    assert not account.complete


def test_what_was_published_before_by_the_same_outlet_is_not_counted_again():
    shelf = Shelf()
    publish(interactions(3), shelf, "t")
    assert publish(interactions(2), shelf, "t").acknowledged == 2


def test_a_rate_spreads_events_over_time():
    account = publish(interactions(31), Shelf(), "t", rate=100)
    assert account.seconds >= 0.29


def test_progress_is_told_up_to_the_end():
    told: list[int] = []
    publish(interactions(250), Shelf(), "t", advance=told.append)
    assert told == [100, 200, 250]


def dead_letter(
    offset: int, headers: tuple[tuple[str, bytes], ...] = (), value: bytes | None = b"v"
) -> Records:
    """A block with one dead letter, made by the learner's own code."""
    rejected = block("in", [(b"k", value, headers)], first=offset)
    [record] = dead_letters(rejected, [Rejected(0, "decode", "not JSON", "json")], "dlq", "1")
    return block("dlq", [(record.key, record.value, record.headers)])


def block(
    topic: str, rows: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]], first: int = 0
) -> Records:
    keys, values, headers = zip(*rows, strict=True)
    count = len(rows)
    return Records(
        topic,
        values,
        keys,
        headers,
        np.full(count, 3, np.int32),
        np.arange(first, first + count),
        np.full(count, 99),
    )


def test_a_dead_letter_gives_back_the_record_as_it_was_sent():
    own = (("source", b"app"), ("reason", b"the publisher's own"))
    [letter] = collect([dead_letter(7, own)]).letters
    assert (letter.source, letter.reason, letter.code, letter.stage) == (
        ("in", 3, 7),
        "not JSON",
        "json",
        "decode",
    )
    assert letter.source_timestamp_ms == 99
    assert letter.original() == OutboxRecord("in", b"k", b"v", own)


def test_a_tombstone_comes_back_as_a_tombstone():
    [letter] = collect([dead_letter(7, value=None)]).letters
    assert letter.original().value is None


def test_dead_letters_with_the_same_coordinates_count_once():
    found = collect([dead_letter(7), dead_letter(8), dead_letter(7)])
    assert ([letter.source[2] for letter in found.letters], found.duplicates) == ([7, 8], 1)


def test_a_marker_takes_a_dead_letter_off_the_waiting_list():
    [letter] = collect([dead_letter(7)]).letters
    marker = letter.marker("dlq")
    found = collect(
        [block("dlq", [(marker.key, marker.value, marker.headers)]), dead_letter(7), dead_letter(8)]
    )
    assert [waiting.source[2] for waiting in found.waiting()] == [8]


FOREIGN_PLACES = (
    b"yes",
    b"",
    b"in 3",
    b"in 3 x",
    b"in -1 5",
    b"in 3 99999999999999999999",
    b"\xff 1 \xb2",
    b" 3 5",
)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("reason", b"x"),),
        tuple((name, b"x") for name in HEADERS),
        *((("trace", b"1"), ("livefactor-replayed", place)) for place in FOREIGN_PLACES),
        tuple(zip(HEADERS, (b"r", b"c", b"s", b"in", b"1", b"9" * 30, b"5", b"v"), strict=True)),
        tuple(zip(HEADERS, (b"r", b"c", b"s", b"in", b"1", b"9" * 5_000, b"5", b"v"), strict=True)),
        tuple(zip(HEADERS, (b"r", b"c", b"s", b"in", b"1", b"9", b"soon", b"v"), strict=True)),
    ],
)
def test_records_of_others_in_the_dead_letter_topic_are_counted_and_left_alone(
    headers: tuple[tuple[str, bytes], ...],
):
    found = collect([block("dlq", [(b"k", b"v", headers)])])
    assert (found.letters, found.foreign) == ((), 1)

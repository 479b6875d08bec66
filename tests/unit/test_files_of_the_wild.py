"""Files of interactions as people have them: read rightly and said how, or refused with cause and remedy."""

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from livefactor.event_files import BadRow, read_events, recognise
from livefactor.file_layout import Wanted
from state.errors import PublishError

S2000 = 978300760
TIME = S2000 * 1_000
ROW = ("1", "1193", 5.0, TIME)
ML = "1,1193,5.0,978300760\n1,661,3.0,978302109\n"

READ = {
    "MovieLens ratings.csv": (
        "userId,movieId,rating,timestamp\n" + ML,
        "reading userId as user_id, movieId as item_id, rating as value, timestamp as timestamp_ms; "
        "times are seconds since 1970 where they are numbers",
    ),
    "MovieLens u.data": (
        "1\t1193\t5\t978300760\n1\t661\t3\t978302109\n",
        "reading column 1 as user_id, column 2 as item_id, column 3 as value, column 4 as timestamp_ms",
    ),
    "MovieLens ratings.dat": ("1::1193::5::978300760\n1::661::3::978302109\n", "double colons"),
    "semicolons": ("user;item;rating;time\n1;1193;5;978300760\n", "semicolons"),
    "decimal commas": ("user;item;rating;time\n1;1193;5,0;978300760\n1;2;3,5;978300761\n", "semicolons"),
    "bars": ("user|item|rating|time\n1|1193|5|978300760\n", "bars"),
    "tabs with a header": ("UserID\tItemID\tRating\tTimestamp\n1\t1193\t5\t978300760\n", "tabs"),
    "RecBole .inter": (
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1193\t5\t978300760\n",
        "user_id:token as user_id",
    ),
    "Amazon reviews": (
        'reviewerID,asin,overall,unixReviewTime,summary\n1,1193,5.0,978300760,"Good, really"\n',
        "left out: summary",
    ),
    "spaces around names": (
        "user id, item id, rating, timestamp\n1,1193,5,978300760\n",
        "user id as user_id",
    ),
    "upper case": ("USER_ID,ITEM_ID,VALUE,TIMESTAMP\n1,1193,5,978300760\n", "USER_ID as user_id"),
    "a byte order mark": ("\ufeffuserId,movieId,rating,timestamp\n" + ML, "seconds"),
    "line ends of Windows": ("userId,movieId,rating,timestamp\r\n1,1193,5,978300760\r\n", "seconds"),
    "line ends of old": ("userId,movieId,rating,timestamp\r1,1193,5,978300760\r", "seconds"),
    "blank lines": ("\n\nuserId,movieId,rating,timestamp\n\n1,1193,5,978300760\n\n", "seconds"),
    "milliseconds": ("user,item,rating,timestamp\n1,1193,5,978300760000\n", "milliseconds"),
    "microseconds": ("user,item,rating,timestamp\n1,1193,5,978300760000000\n", "microseconds"),
    "nanoseconds": ("user,item,rating,timestamp\n1,1193,5,978300760000000000\n", "nanoseconds"),
    "fractions of seconds": ("user,item,rating,timestamp\n1,1193,5,978300760.0\n", "seconds"),
    "ISO 8601": ("user,item,rating,date\n1,1193,5,2000-12-31T22:12:40Z\n", "date as timestamp_ms"),
    "ISO 8601 without a zone": (
        "user,item,rating,date\n1,1193,5,2000-12-31 22:12:40\n",
        "date as timestamp_ms",
    ),
    "ISO 8601 with a zone": ("user,item,rating,date\n1,1193,5,2000-12-31T23:12:40+01:00\n", "date"),
    "the time before the rating": ("1,1193,978300760,5\n2,661,978302109,3\n", "column 3 as timestamp_ms"),
    "names in quotes": ('"userId","movieId","rating","timestamp"\n"1","1193","5","978300760"\n', "userId"),
    "UTF-16": (("userId,movieId,rating,timestamp\n" + ML).encode("utf-16"), "seconds"),
    "gzip without saying so": (gzip.compress(("userId,movieId,rating,timestamp\n" + ML).encode()), "seconds"),
    "JSON with other names": (
        '{"userId": 1, "movieId": 1193, "rating": 5, "timestamp": 978300760}\n',
        "movieId as item_id",
    ),
    "JSON of Amazon": (
        '{"reviewerID": "1", "asin": "1193", "overall": 5.0, "unixReviewTime": 978300760, "vote": "3"}\n',
        "left out: vote",
    ),
    "JSON with ISO times": (
        '{"user": "1", "item": "1193", "rating": 5, "created_at": "2000-12-31T22:12:40Z"}\n',
        "created_at",
    ),
}
NO_TIME = {
    "two columns": ("1,1193\n2,661\n", ("1", "1193", None, 0)),
    "three columns, a rating": ("1,1193,5\n2,661,3\n", ("1", "1193", 5.0, 0)),
    "three columns, a time": ("1,1193,978300760\n2,661,978302109\n", ("1", "1193", None, TIME)),
    "texts": ("ann,film a\nbob,film b\n", ("ann", "film a", None, 0)),
    "plays": ("user,artist,plays\n1,1193,1200\n", ("1", "1193", 1200.0, 0)),
}
REFUSED = {
    "nothing": ("", "there is nothing in it"),
    "blank": ("\n \n", "there is nothing in it"),
    "one column": ("1\n2\n", "no separator divides its lines into columns"),
    "other names": ("foo,bar,baz\n1,2,3\n", "--columns user_id=...,item_id=..."),
    "two items": (
        "user_id,movieId,productId\n1,2,3\n",
        "--columns item_id=movieId or --columns item_id=productId",
    ),
    "five columns and no names": ("1,2,3,4,5\n1,2,3,4,5\n", "--columns user_id=1,item_id=2"),
    "two values and no names": ("1,2,3,4\n1,2,3,4\n", "--columns user_id=1,item_id=2"),
    "seconds called milliseconds": (
        "user_id,item_id,timestamp_ms\n1,2,978300760\n",
        "timestamp_ms 978300760 is 1970-01-12 as milliseconds and 2000-12-31 as seconds: say --time-unit",
    ),
    "times of two kinds": (
        "user,item,timestamp\n1,2,978300760\n1,2,978300760000\n",
        "like seconds: say --time-unit",
    ),
    "two separators": ("a;b,c\nd;e,f\n", "can be read in two ways"),
    "names twice": ("user,item,item\n1,2,3\n", "repeated 'item'"),
    "a quote in the names": ('user_id,item_id,"value\n1,2,3\n', "in the first line a quote has no match"),
    "a JSON array": ('[{"user_id": "1", "item_id": "2"}]', "one object a line"),
    "a zip archive": (b"PK\x03\x04rest", "unpack it first"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0", "is no text"),
    "Parquet cut short": (b"PAR1rest", "damaged"),
}


def written(folder: Path, content: str | bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path, wanted: Wanted | None = None) -> list[object]:
    """(user, item, value, time) of each row, or the bad row."""
    layout = recognise(path, wanted) if wanted else None
    return [
        row
        if isinstance(row, BadRow)
        else (row.user_id, row.item_id, row.value if row.HasField("value") else None, row.event_time_ms)
        for row in read_events(path, layout)
    ]


@pytest.mark.parametrize(("content", "said"), READ.values(), ids=list(READ))
def test_files_are_read_and_it_is_said_how(tmp_path: Path, content: str | bytes, said: str):
    path = written(tmp_path, content)
    assert rows(path)[0] == ROW
    assert said in "; ".join(recognise(path).notes)


@pytest.mark.parametrize(("content", "first"), NO_TIME.values(), ids=list(NO_TIME))
def test_what_is_missing_is_missing(tmp_path: Path, content: str, first: object):
    assert rows(written(tmp_path, content))[0] == first


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_files_that_cannot_be_told_are_refused_with_what_to_do(
    tmp_path: Path, content: str | bytes, reason: str
):
    with pytest.raises(PublishError) as caught:
        rows(written(tmp_path, content))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_are_forty_of_them():
    assert len(READ) + len(NO_TIME) + len(REFUSED) >= 40


@pytest.mark.parametrize(
    ("content", "wanted", "first"),
    [
        (
            "foo,bar,baz\na,b,2\n",
            Wanted({"user_id": "foo", "item_id": "bar", "value": "baz"}),
            ("a", "b", 2.0, 0),
        ),
        ("a,b,c,d,5\n", Wanted({"user_id": "2", "item_id": "4", "value": "5"}), ("b", "d", 5.0, 0)),
        ("user_id,movieId,productId\n1,2,3\n", Wanted({"item_id": "productId"}), ("1", "3", None, 0)),
        ("user_id,item_id,timestamp_ms\n1,2,978300760\n", Wanted(time_unit="s"), ("1", "2", None, TIME)),
        ("user_id,item_id,timestamp_ms\n1,2,978300760\n", Wanted(time_unit="ms"), ("1", "2", None, S2000)),
        ('{"who": "a", "what": 7}\n', Wanted({"user_id": "who", "item_id": "what"}), ("a", "7", None, 0)),
    ],
)
def test_what_the_caller_says_goes_first(tmp_path: Path, content: str, wanted: Wanted, first: object):
    assert rows(written(tmp_path, content), wanted)[0] == first


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    with pytest.raises(
        PublishError, match="--columns user_id=who: there is no such column; there are user, item"
    ):
        recognise(written(tmp_path, "user,item\n1,2\n"), Wanted({"user_id": "who"}))


def test_livefactors_own_files_need_no_words(tmp_path: Path):
    own = "user_id,item_id,event_type,value,timestamp_ms,event_id\na,b,click,1,978300760000,e\n"
    assert recognise(written(tmp_path, own, "a.csv")).notes == []
    assert recognise(written(tmp_path, '{"user_id": "a", "item_id": "b"}\n', "a.jsonl")).notes == []


class TestQuotes:
    HEADER = "user_id,item_id,value\n"

    def test_one_without_a_match_costs_its_line_alone(self, tmp_path: Path):
        many = "".join(f"u{n},i{n},1\n" for n in range(7_400))
        found = rows(written(tmp_path, f'{self.HEADER}a,"b,1\n{many}'))
        assert found[0] == BadRow(2, "line 2 lost: a quote, probably the one at character 3, has no match")
        assert found[1:] == [(f"u{n}", f"i{n}", 1.0, 0) for n in range(7_400)]

    def test_a_later_quote_is_not_its_match(self, tmp_path: Path):
        found = rows(written(tmp_path, f'{self.HEADER}a,"b,1\nc,d,2\ne,"f",3\n'))
        assert [isinstance(row, BadRow) for row in found] == [True, False, False]

    def test_a_cell_may_span_lines(self, tmp_path: Path):
        found = rows(written(tmp_path, f'{self.HEADER}a,"b\nc\n\nd",1\ne,f,2\n'))
        assert found == [("a", "b\nc\nd", 1.0, 0), ("e", "f", 2.0, 0)]

    def test_the_lines_lost_are_said(self, tmp_path: Path):
        found = rows(written(tmp_path, f'{self.HEADER}a,"b\nc\nd,e,2\n'))
        assert found == [
            BadRow(2, "lines 2 to 3 lost: a quote, probably the one at character 3, has no match"),
            ("d", "e", 2.0, 0),
        ]

    def test_one_in_a_file_with_tabs_is_text(self, tmp_path: Path):
        found = rows(written(tmp_path, 'user_id\titem_id\n1\t"5 inch\n2\tb\n'))
        assert found == [("1", '"5 inch', None, 0), ("2", "b", None, 0)]


def test_a_line_without_end_is_bad_and_bounded(tmp_path: Path):
    found = rows(written(tmp_path, "user_id,item_id\na," + "b" * 3_000_000 + "\nc,d\n"))
    assert found == [BadRow(2, "the line is longer than 1,048,576 characters"), ("c", "d", None, 0)]


def test_ids_that_are_numbers_may_be_zero(tmp_path: Path):
    assert rows(written(tmp_path, '{"user": 0, "item": 7.0}\n'))[0] == ("0", "7", None, 0)


def test_parquet(tmp_path: Path):
    path = tmp_path / "a.parquet"
    times = pyarrow.array([TIME, TIME + 5], pyarrow.timestamp("ms"))
    table = pyarrow.table(
        {"userId": [1, 2], "movieId": ["x", "y"], "rating": [5.0, None], "when": [1, 2], "time": times}
    )
    pyarrow.parquet.write_table(table, path)
    assert rows(path) == [("1", "x", 5.0, TIME), ("2", "y", None, TIME + 5)]
    assert "left out: when" in "; ".join(recognise(path).notes)
    numbers = pyarrow.table({"user_id": ["a"], "item_id": ["b"], "timestamp": [S2000]})
    pyarrow.parquet.write_table(numbers, path)
    assert rows(path) == [("a", "b", None, TIME)]

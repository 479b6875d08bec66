"""What decoding takes, what it rejects with which words, and that its quick way agrees with the slow one."""

import math
import re
from collections.abc import Sequence
from unittest.mock import Mock

import numpy as np
import orjson
import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.events_pb2 import Interaction, InteractionBatch
from state.kernels import hash_bytes
from stream.config import DecodeConfig
from stream.events import Decoded, Records
from stream.intake import decode, formats, wire
from stream.intake.decode import Decoder
from stream.intake.validate import Rejection

NOW_MS = 1_700_000_000_000
CONFIG = DecodeConfig(event_weights={"impression": 0.0, "buy": 5.0, "köp": 4.0})
STRICT = DecodeConfig(event_weights={"buy": 5.0}, unknown_event_types="reject")
FRAME = b"\0\0\0\0\x07\0"


def records(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Sequence[tuple[str, bytes]] | None] | None = None,
    timestamp_ms: int = NOW_MS,
) -> Records:
    n = len(values)
    return Records(
        topic="t",
        values=values,
        keys=keys or [None] * n,
        headers=headers or [None] * n,
        partitions=np.zeros(n, np.int32),
        offsets=np.arange(n, dtype=np.int64),
        timestamps_ms=np.full(n, timestamp_ms, np.int64),
    )


def proto(**fields: object) -> bytes:
    return Interaction(**{"user_id": "u", "item_id": "i", **fields}).SerializeToString()


def json(**fields: object) -> bytes:
    return orjson.dumps({"user_id": "u", "item_id": "i", **fields})


def batch(*interactions: dict[str, object]) -> bytes:
    return InteractionBatch(
        interactions=[Interaction(**fields) for fields in interactions]
    ).SerializeToString()


def text(buffer: np.ndarray, start: int, length: int) -> bytes:
    return buffer[start : start + length].tobytes()


def text_hash(value: bytes) -> int:
    return int(hash_bytes(np.frombuffer(bytearray(value), np.uint8), 0, len(value)))


def rows(decoded: Decoded) -> list[tuple[object, ...]]:
    """(record, part, user, item, weight, value or None, remove, time, event id) of each interaction."""
    columns = decoded.interactions
    found = []
    for i in range(len(columns)):
        user = text(columns.buffer, columns.user_start[i], columns.user_length[i])
        item = text(columns.buffer, columns.item_start[i], columns.item_length[i])
        assert columns.user_hash[i] == text_hash(user)
        assert columns.item_hash[i] == text_hash(item)
        value = None if np.isnan(columns.value[i]) else float(columns.value[i])
        found.append(
            (
                int(columns.record[i]),
                int(columns.part[i]),
                user,
                item,
                float(columns.weight[i]),
                value,
                bool(columns.remove[i]),
                int(columns.time_ms[i]),
                int(columns.event_id[i]),
            )
        )
    return found


def expected_rows(decoder: Decoder, given_records: Records) -> list[tuple[object, ...]]:
    """The same by the slow way alone."""
    found = []
    for record, value in enumerate(given_records.values):
        outcome = decoder.decode_one(
            value, given_records.headers[record], int(given_records.timestamps_ms[record])
        )
        if isinstance(outcome, Rejection):
            continue
        for part, one in enumerate(outcome):
            number = None if math.isnan(one.value) else float(np.float32(one.value))
            event_id = max(text_hash(one.event_id), 1) if one.event_id else 0
            found.append(
                (
                    record,
                    part,
                    one.user_id,
                    one.item_id,
                    float(np.float32(one.weight)),
                    number,
                    one.remove,
                    one.time_ms,
                    event_id,
                )
            )
    return found


def taken_quickly(decoder: Decoder, given_records: Records) -> list[bool]:
    values = decode._texts(given_records.values)
    eligible = decoder._eligible(given_records, values)
    keys = decode._texts(given_records.keys)
    columns, _ = wire.columns_of(
        values, eligible, given_records.timestamps_ms, keys, decoder._limits, decoder._types, decoder._met
    )
    return columns.done.tolist()


def one_rejection(
    value: bytes | None, config: DecodeConfig = CONFIG, framing: str = "none", **given_with: object
):
    decoded = Decoder(config, framing).decode(records([value], **given_with))
    assert len(decoded.interactions) == 0
    assert len(decoded.rejected) == 1
    return decoded.rejected[0]


class TestInteraction:
    def test_every_field_arrives(self):
        """The usual record becomes one row."""
        value = proto(event_type="buy", value=-2.5, event_time_ms=NOW_MS - 7, event_id="e1")
        decoder = Decoder(CONFIG)
        given_records = records([value])
        assert taken_quickly(decoder, given_records) == [True]
        assert rows(decoder.decode(given_records)) == [
            (0, 0, b"u", b"i", 5.0, -2.5, False, NOW_MS - 7, max(text_hash(b"e1"), 1))
        ]

    def test_what_is_absent_has_its_default(self):
        """No type weighs the default, no value is NaN, no time is the record's."""
        assert rows(Decoder(CONFIG).decode(records([proto()]))) == [
            (0, 0, b"u", b"i", 1.0, None, False, NOW_MS, 0)
        ]

    def test_an_explicit_zero_is_a_value(self):
        assert rows(Decoder(CONFIG).decode(records([proto(value=0.0)])))[0][5] == 0.0

    @pytest.mark.parametrize("user_id", ["u", "ü"])
    def test_remove_is_marked(self, user_id):
        """By both ways."""
        value = proto(user_id=user_id, event_type="remove")
        assert rows(Decoder(STRICT).decode(records([value])))[0][6] is True

    @pytest.mark.parametrize("user_id", ["u", "ü"])
    @pytest.mark.parametrize("config", [CONFIG, STRICT])
    @pytest.mark.parametrize(
        ("event_type", "weight", "remove"),
        [
            ("Remove", 1.0, True),
            ("REMOVE", 1.0, True),
            ("Un-Like", 1.0, True),
            ("dislike", -1.0, False),
            ("Thumbs Down", -1.0, False),
            ("thumbsDown", -1.0, False),
            ("SKIP", -0.5, False),
            ("BUY", 5.0, False),
            (" buy ", 5.0, False),
        ],
    )
    def test_names_are_folded(self, config, user_id, event_type, weight, remove):
        """By both ways."""
        row = rows(Decoder(config).decode(records([proto(user_id=user_id, event_type=event_type)])))[0]
        assert (row[4], row[6]) == (weight, remove)

    @pytest.mark.parametrize("maker", [proto, json], ids=["protobuf", "JSON"])
    def test_types_that_look_negative_are_counted_until_somebody_says_what_they_mean(self, maker):
        types = ["unsubscribed", "click", "unsubscribed", "Song Skipped", "dislike", "", "--"]
        given_records = records([maker(event_type=event_type) for event_type in types])
        decoder = Decoder(CONFIG)
        for _ in range(2):
            assert decoder.decode(given_records).doubtful_types == {"unsubscribed": 2, "Song Skipped": 1}
        told = Decoder(DecodeConfig(event_weights={"unsubscribed": -1.0, "song_skipped": 1.0}))
        assert told.decode(given_records).doubtful_types == {}
        assert Decoder(STRICT).decode(given_records).doubtful_types == {}

    def test_more_types_than_are_counted_mean_the_same(self):
        """What is counted has room for 256; the meaning of a type does not depend on it."""
        types = [f"un{n}" for n in range(2 * wire.MET_MAX)] + ["Remove", "un0"]
        decoder = Decoder(CONFIG)
        given_records = records([proto(event_type=event_type) for event_type in types])
        assert rows(decoder.decode(given_records)) == expected_rows(Decoder(CONFIG), given_records)
        counted = decoder.decode(given_records).doubtful_types
        assert len(counted) == wire.MET_MAX
        assert counted["un0"] == 2

    @pytest.mark.parametrize("event_type", ["", "buy", "remove"])
    def test_known_event_types_are_accepted_when_others_are_not(self, event_type):
        assert len(Decoder(STRICT).decode(records([proto(event_type=event_type)])).interactions) == 1

    @pytest.mark.parametrize(
        ("event_type", "weight"), [("click", 1.0), ("impression", 0.0), ("köp", 4.0), ("sälj", 1.0)]
    )
    def test_weights_are_those_of_the_settings(self, event_type, weight):
        assert rows(Decoder(CONFIG).decode(records([proto(event_type=event_type)])))[0][4] == weight

    @pytest.mark.parametrize("user_id", ["a" * 256, "ж" * 128, "🎬", " ", "~"])
    def test_ids_may_be_any_text_of_up_to_256_bytes(self, user_id):
        row = rows(Decoder(CONFIG).decode(records([proto(user_id=user_id)])))[0]
        assert row[2] == user_id.encode()

    @pytest.mark.parametrize("timestamp_ms", [-1, 0, NOW_MS // 1_000, NOW_MS * 1_000, 2**63 - 1], ids=repr)
    def test_a_timestamp_that_cannot_be_one_decides_nothing(self, timestamp_ms):
        """-1 is how Kafka says that a record has none; others are seconds or microseconds."""
        values = [
            maker(**time)
            for maker in (proto, lambda **time: proto(user_id="ü", **time), json)
            for time in ({}, {"event_time_ms": NOW_MS})
        ]
        found = Decoder(CONFIG).decode(records(values, timestamp_ms=timestamp_ms))
        assert [row[7] for row in rows(found)] == [0, NOW_MS] * 3

    def test_unknown_fields_are_those_of_a_newer_sender(self):
        assert len(Decoder(CONFIG).decode(records([proto() + b"\x80\x01\x05"])).interactions) == 1

    def test_no_records_make_no_rows(self):
        decoded = Decoder(CONFIG).decode(records([]))
        assert len(decoded.interactions) == 0
        assert decoded.rejected == ()


class TestOrder:
    def test_quick_slow_and_rejected_records_keep_their_places(self):
        values = [
            proto(user_id="ü1"),
            proto(user_id="u2"),
            None,
            batch({"user_id": "u3", "item_id": "a"}, {"user_id": "u3", "item_id": "b"}),
            proto(user_id="u4"),
            b"hello",
            b'{"user_id": "u5", "item_id": "i"}',
        ]
        decoded = Decoder(CONFIG).decode(records(values))
        assert [row[:4] for row in rows(decoded)] == [
            (0, 0, "ü1".encode(), b"i"),
            (1, 0, b"u2", b"i"),
            (3, 0, b"u3", b"a"),
            (3, 1, b"u3", b"b"),
            (4, 0, b"u4", b"i"),
            (6, 0, b"u5", b"i"),
        ]
        assert [(one.record, one.code) for one in decoded.rejected] == [
            (2, "tombstone"),
            (5, "protobuf_malformed"),
        ]

    def test_columns_have_the_promised_types(self):
        """Whether one way filled them or both."""
        quick = Decoder(CONFIG).decode(records([proto()])).interactions
        mixed = Decoder(CONFIG).decode(records([proto(), proto(user_id="ü")])).interactions
        names = (
            "record part user_length item_length weight value remove time_ms event_id user_hash user_start"
        )
        for columns in (quick, mixed):
            assert [getattr(columns, name).dtype.str[1:] for name in names.split()] == (
                ["i4", "i4", "i4", "i4", "f4", "f4", "b1", "i8", "u8", "u8", "i8"]
            )
            assert all(getattr(columns, name).flags.c_contiguous for name in names.split())


class TestKeys:
    def test_only_keys_that_differ_from_the_user_count(self):
        """None says nothing; empty, shorter and longer ones differ; rejected records do not count."""
        keys = [b"u", None, b"v", b"", b"uu", b"v"]
        decoded = Decoder(CONFIG).decode(records([*[proto()] * 5, b"hello"], keys=keys))
        assert decoded.key_mismatches == 3

    def test_the_slow_way_counts_them_too(self):
        values = [proto(user_id="ü")] * 3
        decoded = Decoder(CONFIG).decode(records(values, keys=["ü".encode(), None, b"u"]))
        assert decoded.key_mismatches == 1


class TestHeaders:
    @pytest.mark.parametrize(
        "content_type", [b"application/json", b"Application/JSON; charset=utf-8", b" application/json "]
    )
    def test_json_may_be_named(self, content_type):
        """Then it may start with a blank."""
        value = b' {"user_id": "u", "item_id": "i"}'
        decoded = Decoder(CONFIG).decode(records([value], headers=[[("Content-Type", content_type)]]))
        assert len(decoded.interactions) == 1

    @pytest.mark.parametrize("content_type", [b"application/protobuf", b"application/x-protobuf"])
    def test_protobuf_may_be_named(self, content_type):
        """And goes the quick way."""
        given_records = records(
            [proto()] * 2, headers=[None, [("trace", b"1"), ("content-type", content_type)]]
        )
        assert taken_quickly(Decoder(CONFIG), given_records) == [True, True]

    def test_named_protobuf_is_not_guessed_to_be_json(self):
        named = [[("content-type", b"application/protobuf")]]
        assert one_rejection(b'{"user_id": "u"}', headers=named).code == "protobuf_malformed"

    @pytest.mark.parametrize("content_type", [b"text/csv", b"", None, b"\xff"])
    def test_other_names_are_rejected(self, content_type):
        rejected = one_rejection(proto(), headers=[[("content-type", content_type)]])
        assert (rejected.stage, rejected.code) == ("decode", "content_type_unsupported")
        assert "application/json" in rejected.reason

    def test_other_headers_do_not_matter(self):
        assert taken_quickly(Decoder(CONFIG), records([proto()], headers=[[("trace", b"1")]])) == [True]


class TestFraming:
    @pytest.mark.parametrize("indexes", [b"\0", b"\x02\0", b"\x04\x02\x02"])
    def test_a_frame_is_taken_off(self, indexes):
        """Short and long lists of message indexes."""
        value = b"\0\0\0\0\x07" + indexes + proto(value=3.0)
        assert rows(Decoder(CONFIG, "confluent").decode(records([value])))[0][2:6] == (b"u", b"i", 1.0, 3.0)

    def test_the_usual_frame_goes_the_quick_way(self):
        assert taken_quickly(Decoder(CONFIG, "confluent"), records([FRAME + proto()])) == [True]

    def test_framed_json_has_no_message_indexes(self):
        value = b'\0\0\0\0\x07{"user_id": "u", "item_id": "i"}'
        assert len(Decoder(CONFIG, "confluent").decode(records([value])).interactions) == 1

    def test_a_framed_record_is_rejected_by_name_when_none_is_expected(self):
        rejected = one_rejection(FRAME + proto())
        assert rejected.code == "framing_unexpected"
        assert 'topics.framing = "confluent"' in rejected.reason

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (proto(), "framing_missing"),
            (b'{"user_id": "u", "item_id": "i"}', "framing_missing"),
            (b"", "framing_missing"),
            (b"\0\0\0", "framing_malformed"),
            (b"\0\0\0\0\x07", "framing_malformed"),
            (b"\0\0\0\0\x07\x01", "framing_malformed"),
            (b"\0\0\0\0\x07\x04\x02", "framing_malformed"),
            (b"\0\0\0\0\x07\x80", "framing_malformed"),
            (FRAME, "empty_record"),
        ],
    )
    def test_a_bad_frame_is_rejected_by_name(self, value, code):
        assert one_rejection(value, framing="confluent").code == code


class TestBatch:
    def test_parts_are_numbered(self):
        value = batch({"user_id": "u", "item_id": "a"}, {"user_id": "u", "item_id": "b", "value": 2.0})
        assert [row[1:6] for row in rows(Decoder(CONFIG).decode(records([value])))] == [
            (0, b"u", b"a", 1.0, None),
            (1, b"u", b"b", 1.0, 2.0),
        ]

    def test_one_bad_part_rejects_the_record_and_is_named(self):
        value = batch({"user_id": "u", "item_id": "a"}, {"user_id": "u"})
        rejected = one_rejection(value)
        assert rejected.code == "item_id_missing"
        assert "interactions[1].item_id" in rejected.reason

    def test_all_parts_are_of_one_user(self):
        value = batch({"user_id": "u", "item_id": "a"}, {"user_id": "v", "item_id": "a"})
        rejected = one_rejection(value)
        assert rejected.code == "batch_users_differ"
        assert "interactions[1].user_id is 'v'" in rejected.reason

    @pytest.mark.parametrize("json", [False, True])
    def test_a_hundred_thousand_are_too_many(self, json):
        part = {"user_id": "u", "item_id": "i"}
        value = orjson.dumps([part] * 100_000) if json else batch(*[part] * 100_000)
        rejected = one_rejection(value, DecodeConfig(record_bytes_max=8 << 20))
        assert rejected.code == "batch_too_large"
        assert "100,000" in rejected.reason

    @pytest.mark.parametrize(
        "value", [proto() + batch({"user_id": "u", "item_id": "i"}), batch({"user_id": "u"}) + proto()]
    )
    def test_a_mixture_of_both_messages_is_rejected(self, value):
        assert one_rejection(value).code == "protobuf_mixed"


class TestJson:
    def test_every_field_arrives(self):
        document = {
            "user_id": "ж",
            "item_id": "i",
            "event_type": "buy",
            "value": 4,
            "event_time_ms": NOW_MS - 1,
            "event_id": "e",
        }
        assert rows(Decoder(CONFIG).decode(records([orjson.dumps(document)]))) == [
            (0, 0, "ж".encode(), b"i", 5.0, 4.0, False, NOW_MS - 1, max(text_hash(b"e"), 1))
        ]

    @pytest.mark.parametrize("wrap", [lambda parts: parts, lambda parts: {"interactions": parts}])
    def test_batches_are_lists_or_objects_with_interactions(self, wrap):
        value = orjson.dumps(wrap([{"user_id": "u", "item_id": "a"}, {"user_id": "u", "item_id": "b"}]))
        assert [row[1:4] for row in rows(Decoder(CONFIG).decode(records([value])))] == [
            (0, b"u", b"a"),
            (1, b"u", b"b"),
        ]

    @pytest.mark.parametrize("headers", [None, [("content-type", b"application/json")]])
    @pytest.mark.parametrize("before", [b"", b"\n", b" \t\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
    @pytest.mark.parametrize("proto_names", [False, True])
    def test_what_protobuf_itself_writes_as_json_is_learnt(self, headers, before, proto_names):
        """userId, 64-bit integers as text; and editors put a byte order mark or blanks first."""
        one = Interaction(
            user_id="ж" * 30, item_id="i", event_type="buy", value=4, event_time_ms=NOW_MS - 1, event_id="e"
        )
        several = InteractionBatch(interactions=[one, one])
        values = [
            before + MessageToJson(message, preserving_proto_field_name=proto_names).encode()
            for message in (one, several)
        ]
        found = rows(Decoder(CONFIG).decode(records(values, headers=[headers] * 2)))
        expected = (("ж" * 30).encode(), b"i", 5.0, 4.0, False, NOW_MS - 1, max(text_hash(b"e"), 1))
        assert found == [(0, 0, *expected), (1, 0, *expected), (1, 1, *expected)]

    @pytest.mark.parametrize("length", [123, 91, 32])
    def test_a_message_that_begins_like_json_with_a_line_break_is_none(self, length):
        """Its first byte says "user_id", its second that it has 123 bytes or 91, as { and [ do."""
        value = proto(user_id="{" * length)
        assert value[:2] == b"\n" + bytes([length])
        assert rows(Decoder(CONFIG).decode(records([value, proto(user_id="[" * length + "ж")])))[0][2] == (
            b"{" * length
        )

    @pytest.mark.parametrize("time", ["1700000000000", 1_700_000_000_000.0])
    def test_whole_numbers_may_be_text_or_have_a_fraction_of_zero(self, time):
        assert rows(Decoder(CONFIG).decode(records([json(event_time_ms=time)])))[0][7] == 1_700_000_000_000

    def test_two_spellings_of_one_field_must_agree(self):
        agreeing = [json(userId="u"), json(userId=None), json(eventTimeMs="5", event_time_ms=5)]
        assert len(Decoder(CONFIG).decode(records(agreeing)).interactions) == 3
        for value in (json(userId="v"), json(eventTimeMs="6", event_time_ms=5), json(itemId="")):
            rejected = one_rejection(value)
            assert rejected.code == "json_field_twice"
            assert "two spellings" in rejected.reason

    def test_null_is_absence(self):
        value = b'{"user_id": "u", "item_id": "i", "value": null, "event_time_ms": null, "event_type": null}'
        assert rows(Decoder(CONFIG).decode(records([value])))[0][4:8] == (1.0, None, False, NOW_MS)

    @pytest.mark.parametrize(
        ("value", "code", "words"),
        [
            (b"{", "json_malformed", "not valid JSON"),
            (b'{"user_id": "\xff"}', "json_malformed", "UTF-8"),
            (b'{"value": NaN}', "json_malformed", "not valid JSON"),
            (b"[" * 5_000, "json_malformed", "depth"),
            (b'{"value": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "field_type_wrong", "[[[[[[[...]]]]]]]"),
            (b'{"userid": "u"}', "json_field_unknown", 'did you mean "user_id"?'),
            (b'{"zzz": 1}', "json_field_unknown", "known are user_id"),
            (b'{"interactions": [], "user_id": "u"}', "json_field_unknown", "'user_id'"),
            (b'[{"user_id": "u", "item_id": "i"}, {"item": "i"}]', "json_field_unknown", "interactions[1]"),
            (b'{"user_id": 7}', "field_type_wrong", "user_id is an integer (7): send a string"),
            (b'{"value": true}', "field_type_wrong", "value is a boolean (True): send a number"),
            (b'{"value": "4"}', "field_type_wrong", "value is a string ('4'): send a number"),
            (b'{"event_time_ms": 1.5}', "field_type_wrong", "send an integer"),
            (b'{"event_time_ms": false}', "field_type_wrong", "send an integer"),
            (
                b'{"eventTimeMs": "1.5"}',
                "field_type_wrong",
                "eventTimeMs is a string ('1.5'): send an integer",
            ),
            (b'{"eventTimeMs": "soon"}', "field_type_wrong", "send an integer"),
            (b'{"UserId": "u"}', "json_field_unknown", 'did you mean "user_id"?'),
            (b'\n {"userid": "u"}', "json_field_unknown", 'did you mean "user_id"?'),
            (b'\n {"user_id"', "json_malformed", "not valid JSON"),
            (b'{"interactions": {}}', "field_type_wrong", "an object"),
            (b"[1]", "field_type_wrong", "interactions[0] is an integer (1): send an object"),
            (b"[]", "batch_empty", "at least one"),
            (b'{"interactions": []}', "batch_empty", "at least one"),
            (b"{}", "user_id_missing", "user_id"),
            (
                b'{"user_id":"u","item_id":"i","event_time_ms":18446744073709551615}',
                "event_time_ahead",
                "days",
            ),
        ],
    )
    def test_bad_documents_are_explained(self, value, code, words):
        rejected = one_rejection(value)
        assert rejected.code == code
        assert words in rejected.reason

    @pytest.mark.parametrize("value", [b"7", b'"text"', b"null"])
    def test_a_named_json_scalar_is_rejected(self, value):
        rejected = one_rejection(value, headers=[[("content-type", b"application/json")]])
        assert rejected.code == "field_type_wrong"


class TestFailure:
    """Records that nobody foresaw."""

    def test_one_record_on_which_decoding_fails_is_found_and_named(self, monkeypatch):
        """Batch after batch it would end the learner, which starts again at the same offset."""
        read = formats.read

        def fail(value, *rest):
            if b"bad" in value:
                raise OverflowError("Python int too large")
            return read(value, *rest)

        monkeypatch.setattr(formats, "read", fail)
        values = [proto(user_id="a"), json(user_id="b"), json(user_id="bad"), proto(user_id="c"), None]
        values += [json(item_id="bad"), json(user_id="d")]
        decoded = Decoder(CONFIG).decode(records(values))
        assert [(row[0], row[2]) for row in rows(decoded)] == [(0, b"a"), (1, b"b"), (3, b"c"), (6, b"d")]
        assert [(each.record, each.code) for each in decoded.rejected] == [
            (2, "decoder_failed"),
            (4, "tombstone"),
            (5, "decoder_failed"),
        ]
        assert "OverflowError: 'Python int too large'" in decoded.rejected[0].reason

    @pytest.mark.parametrize("event_time_ms", [2**63 - 1, 2**63, 2**64 - 1])
    @pytest.mark.parametrize("timestamp_ms", [NOW_MS, -1, 2**63 - 1])
    def test_no_event_is_later_than_the_year_2200(self, event_time_ms, timestamp_ms):
        values = [json(event_time_ms=event_time_ms)]
        if event_time_ms < 2**63:
            values += [proto(event_time_ms=event_time_ms)]
        config = DecodeConfig(event_time_ahead_max_ms=2**64)
        decoded = Decoder(config).decode(records(values, timestamp_ms=timestamp_ms))
        assert [each.code for each in decoded.rejected] == ["event_time_ahead"] * len(values)
        assert "year 2200" in decoded.rejected[0].reason

    def test_running_out_of_memory_is_not_the_fault_of_a_record(self, monkeypatch):
        monkeypatch.setattr(formats, "read", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            Decoder(CONFIG).decode(records([json(), json()]))


class TestRejection:
    @pytest.mark.parametrize(
        ("value", "code", "words"),
        [
            (None, "tombstone", "remove"),
            (b"", "empty_record", "no bytes"),
            (b"hello world", "protobuf_malformed", "is it protobuf at all"),
            (b"\x0a\x05ab", "protobuf_malformed", "user_id at byte 0 is cut off: of its 5 bytes 2 are there"),
            (proto(event_time_ms=NOW_MS)[:-1], "protobuf_malformed", "event_time_ms at byte 6"),
            (b"\x7a\x03\x0a\x05u", "protobuf_malformed", "interactions[0].user_id at byte 2 is cut off"),
            (b"\x0a\x02\xc3\x28", "text_not_utf8", "user_id at byte 0 is not UTF-8: b'\\xc3('"),
            (b"\x0a\x01\xff" + proto(), "text_not_utf8", "user_id at byte 0"),
            (b"\x7a\x04\x12\x02\xff\xff", "text_not_utf8", "interactions[0].item_id"),
            (b"\x08\x05\x12\x01b", "field_type_wrong", "user_id (field 1) has wire type varint"),
            (proto() + b"\x25\0\0\x80\x3f", "field_type_wrong", "value (field 4) has wire type 32-bit"),
        ],
    )
    def test_unreadable_records_are_explained(self, value, code, words):
        rejected = one_rejection(value)
        assert (rejected.stage, rejected.code) == ("decode", code)
        assert words in rejected.reason

    @pytest.mark.parametrize(
        ("fields", "code", "words"),
        [
            ({"user_id": ""}, "user_id_missing", "1 to 256 bytes"),
            ({"item_id": ""}, "item_id_missing", "1 to 256 bytes"),
            ({"user_id": "a" * 257}, "user_id_too_long", "257 bytes"),
            ({"item_id": "ж" * 129}, "item_id_too_long", "258 bytes"),
            ({"user_id": "a\0b"}, "user_id_control_character", r"'\x00' at position 1"),
            ({"item_id": "a\x85"}, "item_id_control_character", r"'\x85' at position 1"),
            ({"item_id": "\x7f"}, "item_id_control_character", r"'\x7f' at position 0"),
            ({"event_type": "a" * 65}, "event_type_too_long", "65 bytes"),
            ({"event_id": "a" * 257}, "event_id_too_long", "257 bytes"),
            ({"value": math.nan}, "value_not_finite", "nan"),
            ({"value": math.inf}, "value_not_finite", "inf"),
            ({"value": -math.inf}, "value_not_finite", "-inf"),
            ({"value": 1e300}, "value_too_large", "decode.value_abs_max = 1e+06"),
            ({"value": -1_000_001.0}, "value_too_large", "decode.value_abs_max"),
            ({"event_time_ms": -1}, "event_time_negative", "-1"),
            ({"event_time_ms": 32_503_680_000_000}, "event_time_ahead", "days after the record's timestamp"),
            (
                {"event_time_ms": NOW_MS + 86_400_001},
                "event_time_ahead",
                "event_time_ahead_max_ms = 86400000",
            ),
            ({"event_time_ms": 2**63 - 1}, "event_time_ahead", "send milliseconds"),
        ],
    )
    def test_invalid_interactions_are_explained(self, fields, code, words):
        rejected = one_rejection(proto(**fields))
        assert (rejected.stage, rejected.code) == ("validate", code)
        assert words in rejected.reason

    @pytest.mark.parametrize(
        "fields",
        [
            {"value": 1e6},
            {"value": -1e6},
            {"event_time_ms": NOW_MS + 86_400_000},
            {"event_type": "a" * 64},
            {"event_id": "a" * 256},
        ],
    )
    def test_the_limits_themselves_are_allowed(self, fields):
        """By both ways."""
        values = [proto(**fields), proto(user_id="ü", **fields)]
        assert taken_quickly(Decoder(CONFIG), records(values)) == [True, False]
        assert len(Decoder(CONFIG).decode(records(values)).interactions) == 2

    def test_an_unknown_event_type_is_rejected_where_the_settings_say_so(self):
        rejected = one_rejection(proto(event_type="bye"), STRICT)
        assert rejected.code == "event_type_unknown"
        assert "'bye'" in rejected.reason
        assert "known are 'buy' and common names" in rejected.reason

    def test_a_record_of_a_megabyte_is_rejected_unread(self):
        rejected = one_rejection(b"x" * ((1 << 20) + 1))
        assert rejected.code == "record_too_large"
        assert "1,048,577 bytes" in rejected.reason

    @pytest.mark.parametrize(
        "value",
        [
            b"x" * 1_000_000,
            proto(user_id="a" * 900_000),
            orjson.dumps({"user_id": {"a" * 9_000: "b" * 900_000}}),
            orjson.dumps({"a" * 900_000: 1}),
            b'{"' + b"a" * 900_000,
        ],
    )
    def test_reasons_stay_short_whatever_arrives(self, value):
        assert len(one_rejection(value).reason) < 400

    def test_every_code_is_in_the_list(self):
        """The list at the head of `stream.intake.decode` is what dashboards rely on."""
        listed = set(re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)*", decode.__doc__.split("rely on:")[1]))
        seen = set()
        for module in ("decode", "formats", "json_format", "protobuf_format", "validate"):
            source = decode.__spec__.origin.replace("decode.py", f"{module}.py")
            with open(source) as file:
                seen |= set(re.findall(r'Rejection\(\s*"(?:decode|validate)",\s*f?"([^"]+)"', file.read()))
        names = {"{name}_missing", "{name}_control_character", "{name}_too_long"}
        assert names <= seen
        assert seen - names <= listed


ids = st.text(st.characters(codec="ascii"), max_size=9) | st.text(max_size=5)
interactions = st.builds(
    Interaction,
    user_id=ids,
    item_id=ids,
    event_type=st.sampled_from(
        ["", "buy", "Buy", "remove", "RE-MOVE", "impression", "köp", "KÖP", "bye", "--"]
    )
    | st.text(max_size=70),
    value=st.none() | st.floats(),
    event_time_ms=st.integers(-(2**63), 2**63 - 1) | st.integers(NOW_MS - 10**9, NOW_MS + 10**8),
    event_id=st.just("") | ids,
)


@st.composite
def shuffled(draw: st.DrawFn) -> bytes:
    """An Interaction with its fields in any order, some of them doubled or missing."""
    message = draw(interactions)
    fields = []
    for descriptor, content in message.ListFields():
        fields.append(Interaction(**{descriptor.name: content}).SerializeToString())
    picked = draw(st.lists(st.sampled_from(fields), max_size=8)) if fields else []
    return b"".join(draw(st.permutations(fields))) if draw(st.booleans()) else b"".join(picked)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid record with bytes changed, cut off or added."""
    value = bytearray(draw(interactions).SerializeToString())
    for _ in range(draw(st.integers(0, 3))):
        if value:
            value[draw(st.integers(0, len(value) - 1))] = draw(st.integers(0, 255))
    return bytes(value[: draw(st.integers(0, len(value)))]) + draw(st.binary(max_size=12))


values_sent = (
    interactions.map(Interaction.SerializeToString) | shuffled() | damaged() | st.binary(max_size=60)
)


class TestTwin:
    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(
        st.lists(st.none() | values_sent, max_size=6),
        st.sampled_from([CONFIG, STRICT]),
        st.sampled_from(["none", "confluent"]),
        st.sampled_from([NOW_MS, 0, -1, NOW_MS // 1_000, 2**63 - 1, -(2**63)]),
    )
    def test_the_quick_way_is_a_subset_of_the_slow_one(self, values, config, framing, timestamp_ms):
        """Whatever arrives, the columns are those of the slow way alone, and nothing is lost or raised."""
        if framing == "confluent":
            values = [value and FRAME + value for value in values]
        decoder = Decoder(config, framing)
        given_records = records(values, timestamp_ms=timestamp_ms)
        decoded = decoder.decode(given_records)
        assert rows(decoded) == expected_rows(decoder, given_records)
        seen = {int(record) for record in decoded.interactions.record}
        bad = [one.record for one in decoded.rejected]
        assert sorted([*seen, *bad]) == list(range(len(values)))

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.integers(0, 5), st.integers(0, 2**32))
    def test_usual_records_do_go_the_quick_way(self, absent, seed):
        """Or the test above would hold for a kernel that takes nothing."""
        random = np.random.default_rng(seed)
        fields = {
            "user_id": f"u{seed}",
            "item_id": "i" * random.integers(1, 257),
            "event_type": random.choice(["", "buy", "remove", "click"]),
            "value": float(random.normal()),
            "event_time_ms": NOW_MS + int(random.integers(-(10**6), 10**6)),
            "event_id": "e" * random.integers(0, 257),
        }
        for name in list(fields)[len(fields) - absent + 1 :]:
            del fields[name]
        assert taken_quickly(Decoder(CONFIG), records([proto(**fields)])) == [True]

    @pytest.mark.parametrize("after", [[], [b"2\x01e" + proto()]])
    def test_every_truncation_is_survived(self, after):
        """Nothing is read beyond a record, be it the end of the buffer or text that would fit in well."""
        whole = proto(event_type="buy", value=1.0, event_time_ms=NOW_MS, event_id="e" * 200)
        decoder = Decoder(CONFIG)
        for length in range(len(whole)):
            given_records = records([whole, whole[:length], *after])
            assert rows(decoder.decode(given_records)) == expected_rows(decoder, given_records)

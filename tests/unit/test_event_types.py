"""What the names of events mean."""

import pytest

from stream.config import DecodeConfig
from stream.intake.event_types import describe_doubtful, fold, looks_negative, meanings


@pytest.mark.parametrize("name", ["thumbs_down", "Thumbs-Down", "THUMBS DOWN", "thumbsDown", "thumbs.down "])
def test_case_and_separators_are_folded(name):
    assert fold(name) == "thumbsdown"


def test_common_names_have_a_meaning_before_any_setting():
    known = meanings(DecodeConfig())
    assert known["dislike"] == (-1.0, False)
    assert known["unlike"] == known["remove"] == (1.0, True)
    assert known["thumbs_down"] == known["thumbsdown"]
    assert known["impression"].weight == 0.0
    assert known[""] == (1.0, False)
    assert "click" not in known


def test_settings_go_before_common_names_however_they_are_spelt():
    known = meanings(DecodeConfig(event_weights={"Dislike": 2.0, "un-like": -1.0, "return": "remove"}))
    assert known["Dislike"] == known["dislike"] == (2.0, False)
    assert known["un-like"] == known["unlike"] == (-1.0, False)
    assert known["return"].removes


def test_of_two_settings_that_fold_alike_each_keeps_its_own_spelling():
    known = meanings(DecodeConfig(event_weights={"Click": 1.5, "click": 3.0}))
    assert (known["Click"].weight, known["click"].weight) == (1.5, 3.0)


def test_a_name_without_letters_is_not_the_empty_one():
    assert "" not in set(meanings(DecodeConfig(event_weights={"--": -1.0}))) - {""}
    assert meanings(DecodeConfig(event_weights={"--": -1.0}))[""].weight == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "song_skipped",
        "videoDislike",
        "NotInterested",
        "uninterested",
        "refund",
        "returned",
        "no",
        "UNSUBSCRIBED",
    ],
)
def test_names_that_look_negative(name):
    assert looks_negative(name)


@pytest.mark.parametrize(
    "name",
    [
        "like",
        "click",
        "purchase",
        "add_to_cart",
        "unlock",
        "unique",
        "discover",
        "display",
        "download",
        "notification",
        "note",
        "normal",
        "dishwasher",
        "share",
        "book",
        "universal",
        "now",
    ],
)
def test_names_that_do_not(name):
    assert not looks_negative(name)


def test_the_most_frequent_doubtful_types_are_named():
    words = describe_doubtful({f"un{n}": n + 1 for n in range(9)})
    assert "'un8' (9), 'un7' (8)" in words
    assert "'un0'" not in words
    assert "decode.event_weights" in words

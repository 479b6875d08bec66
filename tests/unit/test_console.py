"""What strangers wrote reaches a terminal as text and does nothing there."""

import json

import pytest

from livefactor import console

HOSTILE = "\x1b]0;owned\x07\x9b2J\r\u202etxt\u2066\u2028 ä 🎬 \ud800"
SHOWN = r"\x1b]0;owned\x07\x9b2J\x0d\u202etxt\u2066\u2028 ä 🎬 \ud800"


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def watched(request, monkeypatch):
    monkeypatch.setattr(console, "person_watches", lambda: request.param)
    return request.param


def test_control_sequences_are_escaped_in_text():
    assert console.printable(HOSTILE) == SHOWN
    assert console.printable("two\nlines") == "two\nlines"


def test_notes_and_fields_and_tables_escape(watched, capsys):
    console.note(HOSTILE)
    console.print_fields({"name": HOSTILE})
    console.print_table(("column",), [(HOSTILE,)], title=HOSTILE)
    written = capsys.readouterr()
    assert written.err == f"{SHOWN}\n"
    assert written.out.splitlines()[0] == f"name: {SHOWN}"
    assert console.COMMANDS_TERMINALS.sub("", written.out) == written.out
    assert written.out.count(r"\x1b]0;owned") == (3 if watched else 2)


def test_json_escapes_as_json_does(watched, capsys):
    value = {"name": HOSTILE.replace("\ud800", "")}
    console.print_json(value)
    written = capsys.readouterr().out
    assert console.COMMANDS_TERMINALS.sub("", written) == written
    assert json.loads(written) == value

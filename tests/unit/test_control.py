"""Commands: what is one, what it does, and what is answered."""

from pipeline import CONTROL, DRIFT, Feed, command

from protos.events_pb2 import COMMAND_ACTION_FREEZE, COMMAND_ACTION_RESUME, Command, CommandResult
from stream.control import COMMAND_BYTES_MAX, Control, carry_out, parse


def carried_out(control, *values, model="default"):
    commands, rejected = parse(Feed(CONTROL)(*values))
    assert rejected == []
    state, answers = carry_out(control, commands, model, DRIFT, 7)
    return state, [CommandResult.FromString(answer.value) for answer in answers]


def test_freeze_and_resume_in_order():
    freeze, resume = command(COMMAND_ACTION_FREEZE, "f"), command(COMMAND_ACTION_RESUME, "r")
    state, answers = carried_out(Control(), freeze, resume, freeze)
    assert state == Control(frozen=True)
    assert [(a.command_id, a.applied, a.frozen, a.batch_seq) for a in answers] == [
        ("f", True, True, 7),
        ("r", True, False, 7),
        ("f", True, True, 7),
    ]
    assert carried_out(state, resume)[0] == Control(frozen=False)


def test_resume_ends_a_pause_and_freezing_does_not():
    freeze, resume = command(COMMAND_ACTION_FREEZE, "f"), command(COMMAND_ACTION_RESUME, "r")
    paused = Control(paused="item_pumped")
    assert carried_out(paused, freeze)[0] == Control(frozen=True, paused="item_pumped")
    assert carried_out(paused, freeze, resume)[0] == Control()


def test_other_models_are_left_alone():
    state, answers = carried_out(Control(frozen=True), command(COMMAND_ACTION_RESUME, model="other"))
    assert (state, answers) == (Control(frozen=True), [])


def test_an_unknown_action_changes_nothing_and_says_so():
    for action in (0, 99):
        state, (answer,) = carried_out(Control(frozen=True), command(action))
        assert state == Control(frozen=True)
        assert not answer.applied
        assert (answer.frozen, str(action) in answer.message) == (True, True)


def test_answers_are_cloud_events_keyed_by_model():
    commands, _ = parse(Feed(CONTROL)(command(COMMAND_ACTION_FREEZE, "f1")))
    _, (answer,) = carry_out(Control(), commands, "default", DRIFT, 1)
    headers = dict(answer.headers)
    assert (answer.topic, answer.key) == (DRIFT, b"default")
    assert (headers["ce-specversion"], headers["ce-id"]) == (b"1.0", b"f1")
    assert headers["ce-source"] == b"/livefactor/default"
    assert headers["content-type"] == b"application/protobuf"


def test_what_is_no_command_is_rejected_by_its_place():
    long = Command(reason="x" * COMMAND_BYTES_MAX).SerializeToString()
    commands, rejected = parse(Feed(CONTROL)(b"\xff\xff", command(COMMAND_ACTION_FREEZE), None, long))
    assert len(commands) == 1
    assert [(r.record, r.stage, r.code) for r in rejected] == [
        (0, "control", "command_malformed"),
        (2, "control", "command_size"),
        (3, "control", "command_size"),
    ]
    assert all(r.reason for r in rejected)


def test_the_state_of_control_is_stored():
    for control in (Control(), Control(frozen=True), Control(paused="item_pumped")):
        assert Control.restore(control.pack()) == control
    assert Control.restore(b"") == Control()
    assert Control.restore(b'{"frozen":true}') == Control(frozen=True)

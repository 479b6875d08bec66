"""Commands: what is one, what it does, and what is answered."""

from pipeline import CONTROL, DRIFT, Feed, command, small_settings

from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
    COMMAND_ACTION_RESUME,
    COMMAND_ACTION_ROLLBACK,
    Command,
    CommandResult,
)
from state.store import CONTROL_MEMO, ROLLBACK_MEMO
from stream.control import COMMAND_BYTES_MAX, Control, ControlHandler, parse


def effects_of(control, *values, here=None):
    """The state after a micro-batch with these commands, read from offset 100 on, and its effects."""
    handler = ControlHandler(small_settings(), control, lambda: here or {}, lambda _: None, "1.0")
    effects = handler.prepare(Feed(CONTROL)(*values), 7)()
    assert Control.restore(effects.memo[CONTROL_MEMO]) == handler.state
    return handler.state, effects


def carried_out(control, *values, here=None):
    state, effects = effects_of(control, *values, here=here)
    return state, [CommandResult.FromString(answer.value) for answer in effects.outbox]


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


def test_what_is_missed_is_read_again_from_where_learning_stopped_first():
    freeze, resume = command(COMMAND_ACTION_FREEZE), command(COMMAND_ACTION_LEARN_MISSED)
    state, _ = effects_of(Control(), freeze, here={0: 10, 1: 5})
    assert state.missed_from == {0: 10, 1: 5}
    state = state.stop({0: 20, 1: 5}, paused="item_pumped")
    assert (state.missed_from, state.unpause().missed_from) == ({0: 10, 1: 5}, {0: 10, 1: 5})
    resumed, effects = effects_of(state, resume, here={0: 30, 1: 6, 2: 4})
    assert resumed == Control(seen_through={0: 30, 1: 6, 2: 4})
    assert effects.rewind == {0: 10, 1: 5, 2: 4}
    [answer] = effects.outbox
    assert CommandResult.FromString(answer.value).message == "learning goes on, from 21 records ago"
    stopped = resumed.stop({0: 12, 1: 6, 2: 4}, frozen=True)
    again, effects = effects_of(stopped, resume, here={0: 13, 1: 6, 2: 4})
    assert again.seen_through == resumed.seen_through
    assert effects.rewind == {0: 12, 1: 6, 2: 4}


def test_what_was_read_again_is_known_no_longer():
    again = Control(seen_through={0: 30, 1: 6})
    assert again.reach({0: 29, 1: 6}) == Control(seen_through={0: 30})
    assert again.reach({0: 30, 1: 6}) == Control()


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
    _, effects = effects_of(Control(), command(COMMAND_ACTION_FREEZE, "f1"))
    (answer,) = effects.outbox
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
    missed = Control(frozen=True, missed_from={0: 7, 12: 9}, seen_through={1: 3})
    for control in (Control(), Control(frozen=True), Control(paused="item_pumped"), missed):
        assert Control.restore(control.pack()) == control
    assert Control.restore(b"") == Control()
    assert Control.restore(b'{"frozen":true}') == Control(frozen=True)


def test_of_two_rollbacks_the_first_is_asked_for_and_the_second_refused():
    first, second = (command(COMMAND_ACTION_ROLLBACK, name, version="g1.5") for name in ("a", "b"))
    state, effects = effects_of(Control(frozen=True), first, command(COMMAND_ACTION_RESUME, "r"), second)
    assert Command.FromString(effects.memo[ROLLBACK_MEMO]).command_id == "a"
    answers = [CommandResult.FromString(answer.value) for answer in effects.outbox]
    assert [(answer.command_id, answer.applied) for answer in answers] == [("r", True), ("b", False)]
    assert "wait for its answer" in answers[1].message
    assert state == Control()

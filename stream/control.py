"""Commands to the sole writer: read from the control topic like any record, answered by an event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import orjson
from google.protobuf.message import DecodeError

from protos.events_pb2 import COMMAND_ACTION_FREEZE, COMMAND_ACTION_RESUME, Command, CommandResult
from state.errors import RowsExhaustedError
from state.store import CONTROL_MEMO, OutboxRecord
from stream.cloud_events import cloud_event
from stream.config import LearnerSettings
from stream.dead_letters import dead_letters
from stream.effects import Effects
from stream.events import Records, Rejected

COMMAND_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class Control:
    """Whether anything is learnt; part of the state.

    `frozen`: a command said so. `paused`: the reason of the drift event that did; empty where none has.
    """

    frozen: bool = False
    paused: str = ""

    def pack(self) -> bytes:
        """As JSON."""
        return orjson.dumps(self)

    @classmethod
    def restore(cls, packed: bytes) -> "Control":
        """Inverse of `pack`; nothing set yet where there is nothing stored."""
        return cls(**orjson.loads(packed)) if packed else cls()


class ControlHandler:
    """Implements `stream.effects.Handler`. `state` is what commands and pauses have set."""

    def __init__(
        self, settings: LearnerSettings, state: Control, obey: Callable[[Control], None], app_version: str
    ) -> None:
        """`obey` is told of `state` now and whenever it is set anew."""
        self.topic = settings.topics.control
        self.state = state
        self._topics, self._model, self._app_version = settings.topics, settings.model.name, app_version
        self._obey = obey
        obey(state)

    def prepare(self, records: Records, batch_seq: int) -> Callable[[], Effects]:
        """Parse commands."""
        commands, rejected = parse(records)
        letters = dead_letters(records, rejected, self._topics.dlq, self._app_version)
        return lambda: self._carry_out(commands, letters, batch_seq)

    def reject(self, record: Records, error: RowsExhaustedError) -> Effects:
        """Commands need no rows."""
        raise error

    def _carry_out(
        self, commands: Sequence[Command], letters: tuple[OutboxRecord, ...], batch_seq: int
    ) -> Effects:
        state, answers = carry_out(self.state, commands, self._model, self._topics.drift, batch_seq)
        return Effects(outbox=(*answers, *letters)) + self._set(state)

    def pause(self, reason: str) -> Effects:
        """Learn nothing more for a reason, or learn again where it is empty."""
        return self._set(replace(self.state, paused=reason))

    def _set(self, state: Control) -> Effects:
        self.state = state
        self._obey(state)
        return Effects(memo={CONTROL_MEMO: state.pack()})


def parse(records: Records) -> tuple[list[Command], list[Rejected]]:
    """Commands of a batch, in order, and what was none."""
    commands: list[Command] = []
    rejected: list[Rejected] = []
    for i, value in enumerate(records.values):
        if value is None or len(value) > COMMAND_BYTES_MAX:
            rejected.append(
                Rejected(i, "control", "a command is a protobuf of at most 64 KiB", "command_size")
            )
            continue
        try:
            commands.append(Command.FromString(value))
        except DecodeError:
            reason = "the record is not a livefactor.v1.Command: send it with `livefactor control`"
            rejected.append(Rejected(i, "control", reason, "command_malformed"))
    return commands, rejected


def apply(control: Control, command: Command) -> tuple[Control, str]:
    """The state after a command, and what to say about it; a message means that it was applied."""
    if command.action == COMMAND_ACTION_FREEZE:
        message = "learning is frozen; events are consumed and counted but not learnt"
        return replace(control, frozen=True), message
    if command.action == COMMAND_ACTION_RESUME:
        return Control(), "learning goes on"
    return control, ""


def carry_out(
    control: Control, commands: Sequence[Command], model: str, topic: str, batch_seq: int
) -> tuple[Control, list[OutboxRecord]]:
    """Apply the commands that are meant for `model`; the answers go to `topic`."""
    answers = []
    for command in commands:
        if command.model == model:
            control, message = apply(control, command)
            answers.append(_answer(command, control, message, topic, batch_seq))
    return control, answers


def _answer(command: Command, control: Control, message: str, topic: str, batch_seq: int) -> OutboxRecord:
    result = CommandResult(
        command_id=command.command_id,
        model=command.model,
        action=command.action,
        applied=bool(message),
        message=message or f"action {command.action} is not known to this program: use a newer one",
        batch_seq=batch_seq,
        frozen=control.frozen,
    )
    return cloud_event(topic, command.model, command.command_id, result)

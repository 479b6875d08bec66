"""Commands to the sole writer: read from the control topic like any record, answered by an event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import orjson
from google.protobuf.message import DecodeError

from protos.events_pb2 import (
    COMMAND_ACTION_FREEZE,
    COMMAND_ACTION_LEARN_MISSED,
    COMMAND_ACTION_RESUME,
    COMMAND_ACTION_ROLLBACK,
    Command,
    CommandResult,
)
from state.errors import RowsExhaustedError
from state.store import CONTROL_MEMO, ROLLBACK_MEMO, Head, OutboxRecord, TopicPartition, VersionId
from stream import exclusion
from stream.cloud_events import cloud_event
from stream.config import LearnerSettings
from stream.dead_letters import dead_letters
from stream.effects import Effects
from stream.events import Records, Rejected

COMMAND_BYTES_MAX = 64 << 10

Offsets = Mapping[int, int]
"""Next offset of interactions, by partition."""


def offsets_in(topic: str, offsets: Mapping[TopicPartition, int]) -> Offsets:
    """Those of one topic, by partition."""
    return {where.partition: at for where, at in offsets.items() if where.topic == topic}


@dataclass(frozen=True, slots=True)
class Control:
    """Whether anything is learnt; part of the state.

    `frozen`: a command said so. `paused`: the reason of the drift event that did; empty where none has.
    `missed_from`: from which on nothing has been learnt; none while learning. `seen_through`: up to which
    interactions were judged when they were read first, and missed; none once all were read again.
    `excluded`: interactions that are passed over, whenever they are read.
    """

    frozen: bool = False
    paused: str = ""
    missed_from: Offsets = field(default_factory=dict)
    seen_through: Offsets = field(default_factory=dict)
    excluded: exclusion.Ranges = field(default_factory=dict)

    @property
    def learns(self) -> bool:
        """Whether nothing keeps it from learning."""
        return not self.frozen and not self.paused

    def missed(self, here: Offsets) -> int:
        """How many records have passed `here` since learning stopped."""
        return sum(here[partition] - at for partition, at in self.missed_from.items())

    def stop(self, here: Offsets, *, frozen: bool = False, paused: str = "") -> "Control":
        """Learn nothing from `here` on, unless that is so already, for one more reason."""
        missed = here if self.learns else self.missed_from
        return replace(self, frozen=self.frozen or frozen, paused=paused or self.paused, missed_from=missed)

    def resume(self) -> "Control":
        """Learn what comes; what was missed is let go."""
        return replace(self, frozen=False, paused="", missed_from={})

    def unpause(self) -> "Control":
        """The same without the pause."""
        return replace(self, paused="") if self.frozen else self.resume()

    def begin(self, here: Offsets, *, anew: bool) -> "Control":
        """As a run begins that reads from `here`: of a log that is read `anew` nothing is known."""
        known = replace(self, missed_from={}, seen_through={}, excluded={}) if anew else self
        return replace(known, missed_from={} if self.learns else {**here, **known.missed_from})

    def learn_missed(self, here: Offsets) -> tuple["Control", Offsets]:
        """Learn what comes, first what was missed before `here`; from where that is to be read."""
        seen = {partition: max(at, self.seen_through.get(partition, 0)) for partition, at in here.items()}
        return replace(self.resume(), seen_through=seen), {**here, **self.missed_from}

    def reach(self, here: Offsets) -> "Control":
        """The same where interactions before `here` have been read."""
        seen = {where: through for where, through in self.seen_through.items() if through > here[where]}
        return replace(self, seen_through=seen)

    def pack(self) -> bytes:
        """As JSON."""
        return orjson.dumps(self, option=orjson.OPT_NON_STR_KEYS)

    @classmethod
    def restore(cls, packed: bytes) -> "Control":
        """Inverse of `pack`; nothing set yet where there is nothing stored."""
        stored = orjson.loads(packed or b"{}")
        missed_from, seen_through = (
            {int(partition): offset for partition, offset in stored.get(name, {}).items()}
            for name in ("missed_from", "seen_through")
        )
        excluded = {
            int(partition): [(first, following) for first, following in ranges]
            for partition, ranges in stored.get("excluded", {}).items()
        }
        return cls(stored.get("frozen", False), stored.get("paused", ""), missed_from, seen_through, excluded)


def rollback_in(head: Head) -> Command | None:
    """The command of a rollback that is to be carried out, if one is."""
    packed = head.memo.get(ROLLBACK_MEMO)
    return Command.FromString(packed) if packed else None


class ControlHandler:
    """Implements `stream.effects.Handler`. `state` is what commands and pauses have set."""

    def __init__(
        self,
        settings: LearnerSettings,
        state: Control,
        here: Callable[[], Offsets],
        obey: Callable[[Control], None],
        app_version: str,
    ) -> None:
        """`here`: where the state stands. `obey` is told of `state` now and whenever it is set anew."""
        self.topic = settings.topics.control
        self.state = state
        self._topics, self._model, self._app_version = settings.topics, settings.model.name, app_version
        self._here, self._obey, self._freeze = here, obey, settings.learning.freeze
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
        here, meant = self._here(), [each for each in commands if each.model == self._model]
        outcomes = carry_out(self.state, here, meant, freeze=self._freeze)
        answers = [
            answer(command, outcome.control, outcome.applied, outcome.message, self._topics.drift, batch_seq)
            for command, outcome in zip(meant, outcomes, strict=True)
            if not outcome.rollback
        ]
        state, there = (outcomes[-1].control, outcomes[-1].here) if outcomes else (self.state, here)
        rewind = there if there != here else {}
        asked = [command for command, outcome in zip(meant, outcomes, strict=True) if outcome.rollback]
        memo = {ROLLBACK_MEMO: asked[0].SerializeToString()} if asked else {}
        return Effects(outbox=(*answers, *letters), memo=memo, rewind=rewind) + self._set(state)

    def pause(self, reason: str, here: Offsets) -> Effects:
        """Learn nothing more from `here` on for a reason, or learn again where it is empty."""
        return self._set(self.state.stop(here, paused=reason) if reason else self.state.unpause())

    def reach(self, here: Offsets) -> Effects:
        """See `Control.reach`."""
        return self._set(self.state.reach(here))

    def begin(self, here: Offsets, *, anew: bool) -> Effects:
        """See `Control.begin`."""
        return self._set(self.state.begin(here, anew=anew))

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


class Outcome(NamedTuple):
    """What comes of a command: the state, where interactions are read from then, and what to say of it.

    A `rollback` is carried out between two micro-batches, and answered then.
    """

    control: Control
    here: Offsets
    applied: bool
    message: str
    rollback: bool = False


def carry_out(control: Control, here: Offsets, commands: Sequence[Command], *, freeze: bool) -> list[Outcome]:
    """Apply commands in turn, as interactions are read from `here`; `freeze` is that of the settings."""
    outcomes: list[Outcome] = []
    for command in commands:
        outcome = apply(control, here, command, freeze=freeze)
        if outcome.rollback and any(earlier.rollback for earlier in outcomes):
            outcome = Outcome(
                control, here, False, "another rollback has been asked for: wait for its answer"
            )
        outcomes.append(outcome)
        control, here = outcome.control, outcome.here
    return outcomes


def apply(control: Control, here: Offsets, command: Command, *, freeze: bool) -> Outcome:
    """What comes of one command."""
    if command.action == COMMAND_ACTION_FREEZE:
        message = "learning is frozen; events are consumed and counted but not learnt"
        return Outcome(control.stop(here, frozen=True), here, True, message)
    if command.action == COMMAND_ACTION_RESUME:
        return Outcome(control.resume(), here, True, "learning goes on")
    if command.action == COMMAND_ACTION_ROLLBACK:
        return _ask_for_rollback(control, here, command)
    if command.action != COMMAND_ACTION_LEARN_MISSED:
        message = f"action {command.action} is not known to this program: use a newer one"
        return Outcome(control, here, False, message)
    if freeze:
        message = "`learning.freeze` is set: take it out of the learner's settings, and start that again"
        return Outcome(control, here, False, message)
    resumed, there = control.learn_missed(here)
    return Outcome(resumed, there, True, f"learning goes on, from {control.missed(here):,} records ago")


def _ask_for_rollback(control: Control, here: Offsets, command: Command) -> Outcome:
    if not command.version and (command.exclude or command.drift_event_id):
        return Outcome(control, here, True, "going back to before what is excluded", rollback=True)
    try:
        version = VersionId.parse(command.version)
    except ValueError:
        message = f"{command.version!r} is no version: `livefactor versions list` shows which there are"
        return Outcome(control, here, False, message)
    return Outcome(control, here, True, f"going back to {version}", rollback=True)


def answer(
    command: Command, control: Control, applied: bool, message: str, topic: str, batch_seq: int
) -> OutboxRecord:
    """For whoever sent a command: whether it was applied, and what has been set since."""
    result = CommandResult(
        command_id=command.command_id,
        model=command.model,
        action=command.action,
        applied=applied,
        message=message,
        batch_seq=batch_seq,
        frozen=control.frozen,
    )
    return cloud_event(topic, command.model, command.command_id, result)

"""`livefactor control`: orders to the running learner, through the log."""

import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from livefactor.commands.state import reader_of
from livefactor.console import print_facts
from livefactor.options import ConfigOption, JsonOption, ReasonOption, SetOption, WaitOption, settings_of
from livefactor.settings import Settings
from state.errors import CommandUnansweredError

if TYPE_CHECKING:
    from protos.events_pb2 import Command, CommandResult
    from stream.kafka import KafkaSource

FLUSH_TIMEOUT_MS = 10_000

app = typer.Typer(help="Orders to the learner: freeze, resume, status.", no_args_is_help=True)


@app.command()
def freeze(
    reason: ReasonOption = "",
    timeout_s: WaitOption = 10.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Go on consuming and measuring, but learn nothing, until `resume`. Survives restarts."""
    from protos.events_pb2 import COMMAND_ACTION_FREEZE, Command

    command = Command(action=COMMAND_ACTION_FREEZE, reason=reason)
    order(settings_of(config, overrides), command, timeout_s, as_json)


@app.command()
def resume(
    learn_missed: Annotated[
        bool, typer.Option("--learn-missed", help="Learn first, from the log, what passed meanwhile.")
    ] = False,
    reason: ReasonOption = "",
    timeout_s: WaitOption = 10.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Learn again after `freeze`, or after a drift event paused learning."""
    from protos.events_pb2 import COMMAND_ACTION_LEARN_MISSED, COMMAND_ACTION_RESUME, Command

    action = COMMAND_ACTION_LEARN_MISSED if learn_missed else COMMAND_ACTION_RESUME
    order(settings_of(config, overrides), Command(action=action, reason=reason), timeout_s, as_json)


@app.command()
def status(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Show what commands have set and how far the model has come; reads the store, needs no learner."""
    from state.store import CONTROL_MEMO
    from stream.control import Control, offsets_in

    settings = settings_of(config, overrides)
    with reader_of(settings.state.directory) as reader:
        head = reader.head()
    control = Control.restore(head.memo.get(CONTROL_MEMO, b""))
    facts = {
        "model": settings.model.name,
        "frozen": control.frozen or settings.learning.freeze,
        "paused": control.paused or None,
        "missed": control.missed(offsets_in(settings.topics.interactions, head.offsets)),
        "batch_seq": head.batch_seq,
        "version": str(head.version),
        "applied_through_ms": min(
            (head.applied_through_ms.get(where, 0) for where in head.offsets), default=None
        ),
    }
    print_facts(facts, as_json)


def order(settings: Settings, command: "Command", timeout_s: float, as_json: bool) -> None:
    """Have the learner carry out a command, and print its answer. Exit code 1 where it could not."""
    result = send(settings, command, timeout_s)
    facts = {
        "applied": result.applied,
        "message": result.message,
        "frozen": result.frozen,
        "batch_seq": result.batch_seq,
        "command_id": result.command_id,
    }
    print_facts(facts, as_json)
    if not result.applied:
        raise typer.Exit(1)


def send(settings: Settings, command: "Command", timeout_s: float) -> "CommandResult":
    """Publish a command, with an id of its own, and wait for the learner's answer.

    1. Find the present end of the topic of answers.
    2. Publish the command, and see it acknowledged.
    3. Read answers from there until the one to this command comes.

    Raises CommandUnansweredError when none comes in time.
    """
    from stream.kafka import KafkaPublisher, KafkaSource, require_broker

    topics, model = settings.topics, settings.model.name
    command.command_id, command.model = str(uuid.uuid4()), model
    command.issued_ms = time.time_ns() // 1_000_000
    require_broker(settings.kafka)
    with closing(KafkaSource(settings.kafka, "livefactor.control", (topics.drift,))) as source:
        limits = source.limits(source.partitions())
        source.assign({partition: high for partition, (_, high) in limits.items()})
        with KafkaPublisher(settings.kafka) as publisher:
            publisher.publish(topics.control, model.encode(), command.SerializeToString())
            publisher.flush(FLUSH_TIMEOUT_MS)
        return _await_answer(source, command.command_id, timeout_s)


def _await_answer(source: "KafkaSource", command_id: str, timeout_s: float) -> "CommandResult":
    from protos.events_pb2 import CommandResult
    from stream.log_reader import polls

    deadline_s = time.monotonic() + timeout_s
    for polled in polls(source):
        for records in polled:
            for value, headers in zip(records.values, records.headers, strict=True):
                if value is None or dict(headers or ()).get("ce-type") != b"livefactor.v1.CommandResult":
                    continue
                result = CommandResult.FromString(value)
                if result.command_id == command_id:
                    return result
        if time.monotonic() > deadline_s:
            break
    raise CommandUnansweredError(
        f"no learner answered within {timeout_s:g} s: see that one runs for this model. The command "
        f"{command_id} stays in the log and will be carried out when one does"
    )

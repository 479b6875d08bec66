"""`livefactor learn`: the learner process."""

from typing import Annotated

import typer

from livefactor.logs import configure_logs
from livefactor.options import ConfigOption, SetOption, settings_of


def learn(
    until_end: Annotated[
        bool,
        typer.Option("--until-end", help="Stop once every partition has reached the end it had at start."),
    ] = False,
    standby: Annotated[
        bool,
        typer.Option("--standby", help="Wait, warmed up, while another learner owns the directory."),
    ] = False,
    accept_partitions: Annotated[
        bool,
        typer.Option(
            "--accept-partitions",
            help="Take in partitions that the topic has got since the last start. Partitions added while a "
            "learner runs end it; the next start with this flag reads them from their beginning.",
        ),
    ] = False,
    accept_topic: Annotated[
        bool,
        typer.Option(
            "--accept-topic",
            help="Add a topic that was deleted and created anew, or those of another cluster, to what was "
            "learnt: read them from their start. Otherwise a log that is not the known one is refused.",
        ),
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Run the learner: consume interactions, learn, and commit factors and offsets as one write.

    Runs until SIGTERM or Ctrl-C, then stops with everything durable. With --until-end it exits 0 after a
    durable commit of everything that was in the log when it started. One learner owns a state directory.
    """
    settings = settings_of(config, overrides)
    configure_logs()
    from stream.run import run_learner

    run_learner(
        settings,
        until_end=until_end,
        standby=standby,
        accept_partitions=accept_partitions,
        accept_topic=accept_topic,
    )

"""The `livefactor` command."""

import os
import sys

import typer

from livefactor.commands import (
    ask,
    control,
    demo,
    dlq,
    doctor,
    drift,
    drill,
    explain,
    learn,
    publish,
    replay,
    serve,
    settings,
    state,
    topics,
    tune,
    versions,
)
from livefactor.console import note
from state.errors import ConfigError, LivefactorError

EXIT_CODES = " ".join(
    (
        "Exit codes: 0 done (state verify: agrees) · 1 failed (state verify: differs) ·",
        "2 wrong settings or usage · 3 state verify: nothing to verify against · 130 interrupted.",
    )
)

app = typer.Typer(
    name="livefactor",
    help="Learn factors from a Kafka stream, durably and exactly once, and serve them over gRPC.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(learn.learn)
app.command()(serve.serve)
app.command()(publish.publish)
app.command()(replay.replay)
app.command()(tune.tune)
app.command()(ask.recommend)
app.command()(ask.score)
app.command()(ask.explain)
app.add_typer(topics.app, name="topics")
app.add_typer(dlq.app, name="dlq")
app.add_typer(state.app, name="state")
app.add_typer(versions.app, name="versions")
app.command()(versions.rollback)
app.add_typer(control.app, name="control")
app.add_typer(drift.app, name="drift")
app.command()(drill.drill)
app.command()(doctor.doctor)
app.command()(explain.explain_factors)
app.command()(settings.settings)


def main() -> None:
    """Run the command line; what Livefactor raises on purpose becomes one message and an exit code."""
    # Processes are many and each has one busy thread: a BLAS that takes every core only gets in their way.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except ConfigError as error:
        note(f"livefactor: wrong settings\n{error}")
        sys.exit(2)
    except LivefactorError as error:
        note(f"livefactor: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()

"""`livefactor topics`: the topics that Livefactor reads and writes."""

import typer

from livefactor.console import print_json, print_table
from livefactor.options import ConfigOption, JsonOption, SetOption, settings_of

app = typer.Typer(help="Create the Kafka topics, or check those that exist.", no_args_is_help=True)


@app.command()
def create(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Create the topics that do not exist, as [topics] says; those that exist are left as they are."""
    settings = settings_of(config, overrides)
    from stream.kafka import create_topics

    outcome = create_topics(settings.kafka, settings.topics)
    if as_json:
        print_json(dict(outcome))
    else:
        print_table(("topic", "outcome"), outcome)


@app.command()
def check(as_json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Check that the topics exist and are set up so that nothing is lost. Exit code 1 if one is not."""
    settings = settings_of(config, overrides)
    from stream.kafka import check_topics

    problems = check_topics(settings.kafka, settings.topics)
    if as_json:
        print_json({"problems": problems})
    else:
        print("\n".join(problems) if problems else "all topics are as they should be")
    if problems:
        raise typer.Exit(1)

"""`livefactor serve`: the scorer process."""

from livefactor.logs import configure_logs
from livefactor.options import ConfigOption, SetOption, settings_of
from livefactor.settings import Settings
from stream.lineage.identity import identity


def serve(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Run the scorer: follow the learner's store and answer gRPC until SIGTERM, then drain.

    Waits for a store that does not exist yet. The first line on standard output names the address.
    """
    from serving import server

    settings = settings_of(config, overrides)
    configure_logs()
    host = settings.serving.listen.rpartition(":")[0]
    server.run(
        settings.state,
        settings.serving,
        identity_of_scorer(settings),
        settings.topics.interactions,
        blends=settings.learning.blends,
        repeats=settings.learning.repeats,
        started=lambda port: print(f"listening on {host}:{port}", flush=True),
    )


def identity_of_scorer(settings: Settings) -> dict[str, object]:
    """What the store must have been made for, as far as answering depends on it."""
    facts = identity(settings)
    return {name: facts[name] for name in ("model", "rank", "feedback", "history_max")}

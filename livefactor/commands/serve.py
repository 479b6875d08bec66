"""`livefactor serve`: the scorer process."""

from functools import partial

from livefactor.logs import configure_logs
from livefactor.options import ConfigOption, SetOption, settings_of


def serve(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Run the scorer: follow the learner's store and answer gRPC until SIGTERM, then drain.

    Waits for a store that does not exist yet. The first line on standard output names the address.
    """
    from livefactor.commands.control import send
    from serving import server

    settings = settings_of(config, overrides)
    configure_logs()
    host = settings.serving.listen.rpartition(":")[0]
    server.run(
        settings.state,
        settings.serving,
        settings.model,
        settings.topics.interactions,
        partial(send, settings),
        started=lambda port: print(f"listening on {host}:{port}", flush=True),
    )

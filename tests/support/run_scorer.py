"""A scorer as a process of its own: `python run_scorer.py '<json>'`; the first line it prints is its port."""

import json
import sys

import structlog

from protos.events_pb2 import Command, CommandResult
from serving.config import ServingConfig
from serving.server import run
from state.config import ModelConfig, StateConfig
from state.errors import BrokerUnreachableError, ConfigError


def send(command: Command, _: float) -> CommandResult:
    """There is no broker."""
    raise BrokerUnreachableError(f"no broker for {command.command_id}")


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    arguments = json.loads(sys.argv[1])
    try:
        run(
            StateConfig(**arguments["state"]),
            ServingConfig(**arguments["serving"]),
            ModelConfig(**arguments["model"]),
            arguments["topic"],
            send,
            started=lambda port: print(port, flush=True),
        )
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

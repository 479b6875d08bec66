"""A scorer as a process of its own: `python run_scorer.py '<json>'`; the first line it prints is its port."""

import json
import sys

import structlog

from serving.config import ServingConfig
from serving.server import run
from state.config import ModelConfig, StateConfig
from state.errors import ConfigError


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    arguments = json.loads(sys.argv[1])
    try:
        run(
            StateConfig(**arguments["state"]),
            ServingConfig(**arguments["serving"]),
            ModelConfig(**arguments["model"]),
            arguments["topic"],
            started=lambda port: print(port, flush=True),
        )
    except ConfigError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

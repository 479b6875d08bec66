"""Logs of the long-running processes: on standard error, for people on a terminal, JSON lines otherwise."""

import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


def configure_logs() -> None:
    """Set up structlog once, at the start of a process."""
    watched = sys.stderr.isatty()
    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if watched
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )

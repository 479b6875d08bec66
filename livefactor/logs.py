"""Logs of the long-running processes: on standard error, for people on a terminal, JSON lines otherwise."""

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from livefactor.console import printable

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor


def _shown(_: object, __: str, facts: "EventDict") -> "EventDict":
    """Every text of a line as a terminal may see it."""
    return {name: printable(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}


def configure_logs() -> None:
    """Set up structlog once, at the start of a process, and let libraries' own lines look the same."""
    watched = sys.stderr.isatty()
    renderers: list[Processor] = (
        [_shown, structlog.dev.ConsoleRenderer()]
        if watched
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    stamps: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*stamps, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    foreign = logging.StreamHandler(sys.stderr)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
            foreign_pre_chain=stamps,
        )
    )
    logging.basicConfig(handlers=[foreign], level=logging.INFO)

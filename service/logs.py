"""Logs as JSON lines on stderr that hold no word of a complaint.

Of an exception only its type and the places it passed are written: its message may quote the text. Of other
libraries' records only the server's own are written in full, for the same reason.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import PurePath
from types import TracebackType
from typing import Any, TextIO, cast

import structlog
from structlog.types import EventDict, FilteringBoundLogger, Processor, WrappedLogger

# Loggers whose messages are about the process and never about a request's content.
_TRUSTED = ("service", "uvicorn")
_MOST_PLACES = 12
_MOST_CAUSES = 4


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send this process's logs of ``level`` (debug, info, warning, error) and above to ``stream``, else to stderr."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_exception_message,
    ]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _without_foreign_message],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.raiseExceptions = False  # a record that cannot be formatted would be printed with its arguments
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def get_logger() -> FilteringBoundLogger:
    """Return the service's logger; what is bound to the current request goes with every line."""
    return cast(FilteringBoundLogger, structlog.get_logger("service"))


def describe_exception(error: BaseException) -> dict[str, Any]:
    """Return the types of an exception and its causes, and the places it passed; never its message."""
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < _MOST_CAUSES:
        causes.append(_type_name(cause))
        cause = cause.__cause__ or cause.__context__
    return {"exception": _type_name(error), "causes": causes, "at": _places(error.__traceback__)}


def _type_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _places(start: TracebackType | None) -> list[str]:
    places = []
    for frame, line in traceback.walk_tb(start):
        path = PurePath(frame.f_code.co_filename)
        places.append(f"{'/'.join(path.parts[-2:])}:{line} {frame.f_code.co_name}")
    return places[-_MOST_PLACES:]


def _without_exception_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info:
        error = info[1] if isinstance(info, tuple) else sys.exc_info()[1] if info is True else info
        event.update(describe_exception(error) if isinstance(error, BaseException) else {})
    event.pop("stack_info", None)
    return event


def _without_foreign_message(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    if record.name.partition(".")[0] not in _TRUSTED:
        event["event"] = f"{PurePath(record.pathname).name}:{record.lineno} {record.funcName}"
    return event

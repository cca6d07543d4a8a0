"""The server process: ``python -m service.server`` serves until it is told to stop, then ends what it has begun."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from types import FrameType
from typing import Never

import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.logs import configure_logging
from service.metrics import SHARED_DIRECTORY
from service.settings import Settings, SettingsError, load_settings
from triage.configuration import ConfigurationError
from triage.taxonomy import load_taxonomy

BAD_SETTINGS = 2


def application() -> FastAPI:
    """Return a worker's application, from the settings in the environment."""
    settings = load_settings()
    configure_logging(settings.log_level)
    return create_app(settings)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way and return or exit with status 0.

    Raises ConfigurationError or OSError for a taxonomy that cannot be used. The environment of this process is set to
    the settings, by which the workers read them.
    """
    load_taxonomy(settings.taxonomy)
    configure_logging(settings.log_level)
    os.environ.update(settings.as_environment())
    # The server hands a signal on once it has stopped; without these the process would die of it.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    with ExitStack() as stack:
        if settings.workers > 1 and SHARED_DIRECTORY not in os.environ:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="triage-metrics-"))
            os.environ[SHARED_DIRECTORY] = directory
            stack.callback(os.environ.pop, SHARED_DIRECTORY)
        uvicorn.run(
            "service.server:application",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=settings.shutdown_timeout,
        )


def main() -> None:
    """Serve with the settings in the environment; exit with status 2 and a plain message when they cannot be used."""
    try:
        serve(load_settings())
    except (SettingsError, ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_SETTINGS)


def _leave(_signal: int, _frame: FrameType | None) -> Never:
    raise SystemExit(0)


if __name__ == "__main__":
    main()

"""What the commands share: progress, plain errors, exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

BAD_INPUT = 2
SOME_ROWS_BAD = 3
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> NoReturn:
    """Print ``message`` as an error and end with status 2."""
    stderr.print(f"error: {message}", markup=False)
    raise typer.Exit(BAD_INPUT)


@contextmanager
def explained() -> Iterator[None]:
    """Turn the errors that are written for people into one line and exit status 2."""
    from models.artifact import ArtifactError
    from service.settings import SettingsError
    from training.dataset import DatasetError
    from training.linking import HistoryError
    from training.tables import TableError
    from triage.configuration import ConfigurationError

    try:
        yield
    except (ArtifactError, ConfigurationError, DatasetError, HistoryError, SettingsError, TableError) as error:
        fail(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit(1) from None
    except OSError as error:
        fail(f"{error.filename or 'file'}: {error.strerror or error}")


@contextmanager
def bar(name: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error; yields what moves it on by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(name, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Show what is being done on standard error; yields what names the next step."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.elapsed:.0f} s"))
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task("read", total=None)
        yield lambda step: progress.update(task, description=step)

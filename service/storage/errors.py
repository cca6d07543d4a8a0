"""What storage may refuse or fail at; every message says what happened and what to do."""

from __future__ import annotations


class StorageError(RuntimeError):
    """The database cannot do what was asked; the message names the cause and the remedy, never any content."""


class StorageBusyError(StorageError):
    """Another process holds the database; trying again later may work."""


class StorageFullError(StorageError):
    """No room is left to write; nothing of the transaction was kept."""


class StorageUnavailableError(StorageError):
    """The database cannot be reached, opened or used as it is."""


class ConflictError(StorageError):
    """The change contradicts what is stored already."""


class NotFoundError(StorageError):
    """There is no such row, or the caller may not know of it."""


class CursorError(ValueError):
    """A page cursor that this service did not give out."""

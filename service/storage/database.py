"""The database: one engine a process, and sessions for reading and for writing.

SQLite runs with a write-ahead log and syncs every commit, so what was acknowledged survives a crash. A writing
session takes the write lock at its beginning: it waits for others there, and never fails half-way for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from service.storage.errors import StorageBusyError, StorageError, StorageFullError, StorageUnavailableError

WAIT_SECONDS = 10.0
# (error, words of SQLite's message, beginnings of PostgreSQL's SQLSTATE, what to say)
_KINDS: tuple[tuple[type[StorageError], tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        StorageFullError,
        ("database or disk is full",),
        ("53100",),
        "磁盘已满，本次没有写入；请清理磁盘或扩容后重发，此前已受理的不受影响。",
    ),
    (
        StorageBusyError,
        ("database is locked", "database table is locked"),
        ("55P03", "57014", "40001", "40P01", "53300"),
        "数据库被其他进程占用；请稍后重试，经常如此请检查是否有备份或其他程序长时间占用数据库。",
    ),
    (
        StorageUnavailableError,
        ("readonly database", "query_only"),
        ("25006",),
        "数据库只能读不能写；请检查数据目录和文件的属主与写权限。",
    ),
    (
        StorageUnavailableError,
        ("unable to open database",),
        ("08", "57P", "28", "3D"),
        "数据库打不开；请检查 TRIAGE_DATABASE 所指的位置、权限或数据库服务是否在运行。",
    ),
    (
        StorageUnavailableError,
        ("no such table", "no such column"),
        ("42P01", "42703"),
        "数据库的表与程序版本不符；请先运行 triage upgrade。",
    ),
    (
        StorageUnavailableError,
        ("disk image is malformed", "file is not a database", "disk i/o error"),
        ("58", "XX001", "XX002"),
        "数据库文件损坏或磁盘出错；请停止服务，检查磁盘，从备份恢复。",
    ),
)


class Database:
    """Where everything is kept; ``reading`` and ``writing`` are the only ways to a session."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._read_only = engine.execution_options(triage_write=False, postgresql_readonly=True)
        self._write = engine.execution_options(triage_write=True)

    @classmethod
    def open(cls, url: str, wait: float = WAIT_SECONDS) -> Database:
        """Return the database at an SQLAlchemy URL or a file path, waiting up to ``wait`` seconds for its lock.

        Raises StorageUnavailableError for an address that cannot be used, before anything is connected.
        """
        return cls(_create_engine(url if "://" in url else f"sqlite:///{url}", wait))

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Hand out a session that sees one state of the database and cannot change it."""
        with Session(self._read_only, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Hand out a session that commits when the block ends well, and keeps nothing when it raises."""
        with Session(self._write, expire_on_commit=False) as session, session.begin():
            # The lock is taken now, before the caller has read anything that another could change meanwhile.
            session.connection()
            yield session

    def flush_erased(self) -> None:
        """Empty SQLite's write-ahead log into the file, so that erased text stands in neither of them."""
        if self.engine.dialect.name == "sqlite":
            with closing(self.engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()


def _create_engine(address: str, wait: float) -> Engine:
    try:
        url = make_url(address)
        options: dict[str, Any] = {"json_serializer": _as_json, "hide_parameters": True}
        if url.get_backend_name() == "sqlite":
            if not url.database or url.database == ":memory:":
                raise StorageUnavailableError("数据库地址没有文件名；请写成文件路径，如 var/triage.db。")
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(url, connect_args={"timeout": wait, "isolation_level": None}, **options)
            event.listen(engine, "do_connect", lambda *_: _keep_private(Path(str(url.database))))
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        else:
            limits = f"-c lock_timeout={int(wait * 1000)} -c timezone=UTC"
            engine = create_engine(url, connect_args={"options": limits}, pool_pre_ping=True, **options)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise StorageUnavailableError(
            "数据库地址不可用；请写成文件路径，或 postgresql+psycopg://用户@主机/库名（须另装 psycopg）。"
        ) from error
    except OSError as error:
        raise StorageUnavailableError(f"数据目录不可用（{error.strerror}）；请检查路径和权限。") from error
    event.listen(engine, "handle_error", _explain)
    return engine


def _keep_private(path: Path) -> None:
    """Make a new file readable by its owner alone; SQLite gives its log the same rights."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageUnavailableError(f"数据库文件打不开（{error.strerror}）；请检查路径、权限和磁盘。") from error


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for setting in (
        *("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"),
        *("cache_size = -65536", "temp_store = MEMORY"),
    ):
        connection.execute(f"PRAGMA {setting}").close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("triage_write", True)
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if write else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _explain(context: ExceptionContext) -> None:
    error = context.original_exception
    message = str(error).lower()
    if "no such savepoint" in message and isinstance(error.__context__, StorageError):
        # SQLite gave up the whole transaction at the error before, its savepoints with it: that error is the news.
        raise type(error.__context__)(str(error.__context__)) from error
    state = str(getattr(error, "sqlstate", None) or "")
    # PostgreSQL gives no state for a connection that cannot be made at all.
    if not state and context.connection is None and context.engine and context.engine.dialect.name == "postgresql":
        state = "08"
    for kind, words, states, told in _KINDS:
        if any(word in message for word in words) or (state and state.startswith(states)):
            raise kind(told) from error


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

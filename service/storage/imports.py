"""Imports of files: how far each is, and the rows that could not be taken in.

``advance`` goes into the transaction that stores the rows, so an import cut off goes on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import audit
from service.storage.errors import ConflictError, NotFoundError
from service.storage.office_tables import BadRow, Import
from service.storage.pages import Order, Page, fetch_page

_ROWS = Order(BadRow.row, BadRow.id, int, descending=False)
_IMPORTS = Order(Import.started_at, Import.id)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong with one row, and what to do; never the value itself."""

    row: int
    field: str
    message: str
    remedy: str


def start(session: Session, file_digest: str, *, by: str, now: datetime, total: int | None = None) -> Import:
    """Return the import of the file with this digest, begun now or, after a crash, where it stopped."""
    job = session.scalar(select(Import).where(Import.file_digest == file_digest).with_for_update())
    if job is None:
        job = Import(file_digest=file_digest, total=total, by=by, started_at=now, changed_at=now)
        session.add(job)
        session.flush()
        audit.record(session, now, by, "import.start", f"import:{job.id}")
    elif job.state == "failed":
        job.state = "running"
    session.flush()
    return job


def advance(
    session: Session,
    import_id: int,
    rows: int,
    *,
    accepted: int,
    repeated: int,
    problems: Iterable[RowProblem],
    by: str,
    now: datetime,
    seen: int,
) -> Import:
    """Note that the next ``rows`` rows are through. ``seen`` is how many the caller took to be through before.

    Raises ConflictError when another worker has moved it meanwhile, so that no row counts twice.
    """
    job = get_import(session, import_id, lock=True)
    if job.state != "running" or job.done != seen:
        raise ConflictError(f"导入 {import_id} 正由另一进程办理；请等它结束，进度见导入记录。")
    bad = list(problems)
    job.done += rows
    job.accepted += accepted
    job.repeated += repeated
    job.bad += len({problem.row for problem in bad})
    job.changed_at = now
    session.add_all(
        BadRow(import_id=import_id, row=p.row, field=p.field, message=p.message, remedy=p.remedy) for p in bad
    )
    session.flush()
    audit.record(session, now, by, "import.rows", f"import:{import_id}", done=job.done, accepted=accepted)
    return job


def end(session: Session, import_id: int, *, failed: bool, by: str, now: datetime) -> Import:
    """Note that an import is through, or gave up and may be started again."""
    job = get_import(session, import_id, lock=True)
    job.state, job.changed_at = ("failed" if failed else "done"), now
    session.flush()
    audit.record(session, now, by, f"import.{job.state}", f"import:{import_id}")
    return job


def get_import(session: Session, import_id: int, *, lock: bool = False) -> Import:
    """Return an import and its progress. Raises NotFoundError."""
    job = session.get(Import, import_id, with_for_update=lock, populate_existing=True)
    if job is None:
        raise NotFoundError(f"没有编号为 {import_id} 的导入；请核对编号。")
    return job


def list_imports(session: Session, cursor: str | None, limit: int) -> Page[Import]:
    """Return a page of imports, latest first."""
    return fetch_page(session, select(Import), _IMPORTS, cursor, limit)


def bad_rows(session: Session, import_id: int, cursor: str | None, limit: int) -> Page[BadRow]:
    """Return a page of the rows not taken in, in file order."""
    return fetch_page(session, select(BadRow).where(BadRow.import_id == import_id), _ROWS, cursor, limit)

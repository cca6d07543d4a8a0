"""The audit log's rows. ``service.audit`` says what goes into them and checks the chain."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.storage.errors import StorageUnavailableError
from service.storage.office_tables import AuditEntry, AuditHead
from service.storage.pages import Order, Page, fetch_page

_ORDER = Order(AuditEntry.id, AuditEntry.id, int)
_SLICE = 1000


def lock_head(session: Session) -> AuditHead:
    """Return the end of the chain, held until the transaction ends so that entries never fork."""
    head = session.scalar(
        select(AuditHead).where(AuditHead.id == 1).with_for_update().execution_options(populate_existing=True)
    )
    if head is None:
        raise StorageUnavailableError("审计日志的末端记录不见了；请停止服务，运行 triage audit verify 后从备份恢复。")
    return head


def append(session: Session, head: AuditHead, entry: AuditEntry) -> None:
    """Add ``entry`` and move the head to it."""
    session.add(entry)
    head.last_id, head.last_hash = entry.id, entry.hash
    session.flush()


def head_of(session: Session) -> tuple[int, str] | None:
    """Return the number and hash that the last entry should have."""
    head = session.get(AuditHead, 1, populate_existing=True)
    return (head.last_id, head.last_hash) if head else None


def in_order(session: Session) -> Iterator[AuditEntry]:
    """Yield all entries, oldest first, without holding them all in memory."""
    last = -1
    while True:
        rows = session.scalars(
            select(AuditEntry).where(AuditEntry.id > last).order_by(AuditEntry.id).limit(_SLICE)
        ).all()
        if not rows:
            return
        for row in rows:
            yield row
            session.expunge(row)
        last = rows[-1].id


def list_entries(session: Session, subject: str | None, cursor: str | None, limit: int) -> Page[AuditEntry]:
    """Return a page of entries, newest first; of one ``subject`` (as ``complaint:12``) where given."""
    statement = select(AuditEntry)
    if subject is not None:
        statement = statement.where(AuditEntry.subject == subject)
    return fetch_page(session, statement, _ORDER, cursor, limit)

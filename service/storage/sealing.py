"""Turning the key: raw texts sealed anew with the current key, some at a time; cut off, it goes on with the rest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from service import audit
from service.crypto import KeyRing, KeyRingError
from service.storage.tables import Complaint


def reseal(session: Session, ring: KeyRing, limit: int, *, by: str, now: datetime) -> int:
    """Seal at most ``limit`` raw texts anew with the current key and return how many; 0 when none is left.

    Raises KeyRingError when an old key is missing.
    """
    old = [name for name in keys_in_use(session) if name != ring.current]
    if not old:
        return 0
    rows: Sequence[Complaint] = session.scalars(
        select(Complaint)
        .where(Complaint.key_id.in_(old))
        .order_by(Complaint.key_id, Complaint.id)
        .limit(limit)
        .options(undefer(Complaint.sealed))
        .with_for_update()
    ).all()
    for row in rows:
        if row.sealed is not None:
            row.sealed = ring.seal(ring.open(row.sealed, row.uid), row.uid)
            row.key_id = ring.current
    session.flush()
    audit.record(session, now, by, "key.reseal", f"key:{ring.current}", texts=len(rows))
    return len(rows)


def keys_in_use(session: Session) -> dict[str, int]:
    """Return how many raw texts each key has sealed."""
    counts = session.execute(
        select(Complaint.key_id, func.count()).where(Complaint.key_id.is_not(None)).group_by(Complaint.key_id)
    )
    return {name: count for name, count in counts if name is not None}


def check_ring(session: Session, ring: KeyRing) -> None:
    """Raise KeyRingError when a text is sealed with a key that the ring lacks, as after a lost key file."""
    missing = [name for name in keys_in_use(session) if name not in ring.key_ids]
    if missing:
        raise KeyRingError(f"密钥文件里没有库中原文所用的密钥 {'、'.join(missing)}；请从备份恢复密钥文件后再启动。")

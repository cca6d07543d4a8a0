"""API keys' rows. ``service.access`` makes, checks and revokes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.storage.office_tables import ApiKey


def add(session: Session, key: ApiKey) -> ApiKey:
    """Store a key and return it with its number."""
    session.add(key)
    session.flush()
    return key


def by_prefix(session: Session, prefix: str) -> ApiKey | None:
    """Return the key that begins so, revoked or not."""
    return session.scalar(select(ApiKey).where(ApiKey.prefix == prefix))


def by_id(session: Session, key_id: int) -> ApiKey | None:
    """Return the key of this number, revoked or not."""
    return session.get(ApiKey, key_id, with_for_update=True)


def list_keys(session: Session) -> Sequence[ApiKey]:
    """Return all keys, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def count_valid(session: Session, role: str) -> int:
    """Return how many keys of a role are not revoked."""
    statement = select(func.count()).select_from(ApiKey).where(ApiKey.role == role, ApiKey.revoked_at.is_(None))
    return session.scalar(statement) or 0


def mark_used(session: Session, key_id: int, *, now: datetime) -> None:
    """Note that a key was used."""
    key = session.get(ApiKey, key_id)
    if key is not None:
        key.used_at = now

"""Erasing texts: of matters closed long ago, or at a person's request. Counts and dates stay as they were."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service import audit
from service.storage.errors import NotFoundError
from service.storage.matters import active_membership
from service.storage.tables import Complaint, Event, Matter, Membership

REASONS = ("request", "mistake", "retention")
ERASED = ""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many matters and complaints lost their texts in this call."""

    matters: int
    complaints: int


def erase_due(session: Session, now: datetime, after_days: int, *, limit: int = 100) -> Erased:
    """Erase the texts of up to ``limit`` matters closed over ``after_days`` days ago; call until it does none."""
    if after_days < 1:
        raise ValueError(f"after_days {after_days}: texts are kept for 1 day or more after closing; pass more")
    due = session.scalars(
        select(Matter)
        .where(
            Matter.stage == "closed",
            Matter.closed_at < now - timedelta(days=after_days),
            Matter.erased_at.is_(None),
            Matter.merged_into.is_(None),
        )
        .order_by(Matter.closed_at, Matter.id)
        .limit(limit)
        .with_for_update()
    ).all()
    count = 0
    for matter in due:
        inside = _inside(session, matter.id)
        _forget_submitters(session, inside)
        _erase_texts(session, [row.id for row in inside if row.erased_at is None], now)
        matter.erased_at = now
        session.execute(update(Event).where(Event.matter_id == matter.id).values(note=None))
        count += len(inside)
        session.flush()
        audit.record(
            session,
            now,
            audit.SYSTEM,
            "matter.erase",
            f"matter:{matter.id}",
            reason="retention",
            complaints=len(inside),
        )
    return Erased(len(due), count)


def erase_complaint(session: Session, complaint_id: int, reason: str, *, by: str, now: datetime) -> bool:
    """Erase one complaint's texts and cut its tie to the submitter; False when that was done before.

    ``reason`` is one of REASONS. All complaints of this submitter in the same matter keep standing for one person.
    Raises NotFoundError, ValueError.
    """
    if reason not in REASONS:
        raise ValueError(f"reason {reason[:40]}: unknown; use one of {', '.join(REASONS)}")
    complaint = session.get(Complaint, complaint_id, with_for_update=True, populate_existing=True)
    if complaint is None:
        raise NotFoundError(f"没有编号为 {complaint_id} 的来件；请核对编号。")
    if complaint.erased_at is not None:
        return False
    membership = active_membership(session, complaint_id)
    beside = _inside(session, membership.matter_id) if membership else [complaint]
    _forget_submitters(session, [row for row in beside if row.submitter_ref == complaint.submitter_ref])
    _erase_texts(session, [complaint_id], now)
    audit.record(session, now, by, "complaint.erase", f"complaint:{complaint_id}", reason=reason)
    return True


def _inside(session: Session, matter_id: int) -> Sequence[Complaint]:
    return session.scalars(
        select(Complaint)
        .join(Membership, Membership.complaint_id == Complaint.id)
        .where(Membership.matter_id == matter_id, Membership.state == "active")
    ).all()


def _forget_submitters(session: Session, complaints: Collection[Complaint]) -> None:
    """Put random stand-ins for the keyed hashes: as many different ones as before, tied to nobody."""
    stand_ins: dict[str, str] = {}
    for complaint in complaints:
        if complaint.submitter_ref is not None:
            complaint.submitter_ref = stand_ins.setdefault(complaint.submitter_ref, f"erased-{uuid4().hex}")
    session.flush()


def _erase_texts(session: Session, complaint_ids: Collection[int], now: datetime) -> None:
    session.execute(
        update(Complaint)
        .where(Complaint.id.in_(complaint_ids))
        .values(sealed=None, key_id=None, title=ERASED, body=ERASED, external_id=None, erased_at=now)
        .execution_options(synchronize_session="fetch")
    )
    session.execute(update(Event).where(Event.complaint_id.in_(complaint_ids)).values(note=None))
    # Reasons quote words of the redacted text.
    session.execute(update(Membership).where(Membership.complaint_id.in_(complaint_ids)).values(reasons=[]))

"""What a matter's columns derive from its complaints and events: counts, stage and the next duty."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Integer, func, or_, select
from sqlalchemy.orm import Session

from service.storage.errors import NotFoundError
from service.storage.tables import Complaint, Event, Matter, Membership
from triage.clock import Clock, ClockLimits, HandlingEvent, read_clock


def lock_matter(session: Session, matter_id: int) -> Matter:
    """Return a matter, held until the transaction ends. Raises NotFoundError."""
    matter = session.get(Matter, matter_id, with_for_update=True, populate_existing=True)
    if matter is None:
        raise NotFoundError(f"没有编号为 {matter_id} 的事项；请核对编号。")
    return matter


def refresh(session: Session, matter: Matter, limits: ClockLimits, now: datetime) -> Clock:
    """Bring counts, stage and duty of a matter up to its complaints and events, and return its clock."""
    session.flush()
    complaints, first, last, most, confidential, danger = session.execute(
        select(
            func.count(),
            func.min(Complaint.received_at),
            func.max(Complaint.received_at),
            func.max(Complaint.headcount),
            func.max(Complaint.confidential.cast(Integer)),
            func.max(Complaint.danger.cast(Integer)),
        )
        .join(Membership, Membership.complaint_id == Complaint.id)
        .where(Membership.matter_id == matter.id, Membership.state == "active")
    ).one()
    matter.complaints, matter.most_people = complaints, most or 1
    if complaints:
        matter.opened_at, matter.last_received_at = first, last
        matter.confidential, matter.danger = bool(confidential), bool(danger)
    clock = clock_of(session, matter, limits, now)
    owed = clock.owed if complaints else None
    matter.stage, matter.closed_at = clock.stage, clock.closed_at
    matter.duty, matter.due_on = (owed.kind, owed.due) if owed else (None, None)
    session.flush()
    return clock


def clock_of(session: Session, matter: Matter, limits: ClockLimits, now: datetime) -> Clock:
    """Return the statutory clock of a matter at ``now``, nothing changed."""
    channel = session.scalar(
        select(Complaint.channel)
        .join(Membership, Membership.complaint_id == Complaint.id)
        .where(Membership.matter_id == matter.id, Membership.state == "active")
        .order_by(Complaint.received_at, Complaint.id)
        .limit(1)
    )
    steps = [HandlingEvent(event.kind, event.at, event.days) for event in events_of(session, matter.id)]
    return read_clock(matter.opened_at, steps, limits, now, channel or "web")


def events_of(session: Session, matter_id: int) -> list[Event]:
    """Return the events of a matter, of those merged into it and of its complaints, oldest first."""
    inside = select(Membership.complaint_id).where(Membership.matter_id == matter_id, Membership.state == "active")
    statement = (
        select(Event)
        .where(or_(Event.matter_id.in_(list(_with_merged(session, matter_id))), Event.complaint_id.in_(inside)))
        .order_by(Event.at, Event.id)
    )
    return list(session.scalars(statement))


def _with_merged(session: Session, matter_id: int) -> Iterator[int]:
    found = [matter_id]
    while found:
        yield from found
        found = list(session.scalars(select(Matter.id).where(Matter.merged_into.in_(found))))

"""Steps of handling, from officers or from the bureau's case system; the same step sent twice is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import audit
from service.storage.duties import events_of, lock_matter, refresh
from service.storage.errors import NotFoundError
from service.storage.matters import active_membership
from service.storage.tables import Complaint, Event
from triage.clock import Clock, ClockLimits, HandlingEvent

__all__ = ["NewEvent", "Recorded", "add_to_complaint", "add_to_matter", "events_of"]

CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A step of one of triage.clock.EVENT_KINDS; ``note`` is redacted, ``days`` an extension's length."""

    kind: str
    at: datetime
    note: str | None = None
    days: int | None = None

    def __post_init__(self) -> None:
        HandlingEvent(self.kind, self.at, self.days)


@dataclass(frozen=True, slots=True)
class Recorded:
    """The event stored, whether it was there already, and the matter's clock after it (None without a matter)."""

    event: Event
    repeated: bool
    clock: Clock | None


def add_to_complaint(
    session: Session, complaint_id: int, new: NewEvent, *, by: str, now: datetime, limits: ClockLimits
) -> Recorded:
    """Record a step on a complaint and move the clock of the matter that it is in.

    Raises NotFoundError, and ValueError for a step that has not happened yet.
    """
    if session.get(Complaint, complaint_id) is None:
        raise NotFoundError(f"没有编号为 {complaint_id} 的来件；请核对编号。")
    membership = active_membership(session, complaint_id)
    return _add(session, new, by, now, limits, complaint_id, membership.matter_id if membership else None)


def add_to_matter(
    session: Session, matter_id: int, new: NewEvent, *, by: str, now: datetime, limits: ClockLimits
) -> Recorded:
    """Record a step on a whole matter and move its clock. Raises NotFoundError, ValueError as above."""
    return _add(session, new, by, now, limits, None, matter_id)


def _add(
    session: Session,
    new: NewEvent,
    by: str,
    now: datetime,
    limits: ClockLimits,
    complaint_id: int | None,
    matter_id: int | None,
) -> Recorded:
    if new.at > now + CLOCK_SKEW:
        raise ValueError(f"at {new.at.isoformat()}: still to come; send a step once it has happened")
    matter = lock_matter(session, matter_id) if matter_id is not None else None
    while matter is not None and matter.merged_into is not None:
        matter = lock_matter(session, matter.merged_into)
    owner = None if complaint_id is not None else matter_id
    event = Event(
        complaint_id=complaint_id,
        matter_id=owner,
        kind=new.kind,
        at=new.at,
        days=new.days,
        by=by,
        recorded_at=now,
        note=new.note,
    )
    repeated = False
    try:
        with session.begin_nested():
            session.add(event)
    except IntegrityError:
        subject = Event.complaint_id == complaint_id if owner is None else Event.matter_id == owner
        event = session.scalars(select(Event).where(subject, Event.kind == new.kind, Event.at == new.at)).one()
        repeated = True
    else:
        subject_name = f"complaint:{complaint_id}" if owner is None else f"matter:{owner}"
        audit.record(session, now, by, f"event.{new.kind}", subject_name, event=event.id)
    clock = refresh(session, matter, limits, max(now, new.at)) if matter is not None else None
    return Recorded(event, repeated, clock)

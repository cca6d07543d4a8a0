"""Matters and why each complaint is in one. Memberships are ended, never changed, so every decision stays on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service import audit
from service.storage.duties import lock_matter, refresh
from service.storage.errors import ConflictError, NotFoundError
from service.storage.pages import Order, Page, fetch_page
from service.storage.tables import Complaint, Matter, Membership
from triage.clock import ClockLimits, read_clock

ORDERS = {
    "recent": Order(Matter.last_received_at, Matter.id),
    "due": Order(Matter.due_on, Matter.id, date.fromisoformat, descending=False),
}


@dataclass(frozen=True, slots=True)
class Link:
    """Why a complaint goes where it goes: the decision, its score, its reasons (JSON-ready), who made it and when."""

    decision: str
    by: str
    at: datetime
    score: float | None = None
    reasons: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class MatterFilter:
    """What a list is narrowed to; None means all. ``due_before`` itself is not in the list."""

    stage: str | None = None
    topic: str | None = None
    region: str | None = None
    institution_key: str | None = None
    office: str | None = None
    duty: str | None = None
    due_before: date | None = None
    fewest_complaints: int = 1


def open_matter(
    session: Session, complaint: Complaint, link: Link, limits: ClockLimits, *, office: str | None
) -> Matter:
    """Begin a matter with this complaint and return it; the complaint leaves the matter that it was in."""
    matter = new_matter(complaint, office)
    session.add(matter)
    session.flush()
    attach(session, complaint, matter.id, link, limits)
    return matter


def open_matters(
    session: Session, fresh: Sequence[tuple[Complaint, Link, str | None]], limits: ClockLimits, now: datetime
) -> list[Matter]:
    """Begin a matter with each of these complaints (with its link and office) at once, as an import does.

    Fast, because the complaints must be fresh: in no matter and without events. The audit entry is the caller's.
    """
    made = []
    for complaint, _, office in fresh:
        clock = read_clock(complaint.received_at, (), limits, max(now, complaint.received_at), complaint.channel)
        matter = new_matter(complaint, office)
        matter.duty, matter.due_on = clock.duties[0].kind, clock.duties[0].due
        made.append(matter)
    session.add_all(made)
    session.flush()
    session.add_all(
        _membership(complaint.id, matter.id, link, "active")
        for matter, (complaint, link, _) in zip(made, fresh, strict=True)
    )
    session.flush()
    return made


def new_matter(complaint: Complaint, office: str | None) -> Matter:
    """Return the matter that begins with a complaint, not stored yet."""
    return Matter(
        opened_at=complaint.received_at,
        last_received_at=complaint.received_at,
        complaints=1,
        most_people=complaint.headcount or 1,
        topic=complaint.topic,
        region=complaint.region,
        institution=complaint.institution,
        institution_key=complaint.institution_key,
        office=office,
        confidential=complaint.confidential,
        danger=complaint.danger,
    )


def attach(session: Session, complaint: Complaint, matter_id: int, link: Link, limits: ClockLimits) -> Membership:
    """Put a complaint into a matter, out of the one that it was in. Raises ConflictError, NotFoundError."""
    earlier = active_membership(session, complaint.id)
    touched = sorted({matter_id} | ({earlier.matter_id} if earlier else set()))
    matters = {number: lock_matter(session, number) for number in touched}
    if matters[matter_id].merged_into is not None:
        raise ConflictError(f"事项 {matter_id} 已并入 {matters[matter_id].merged_into}；请改用后者的编号。")
    if earlier is not None and earlier.matter_id == matter_id:
        return earlier
    membership = _replace(session, complaint.id, matter_id, link, earlier)
    for matter in matters.values():
        refresh(session, matter, limits, link.at)
    audit.record(session, link.at, link.by, f"matter.{link.decision}", f"matter:{matter_id}", complaint=complaint.id)
    return membership


def move(session: Session, earlier: Membership, matter_id: int, link: Link) -> Membership:
    """Replace an active membership by one in another matter; counts and audit are the caller's."""
    return _replace(session, earlier.complaint_id, matter_id, link, earlier)


def suggest(session: Session, complaint: Complaint, matter_id: int, link: Link) -> Membership:
    """Ask an officer whether a complaint belongs to a matter."""
    membership = _membership(complaint.id, matter_id, link, "suggested")
    session.add(membership)
    session.flush()
    return membership


def answer_suggestion(
    session: Session, membership_id: int, belongs: bool, *, by: str, now: datetime, limits: ClockLimits
) -> None:
    """Settle a suggestion: attach the complaint, or let it be. Raises NotFoundError, ConflictError when settled."""
    asked = session.get(Membership, membership_id, with_for_update=True, populate_existing=True)
    if asked is None:
        raise NotFoundError(f"没有编号为 {membership_id} 的归并建议；请核对编号。")
    if asked.state != "suggested":
        raise ConflictError(f"归并建议 {membership_id} 已经有了答复；请刷新后再看。")
    asked.state, asked.ended_at = ("ended" if belongs else "declined"), now
    if belongs:
        complaint = session.get_one(Complaint, asked.complaint_id)
        attach(session, complaint, asked.matter_id, Link("officer", by, now, asked.score, tuple(asked.reasons)), limits)
    else:
        audit.record(session, now, by, "matter.decline", f"matter:{asked.matter_id}", complaint=asked.complaint_id)


def get_matter(session: Session, matter_id: int, *, confidential: bool) -> Matter:
    """Return a matter; where it was merged, ``merged_into`` names the one to look at. Raises NotFoundError."""
    matter = session.get(Matter, matter_id, populate_existing=True)
    if matter is None or (matter.confidential and not confidential):
        raise NotFoundError(f"没有编号为 {matter_id} 的事项；请核对编号。")
    return matter


def list_matters(
    session: Session,
    wanted: MatterFilter,
    order: Literal["recent", "due"],
    cursor: str | None,
    limit: int,
    *,
    confidential: bool,
) -> Page[Matter]:
    """Return a page of matters, last touched first or (``due``) those that owe something, soonest due first."""
    statement = select(Matter).where(
        Matter.merged_into.is_(None), Matter.complaints >= max(1, wanted.fewest_complaints)
    )
    for field in ("stage", "topic", "region", "institution_key", "office", "duty"):
        value = getattr(wanted, field)
        if value is not None:
            statement = statement.where(getattr(Matter, field) == value)
    if order == "due":
        statement = statement.where(Matter.due_on.is_not(None))
    if wanted.due_before is not None:
        statement = statement.where(Matter.due_on < wanted.due_before)
    if not confidential:
        statement = statement.where(Matter.confidential.is_(False))
    return fetch_page(session, statement, ORDERS[order], cursor, limit)


def members(session: Session, matter_id: int) -> Sequence[tuple[Membership, Complaint]]:
    """Return who is in a matter and why, first received first, then the suggested."""
    rows = session.execute(
        select(Membership, Complaint)
        .join(Complaint, Complaint.id == Membership.complaint_id)
        .where(Membership.matter_id == matter_id, Membership.state.in_(("active", "suggested")))
        .order_by(Membership.state, Complaint.received_at, Complaint.id)
    )
    return [(membership, complaint) for membership, complaint in rows]


def active_membership(session: Session, complaint_id: int) -> Membership | None:
    """Return why a complaint is where it is, None when it is in no matter yet."""
    return session.scalar(
        select(Membership).where(Membership.complaint_id == complaint_id, Membership.state == "active")
    )


def distinct_submitters(session: Session, matter_id: int) -> int:
    """Return how many submitters known by a contact a matter has: a number, the only thing told about them."""
    count = session.scalar(
        select(func.count(Complaint.submitter_ref.distinct()))
        .join(Membership, Membership.complaint_id == Complaint.id)
        .where(Membership.matter_id == matter_id, Membership.state == "active")
    )
    return count or 0


def _replace(session: Session, complaint_id: int, matter_id: int, link: Link, earlier: Membership | None) -> Membership:
    if earlier is not None:
        earlier.state, earlier.ended_at = "ended", link.at
        session.flush()
    membership = _membership(complaint_id, matter_id, link, "active")
    membership.replaces = earlier.id if earlier is not None else None
    session.add(membership)
    session.flush()
    return membership


def _membership(complaint_id: int, matter_id: int, link: Link, state: str) -> Membership:
    return Membership(
        complaint_id=complaint_id,
        matter_id=matter_id,
        decision=link.decision,
        state=state,
        score=link.score,
        reasons=list(link.reasons),
        by=link.by,
        at=link.at,
    )

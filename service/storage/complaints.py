"""Complaints: taken in once however often they are sent, listed by what they are about, their raw text read on record.

``confidential`` says, in every function that reads, whether the caller may see confidential complaints; those it
may not see are as if they were not there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import Select, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer

from service import audit
from service.crypto import KeyRing
from service.storage.errors import ConflictError, NotFoundError
from service.storage.pages import Order, Page, fetch_page
from service.storage.tables import Complaint, Membership
from service.storage.tags import put_in_force

if TYPE_CHECKING:
    from triage.tagging import Tags

_ORDER = Order(Complaint.received_at, Complaint.id)


@dataclass(frozen=True, slots=True)
class NewComplaint:
    """A complaint at the door. ``redacted_*`` hold no personal data; ``submitter_ref`` is a keyed hash.

    ``content`` is the request as the client sent it: by it a repeated request is told from another one under the
    same key. Where it is empty the fields themselves serve.
    """

    channel: str
    received_at: datetime
    title: str
    body: str
    redacted_title: str
    redacted_body: str
    headcount: int | None = None
    submitter_ref: str | None = None
    region: str | None = None
    institution: str | None = None
    institution_key: str | None = None
    confidential: bool = False
    danger: bool = False
    external_id: str | None = None
    idempotency_key: str | None = None
    content: bytes = b""

    def as_sent(self) -> bytes:
        """Return what is compared when it comes again."""
        fields = (self.channel, self.title, self.body, self.headcount, self.submitter_ref, self.region)
        return self.content or json.dumps([*fields, self.received_at.timestamp(), self.institution]).encode()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The complaint stored, and whether it was there already."""

    complaint: Complaint
    repeated: bool


@dataclass(frozen=True, slots=True)
class RawText:
    """A complaint's text as it came in."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class ComplaintFilter:
    """What a list is narrowed to; None means all. ``received_to`` itself is not in the list."""

    topic: str | None = None
    purpose: str | None = None
    channel: str | None = None
    region: str | None = None
    institution_key: str | None = None
    needs_review: bool | None = None
    danger: bool | None = None
    matter_id: int | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None


def accept(
    session: Session, new: NewComplaint, ring: KeyRing, *, by: str, now: datetime, tags: Tags | None = None
) -> Accepted:
    """Store a complaint, or find the one stored when the same was sent before.

    The same Idempotency-Key from the same caller, or the same external id in a channel, is the same complaint.
    Raises ConflictError when that one had other content.
    """
    accepted = accept_unlogged(session, new, ring, by=by, now=now, tags=tags)
    if not accepted.repeated:
        audit.record(session, now, by, "complaint.accept", f"complaint:{accepted.complaint.id}")
    return accepted


def accept_unlogged(
    session: Session, new: NewComplaint, ring: KeyRing, *, by: str, now: datetime, tags: Tags | None = None
) -> Accepted:
    """Do as ``accept`` but leave the audit entry to the caller, who writes one for a whole slice of an import."""
    digest = ring.digest(new.as_sent())
    earlier = _earlier(session, new, by)
    if earlier is None:
        row = _row(new, ring, digest, by, now)
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:
            # Another worker was faster with the same one; anything else is a mistake of the caller's.
            earlier = _earlier(session, new, by)
            if earlier is None:
                raise
        else:
            if tags is not None:
                put_in_force(session, row, tags, now=now)
            return Accepted(row, repeated=False)
    if earlier.content_digest != digest:
        raise ConflictError("同一 Idempotency-Key 或外部编号此前已用于内容不同的来件；请换一个编号，或原样重发。")
    return Accepted(earlier, repeated=True)


def get_complaint(session: Session, complaint_id: int, *, confidential: bool) -> Complaint:
    """Return a complaint, its texts redacted. Raises NotFoundError."""
    return _get(session, select(Complaint).where(Complaint.id == complaint_id), complaint_id, confidential)


def list_complaints(
    session: Session, wanted: ComplaintFilter, cursor: str | None, limit: int, *, confidential: bool
) -> Page[Complaint]:
    """Return a page of complaints, latest received first. Raises CursorError."""
    statement = select(Complaint)
    for field in ("topic", "purpose", "channel", "region", "institution_key", "needs_review", "danger"):
        value = getattr(wanted, field)
        if value is not None:
            statement = statement.where(getattr(Complaint, field) == value)
    if wanted.received_from is not None:
        statement = statement.where(Complaint.received_at >= wanted.received_from)
    if wanted.received_to is not None:
        statement = statement.where(Complaint.received_at < wanted.received_to)
    if wanted.matter_id is not None:
        inside = select(Membership.complaint_id).where(
            Membership.matter_id == wanted.matter_id, Membership.state == "active"
        )
        statement = statement.where(Complaint.id.in_(inside))
    if not confidential:
        statement = statement.where(Complaint.confidential.is_(False))
    return fetch_page(session, statement, _ORDER, cursor, limit)


def next_complaints(session: Session, after_id: int, limit: int) -> Sequence[Complaint]:
    """Return complaints in order of number from after ``after_id``, for work that passes over all of them."""
    return session.scalars(select(Complaint).where(Complaint.id > after_id).order_by(Complaint.id).limit(limit)).all()


def read_raw(
    session: Session, complaint_id: int, ring: KeyRing, *, by: str, now: datetime, confidential: bool
) -> RawText:
    """Return the text as it came in, and put the reading on record; needs a writing session.

    Raises NotFoundError when it was erased or may not be seen, KeyRingError when no key opens it.
    """
    statement = select(Complaint).where(Complaint.id == complaint_id).options(undefer(Complaint.sealed))
    row = _get(session, statement, complaint_id, confidential)
    if row.sealed is None:
        raise NotFoundError(f"来件 {complaint_id} 的原文已按规定删除；只有统计信息仍在。")
    title, body = json.loads(ring.open(row.sealed, row.uid))
    audit.record(session, now, by, "complaint.read_raw", f"complaint:{complaint_id}")
    return RawText(title, body)


def _get(session: Session, statement: Select[Complaint], complaint_id: int, confidential: bool) -> Complaint:
    row = session.scalar(statement.execution_options(populate_existing=True))
    if row is None or (row.confidential and not confidential):
        raise NotFoundError(f"没有编号为 {complaint_id} 的来件；请核对编号。")
    return row


def _earlier(session: Session, new: NewComplaint, by: str) -> Complaint | None:
    same = []
    if new.idempotency_key is not None:
        same.append((Complaint.accepted_by == by) & (Complaint.idempotency_key == new.idempotency_key))
    if new.external_id is not None:
        same.append((Complaint.channel == new.channel) & (Complaint.external_id == new.external_id))
    if not same:
        return None
    return session.scalars(select(Complaint).where(or_(*same)).order_by(Complaint.id)).first()


def _row(new: NewComplaint, ring: KeyRing, digest: str, by: str, now: datetime) -> Complaint:
    uid = uuid4().hex
    return Complaint(
        uid=uid,
        external_id=new.external_id,
        channel=new.channel,
        received_at=new.received_at,
        accepted_at=now,
        accepted_by=by,
        idempotency_key=new.idempotency_key,
        content_digest=digest,
        sealed=ring.seal(json.dumps([new.title, new.body], ensure_ascii=False), uid),
        key_id=ring.current,
        title=new.redacted_title,
        body=new.redacted_body,
        headcount=new.headcount,
        submitter_ref=new.submitter_ref,
        region=new.region,
        institution=new.institution,
        institution_key=new.institution_key,
        confidential=new.confidential,
        danger=new.danger,
    )

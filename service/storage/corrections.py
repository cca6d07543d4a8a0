"""Officers' corrections: in force at once, kept for training, never undone by a later model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import audit
from service.storage.complaints import get_complaint
from service.storage.duties import lock_matter, refresh
from service.storage.matters import active_membership
from service.storage.office_tables import Correction
from service.storage.pages import Order, Page, fetch_page
from service.storage.tables import Complaint
from triage.clock import ClockLimits
from triage.taxonomy import Taxonomy

FIELDS = ("topic", "purpose", "confidential", "danger", "headcount", "institution_key", "region")
_ORDER = Order(Correction.at, Correction.id)
Value = str | int | bool | None


def correct(
    session: Session,
    complaint_id: int,
    field: str,
    value: Value,
    *,
    by: str,
    now: datetime,
    taxonomy: Taxonomy,
    confidential: bool,
) -> Correction:
    """Set one of FIELDS of a complaint to the officer's answer and return the correction.

    A purpose that the taxonomy holds confidential makes the complaint so. Raises NotFoundError, and ValueError for a
    field or value that cannot be.
    """
    _check(field, value, taxonomy)
    complaint = get_complaint(session, complaint_id, confidential=confidential)
    correction = _apply(session, complaint, field, value, by, now)
    if field == "purpose" and taxonomy.purpose(str(value)).confidential and not complaint.confidential:
        _apply(session, complaint, "confidential", True, by, now)
    if field in ("topic", "purpose"):
        complaint.needs_review = False
    session.flush()
    membership = active_membership(session, complaint_id)
    if membership is not None and field in ("purpose", "confidential", "danger", "headcount"):
        refresh(session, lock_matter(session, membership.matter_id), ClockLimits.of(taxonomy), now)
    return correction


def corrected_fields(session: Session, complaint_id: int) -> tuple[str, ...]:
    """Return the fields that officers have corrected, which no model may change."""
    found = session.scalars(select(Correction.field).where(Correction.complaint_id == complaint_id).distinct())
    return tuple(sorted(found))


def corrections_of(session: Session, complaint_id: int) -> Sequence[Correction]:
    """Return a complaint's corrections, oldest first."""
    return session.scalars(
        select(Correction).where(Correction.complaint_id == complaint_id).order_by(Correction.id)
    ).all()


def list_corrections(
    session: Session, cursor: str | None, limit: int, *, since: datetime | None = None, confidential: bool
) -> Page[Correction]:
    """Return a page of corrections, latest first, made at or after ``since`` where given."""
    statement = select(Correction)
    if since is not None:
        statement = statement.where(Correction.at >= since)
    if not confidential:
        statement = statement.join(Complaint, Complaint.id == Correction.complaint_id).where(
            Complaint.confidential.is_(False)
        )
    return fetch_page(session, statement, _ORDER, cursor, limit)


def _apply(session: Session, complaint: Complaint, field: str, value: Value, by: str, now: datetime) -> Correction:
    correction = Correction(
        complaint_id=complaint.id,
        field=field,
        before=getattr(complaint, field),
        after=value,
        model=complaint.tags_model,
        by=by,
        at=now,
    )
    setattr(complaint, field, value)
    session.add(correction)
    session.flush()
    audit.record(session, now, by, "complaint.correct", f"complaint:{complaint.id}", field=field)
    return correction


def _check(field: str, value: Value, taxonomy: Taxonomy) -> None:
    known = {
        "topic": taxonomy.topic_codes,
        "purpose": tuple(purpose.code for purpose in taxonomy.purposes),
        "confidential": (True, False),
        "danger": (True, False),
    }
    if field not in FIELDS:
        raise ValueError(f"field {field}: cannot be corrected; use one of {', '.join(FIELDS)}")
    if field in known:
        right = value in known[field] and type(value) is type(known[field][0])
    elif field == "headcount":
        right = value is None or (type(value) is int and 0 < value < 1_000_000)
    else:
        right = value is None or (isinstance(value, str) and 0 < len(value) <= 200)
    if not right:
        raise ValueError(f"{field}: not a value that it can have; see the taxonomy for codes")

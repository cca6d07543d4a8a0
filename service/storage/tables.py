"""The tables about complaints and their matters. Times are UTC; nothing here can be looked up by submitter."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.base import Base, Code, Id, LongText, Name, Reference, one_of
from triage.clock import EVENT_KINDS, STAGES

DECISIONS = ("new", "attach", "suggest", "officer", "merge", "split", "undo")
MEMBERSHIP_STATES = ("active", "suggested", "declined", "ended")
RISK_KINDS = ("repeat", "collective")
_KEEP_IDS = {"sqlite_autoincrement": True}  # the number of a row is never given to another


class Complaint(Base):
    """One text that came in. ``sealed`` is the raw title and body, encrypted; the other texts are redacted."""

    __tablename__ = "complaints"
    __table_args__ = (
        CheckConstraint("headcount IS NULL OR headcount > 0", name="headcount"),
        UniqueConstraint("channel", "external_id"),
        UniqueConstraint("accepted_by", "idempotency_key"),
        Index(None, "received_at", "id"),
        Index(None, "topic", "received_at"),
        Index(None, "institution_key", "received_at"),
        Index(None, "key_id", "id"),
        _KEEP_IDS,
    )

    id: Mapped[Id]
    uid: Mapped[str] = mapped_column(String(32), unique=True)  # binds the sealed text to this row
    external_id: Mapped[Name | None]
    channel: Mapped[Code]  # one of the taxonomy's
    received_at: Mapped[datetime]
    accepted_at: Mapped[datetime]
    accepted_by: Mapped[Code]
    idempotency_key: Mapped[Name | None]
    content_digest: Mapped[Code]
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    key_id: Mapped[Code | None]
    title: Mapped[LongText]
    body: Mapped[LongText]
    headcount: Mapped[int | None]
    submitter_ref: Mapped[Code | None]  # keyed hash; never indexed, never searched
    region: Mapped[Name | None]
    institution: Mapped[Name | None]
    institution_key: Mapped[Name | None]
    topic: Mapped[Code | None]  # in force: the model's, or an officer's correction
    purpose: Mapped[Code | None]
    needs_review: Mapped[bool] = mapped_column(default=False)
    confidential: Mapped[bool] = mapped_column(default=False)
    danger: Mapped[bool] = mapped_column(default=False)
    tags_model: Mapped[Code | None]  # with ``id`` names the row of ``tags`` in force
    erased_at: Mapped[datetime | None]


class ComplaintTags(Base):
    """What one model version found in a complaint; ``tags`` holds offsets, never words of the text."""

    __tablename__ = "tags"
    __table_args__ = (UniqueConstraint("complaint_id", "model"), Index(None, "model", "topic"), _KEEP_IDS)

    id: Mapped[Id]
    complaint_id: Mapped[Reference] = mapped_column(ForeignKey("complaints.id"))
    model: Mapped[Code]
    tagged_at: Mapped[datetime]
    tags: Mapped[dict[str, Any]]
    topic: Mapped[Code]
    purpose: Mapped[Code]
    probability: Mapped[float]
    needs_review: Mapped[bool]
    confidential: Mapped[bool]
    danger: Mapped[bool]
    repeat: Mapped[bool]
    collective: Mapped[bool]
    escalation: Mapped[bool]
    headcount: Mapped[int | None]


class Matter(Base):
    """One concrete problem at one institution. Stage, duty and counts are derived and refreshed, never added up."""

    __tablename__ = "matters"
    __table_args__ = (
        one_of("stage", STAGES),
        Index(None, "last_received_at", "id"),
        Index(None, "due_on", "id"),
        Index(None, "institution_key", "topic"),
        Index(None, "stage", "closed_at"),
        _KEEP_IDS,
    )

    id: Mapped[Id]
    stage: Mapped[Code] = mapped_column(default="registered")
    opened_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    complaints: Mapped[int] = mapped_column(default=0)
    most_people: Mapped[int] = mapped_column(default=1)
    topic: Mapped[Code | None]
    region: Mapped[Name | None]
    institution: Mapped[Name | None]
    institution_key: Mapped[Name | None]
    office: Mapped[Name | None]  # the unit that owes the answer
    confidential: Mapped[bool] = mapped_column(default=False)
    danger: Mapped[bool] = mapped_column(default=False)
    duty: Mapped[Code | None]
    due_on: Mapped[date | None]
    closed_at: Mapped[datetime | None]
    merged_into: Mapped[int | None] = mapped_column(ForeignKey("matters.id"), index=True)
    erased_at: Mapped[datetime | None]


class Membership(Base):
    """Why a complaint is, was, or may be in a matter. Rows are ended, never changed or removed."""

    __tablename__ = "memberships"
    __table_args__ = (
        one_of("decision", DECISIONS),
        one_of("state", MEMBERSHIP_STATES),
        Index(
            "uq_memberships_active",
            "complaint_id",
            unique=True,
            sqlite_where=text("state = 'active'"),
            postgresql_where=text("state = 'active'"),
        ),
        Index(None, "matter_id", "state"),
        Index(None, "complaint_id", "state"),
        _KEEP_IDS,
    )

    id: Mapped[Id]
    complaint_id: Mapped[Reference] = mapped_column(ForeignKey("complaints.id"))
    matter_id: Mapped[Reference] = mapped_column(ForeignKey("matters.id"))
    decision: Mapped[Code]
    state: Mapped[Code]
    score: Mapped[float | None]
    reasons: Mapped[list[Any]]
    by: Mapped[Code]
    at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    replaces: Mapped[int | None] = mapped_column(ForeignKey("memberships.id"), index=True)


class Event(Base):
    """A step in the handling of a complaint or of a whole matter; ``note`` is redacted."""

    __tablename__ = "events"
    __table_args__ = (
        one_of("kind", EVENT_KINDS),
        CheckConstraint("(complaint_id IS NULL) <> (matter_id IS NULL)", name="subject"),
        UniqueConstraint("complaint_id", "kind", "at"),
        UniqueConstraint("matter_id", "kind", "at"),
        _KEEP_IDS,
    )

    id: Mapped[Id]
    complaint_id: Mapped[int | None] = mapped_column(ForeignKey("complaints.id"))
    matter_id: Mapped[int | None] = mapped_column(ForeignKey("matters.id"))
    kind: Mapped[Code]
    at: Mapped[datetime]
    days: Mapped[int | None]  # of an extension
    by: Mapped[Code]
    recorded_at: Mapped[datetime]
    note: Mapped[LongText | None]


class Assessment(Base):
    """One probability of a matter over a horizon, as known at ``as_of``."""

    __tablename__ = "assessments"
    __table_args__ = (
        one_of("kind", RISK_KINDS),
        UniqueConstraint("matter_id", "horizon", "kind", "as_of", "model"),
        Index(None, "as_of", "horizon", "kind", "probability"),
        _KEEP_IDS,
    )

    id: Mapped[Id]
    matter_id: Mapped[Reference] = mapped_column(ForeignKey("matters.id"))
    horizon: Mapped[int]  # days
    kind: Mapped[Code]
    probability: Mapped[float]
    level: Mapped[Code | None]
    reasons: Mapped[list[Any]]
    as_of: Mapped[datetime]
    model: Mapped[Code]

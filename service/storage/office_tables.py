"""The tables about the office's work: alerts and their delivery, corrections, audit, keys, jobs and imports."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.base import IDENTIFIER, JSON_VALUE, Base, Code, Id, LongText, Name, Reference, one_of

ALERT_STATES = ("open", "acknowledged", "assigned", "resolved")
DELIVERY_STATES = ("pending", "sent", "dead")
ROLES = ("intake", "officer", "analyst", "admin")
IMPORT_STATES = ("running", "done", "failed")
_KEEP_IDS = {"sqlite_autoincrement": True}
_UNRESOLVED = text("state <> 'resolved'")


class Alert(Base):
    """A rule that holds for a subject: a matter (``matter:12``) or a problem seen in several places."""

    __tablename__ = "alerts"
    __table_args__ = (
        one_of("state", ALERT_STATES),
        Index(
            "uq_alerts_unresolved",
            "subject",
            "rule",
            unique=True,
            sqlite_where=_UNRESOLVED,
            postgresql_where=_UNRESOLVED,
        ),
        Index(None, "subject", "rule", "cool_down_until"),
        Index(None, "state", "opened_at"),
        Index(None, "opened_at", "id"),
        _KEEP_IDS,
    )

    id: Mapped[Id]
    rule: Mapped[Code]
    subject: Mapped[Name]
    matter_id: Mapped[int | None] = mapped_column(ForeignKey("matters.id"), index=True)
    level: Mapped[Code]
    facts: Mapped[dict[str, Any]]
    state: Mapped[Code] = mapped_column(default="open")
    confidential: Mapped[bool]
    opened_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    acknowledged_at: Mapped[datetime | None]
    assigned_at: Mapped[datetime | None]
    assigned_to: Mapped[Name | None]
    resolved_at: Mapped[datetime | None]
    cool_down_until: Mapped[datetime | None]


class Delivery(Base):
    """An alert on its way out by one channel to one target; the outbox of the alert's own transaction."""

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("state", DELIVERY_STATES),
        UniqueConstraint("alert_id", "channel", "target", "reason"),
        Index(None, "state", "next_at"),
        _KEEP_IDS,
    )

    id: Mapped[Id]
    alert_id: Mapped[Reference] = mapped_column(ForeignKey("alerts.id"))
    channel: Mapped[Code]
    target: Mapped[Name]
    reason: Mapped[Code]  # what about the alert is told: opened, resolved, …
    state: Mapped[Code] = mapped_column(default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    last_error: Mapped[Name | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class Correction(Base):
    """An officer's better answer for one field of a complaint; values are codes, numbers or offsets."""

    __tablename__ = "corrections"
    __table_args__ = (Index(None, "complaint_id", "field"), Index(None, "at", "id"), _KEEP_IDS)

    id: Mapped[Id]
    complaint_id: Mapped[Reference] = mapped_column(ForeignKey("complaints.id"))
    field: Mapped[Code]
    before: Mapped[Any] = mapped_column(JSON_VALUE, nullable=True)
    after: Mapped[Any] = mapped_column(JSON_VALUE, nullable=True)
    model: Mapped[Code | None]
    by: Mapped[Code]
    at: Mapped[datetime]


class AuditEntry(Base):
    """One line of the audit log; ``hash`` covers the entry and the hash before it."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "subject", "id"),)

    id: Mapped[int] = mapped_column(IDENTIFIER, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[Code]
    action: Mapped[Code]
    subject: Mapped[Name]
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)  # not JSONB: numbers come back as they were written
    previous: Mapped[Code]
    hash: Mapped[Code]


class AuditHead(Base):
    """The last entry's number and hash, in one row: the lock of writers, and the proof that no tail was cut."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_id: Mapped[Reference]
    last_hash: Mapped[Code]


class ApiKey(Base):
    """An API key as a salted hash; ``prefix`` finds the row."""

    __tablename__ = "api_keys"
    __table_args__ = (one_of("role", ROLES), _KEEP_IDS)

    id: Mapped[Id]
    prefix: Mapped[Code] = mapped_column(unique=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    name: Mapped[Name]
    role: Mapped[Code]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Job(Base):
    """Work that runs every so often, by whichever worker takes the lease."""

    __tablename__ = "jobs"

    name: Mapped[Code] = mapped_column(primary_key=True)
    every_seconds: Mapped[int]
    next_at: Mapped[datetime]
    lease: Mapped[Code | None]
    leased_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[Name | None]


class Import(Base):
    """A file taken in row by row; ``done`` rows are through, so that it can go on where it stopped."""

    __tablename__ = "imports"
    __table_args__ = (one_of("state", IMPORT_STATES), _KEEP_IDS)

    id: Mapped[Id]
    file_digest: Mapped[Code] = mapped_column(unique=True)
    state: Mapped[Code] = mapped_column(default="running")
    total: Mapped[int | None]
    done: Mapped[int] = mapped_column(default=0)
    accepted: Mapped[int] = mapped_column(default=0)
    repeated: Mapped[int] = mapped_column(default=0)
    bad: Mapped[int] = mapped_column(default=0)
    by: Mapped[Code]
    started_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class BadRow(Base):
    """A row that could not be taken in: which, why, what to do; never what it holds."""

    __tablename__ = "import_bad_rows"
    __table_args__ = (UniqueConstraint("import_id", "row", "field"), _KEEP_IDS)

    id: Mapped[Id]
    import_id: Mapped[Reference] = mapped_column(ForeignKey("imports.id"))
    row: Mapped[int]
    field: Mapped[Code]
    message: Mapped[LongText]
    remedy: Mapped[LongText]

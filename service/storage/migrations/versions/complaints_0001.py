"""Complaints, their tags, matters, memberships, events and assessments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "complaints",
        sa.Column("id", _ID, nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=True),
        sa.Column("channel", sa.String(length=64), nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("accepted_at", _TIME, nullable=False),
        sa.Column("accepted_by", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_id", sa.String(length=64), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("headcount", sa.Integer(), nullable=True),
        sa.Column("submitter_ref", sa.String(length=64), nullable=True),
        sa.Column("region", sa.String(length=200), nullable=True),
        sa.Column("institution", sa.String(length=200), nullable=True),
        sa.Column("institution_key", sa.String(length=200), nullable=True),
        sa.Column("topic", sa.String(length=64), nullable=True),
        sa.Column("purpose", sa.String(length=64), nullable=True),
        sa.Column("needs_review", sa.Boolean(), nullable=False),
        sa.Column("confidential", sa.Boolean(), nullable=False),
        sa.Column("danger", sa.Boolean(), nullable=False),
        sa.Column("tags_model", sa.String(length=64), nullable=True),
        sa.Column("erased_at", _TIME, nullable=True),
        sa.CheckConstraint("headcount IS NULL OR headcount > 0", name=op.f("ck_complaints_headcount")),
        sa.PrimaryKeyConstraint("id", name="pk_complaints"),
        sa.UniqueConstraint("accepted_by", "idempotency_key", name="uq_complaints_accepted_by_idempotency_key"),
        sa.UniqueConstraint("channel", "external_id", name="uq_complaints_channel_external_id"),
        sa.UniqueConstraint("uid", name="uq_complaints_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_complaints_institution_key_received_at", "complaints", ["institution_key", "received_at"], unique=False
    )
    op.create_index("ix_complaints_key_id_id", "complaints", ["key_id", "id"], unique=False)
    op.create_index("ix_complaints_received_at_id", "complaints", ["received_at", "id"], unique=False)
    op.create_index("ix_complaints_topic_received_at", "complaints", ["topic", "received_at"], unique=False)
    op.create_table(
        "tags",
        sa.Column("id", _ID, nullable=False),
        sa.Column("complaint_id", _ID, nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("tagged_at", _TIME, nullable=False),
        sa.Column("tags", _JSON, nullable=False),
        sa.Column("topic", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("needs_review", sa.Boolean(), nullable=False),
        sa.Column("confidential", sa.Boolean(), nullable=False),
        sa.Column("danger", sa.Boolean(), nullable=False),
        sa.Column("repeat", sa.Boolean(), nullable=False),
        sa.Column("collective", sa.Boolean(), nullable=False),
        sa.Column("escalation", sa.Boolean(), nullable=False),
        sa.Column("headcount", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaints.id"], name="fk_tags_complaint_id"),
        sa.PrimaryKeyConstraint("id", name="pk_tags"),
        sa.UniqueConstraint("complaint_id", "model", name="uq_tags_complaint_id_model"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tags_model_topic", "tags", ["model", "topic"], unique=False)
    op.create_table(
        "matters",
        sa.Column("id", _ID, nullable=False),
        sa.Column("stage", sa.String(length=64), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("last_received_at", _TIME, nullable=False),
        sa.Column("complaints", sa.Integer(), nullable=False),
        sa.Column("most_people", sa.Integer(), nullable=False),
        sa.Column("topic", sa.String(length=64), nullable=True),
        sa.Column("region", sa.String(length=200), nullable=True),
        sa.Column("institution", sa.String(length=200), nullable=True),
        sa.Column("institution_key", sa.String(length=200), nullable=True),
        sa.Column("office", sa.String(length=200), nullable=True),
        sa.Column("confidential", sa.Boolean(), nullable=False),
        sa.Column("danger", sa.Boolean(), nullable=False),
        sa.Column("duty", sa.String(length=64), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("merged_into", _ID, nullable=True),
        sa.Column("erased_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "stage IN ('registered', 'accepted', 'transferred', 'answered', 'under_review', 'reviewed', 'closed')",
            name=op.f("ck_matters_stage"),
        ),
        sa.ForeignKeyConstraint(["merged_into"], ["matters.id"], name="fk_matters_merged_into"),
        sa.PrimaryKeyConstraint("id", name="pk_matters"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_matters_due_on_id", "matters", ["due_on", "id"], unique=False)
    op.create_index("ix_matters_institution_key_topic", "matters", ["institution_key", "topic"], unique=False)
    op.create_index("ix_matters_last_received_at_id", "matters", ["last_received_at", "id"], unique=False)
    op.create_index("ix_matters_merged_into", "matters", ["merged_into"], unique=False)
    op.create_index("ix_matters_stage_closed_at", "matters", ["stage", "closed_at"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("id", _ID, nullable=False),
        sa.Column("complaint_id", _ID, nullable=False),
        sa.Column("matter_id", _ID, nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("reasons", _JSON, nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("replaces", _ID, nullable=True),
        sa.CheckConstraint(
            "decision IN ('new', 'attach', 'suggest', 'officer', 'merge', 'split', 'undo')",
            name=op.f("ck_memberships_decision"),
        ),
        sa.CheckConstraint("state IN ('active', 'suggested', 'declined', 'ended')", name=op.f("ck_memberships_state")),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaints.id"], name="fk_memberships_complaint_id"),
        sa.ForeignKeyConstraint(["matter_id"], ["matters.id"], name="fk_memberships_matter_id"),
        sa.ForeignKeyConstraint(["replaces"], ["memberships.id"], name="fk_memberships_replaces"),
        sa.PrimaryKeyConstraint("id", name="pk_memberships"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_memberships_complaint_id_state", "memberships", ["complaint_id", "state"], unique=False)
    op.create_index("ix_memberships_matter_id_state", "memberships", ["matter_id", "state"], unique=False)
    op.create_index("ix_memberships_replaces", "memberships", ["replaces"], unique=False)
    op.create_index(
        "uq_memberships_active",
        "memberships",
        ["complaint_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "events",
        sa.Column("id", _ID, nullable=False),
        sa.Column("complaint_id", _ID, nullable=True),
        sa.Column("matter_id", _ID, nullable=True),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('accepted', 'transferred', 'answered', 'satisfied', 'unsatisfied', 'closed', "
            "'reopened', 'extended', 'review_requested', 'reviewed')",
            name=op.f("ck_events_kind"),
        ),
        sa.CheckConstraint("(complaint_id IS NULL) <> (matter_id IS NULL)", name=op.f("ck_events_subject")),
        sa.ForeignKeyConstraint(["complaint_id"], ["complaints.id"], name="fk_events_complaint_id"),
        sa.ForeignKeyConstraint(["matter_id"], ["matters.id"], name="fk_events_matter_id"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("complaint_id", "kind", "at", name="uq_events_complaint_id_kind_at"),
        sa.UniqueConstraint("matter_id", "kind", "at", name="uq_events_matter_id_kind_at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "assessments",
        sa.Column("id", _ID, nullable=False),
        sa.Column("matter_id", _ID, nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("level", sa.String(length=64), nullable=True),
        sa.Column("reasons", _JSON, nullable=False),
        sa.Column("as_of", _TIME, nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.CheckConstraint("kind IN ('repeat', 'collective')", name=op.f("ck_assessments_kind")),
        sa.ForeignKeyConstraint(["matter_id"], ["matters.id"], name="fk_assessments_matter_id"),
        sa.PrimaryKeyConstraint("id", name="pk_assessments"),
        sa.UniqueConstraint(
            "matter_id", "horizon", "kind", "as_of", "model", name="uq_assessments_matter_id_horizon_kind_as_of_model"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_assessments_as_of_horizon_kind_probability",
        "assessments",
        ["as_of", "horizon", "kind", "probability"],
        unique=False,
    )


def downgrade() -> None:
    """Drop the tables and all that is in them."""
    for table in ("assessments", "events", "memberships", "matters", "tags", "complaints"):
        op.drop_table(table)

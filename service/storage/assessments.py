"""Assessments of matters: what was thought of each on a day, kept for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.storage.tables import Assessment, Matter


@dataclass(frozen=True, slots=True)
class NewAssessment:
    """A probability (``kind`` repeat or collective) over ``horizon`` days; reasons are JSON-ready."""

    matter_id: int
    horizon: int
    kind: str
    probability: float
    level: str | None
    reasons: tuple[dict[str, Any], ...]
    as_of: datetime
    model: str


def save(session: Session, assessments: Iterable[NewAssessment]) -> None:
    """Store assessments; one of the same matter, horizon, kind, time and model replaces the earlier."""
    for new in assessments:
        session.execute(
            delete(Assessment).where(
                Assessment.matter_id == new.matter_id,
                Assessment.horizon == new.horizon,
                Assessment.kind == new.kind,
                Assessment.as_of == new.as_of,
                Assessment.model == new.model,
            )
        )
        session.add(
            Assessment(
                matter_id=new.matter_id,
                horizon=new.horizon,
                kind=new.kind,
                probability=new.probability,
                level=new.level,
                reasons=list(new.reasons),
                as_of=new.as_of,
                model=new.model,
            )
        )
    session.flush()


def latest(session: Session, matter_id: int, *, until: datetime | None = None) -> Sequence[Assessment]:
    """Return the last assessment of each horizon and kind, as known at ``until`` where given."""
    statement = select(Assessment).where(Assessment.matter_id == matter_id)
    if until is not None:
        statement = statement.where(Assessment.as_of <= until)
    newest: dict[tuple[int, str], Assessment] = {}
    for row in session.scalars(statement.order_by(Assessment.as_of, Assessment.id)):
        newest[row.horizon, row.kind] = row
    return list(newest.values())


def ranking(
    session: Session, horizon: int, kind: str, limit: int, *, until: datetime, confidential: bool
) -> Sequence[tuple[Assessment, Matter]]:
    """Return the matters not closed with the highest last probability known at ``until``, highest first."""
    known = (
        select(Assessment.matter_id, func.max(Assessment.as_of).label("as_of"))
        .where(Assessment.horizon == horizon, Assessment.kind == kind, Assessment.as_of <= until)
        .group_by(Assessment.matter_id)
        .subquery()
    )
    statement = (
        select(Assessment, Matter)
        .join(known, (known.c.matter_id == Assessment.matter_id) & (known.c.as_of == Assessment.as_of))
        .join(Matter, Matter.id == Assessment.matter_id)
        .where(Assessment.horizon == horizon, Assessment.kind == kind)
        .where(Matter.stage != "closed", Matter.merged_into.is_(None))
        .order_by(Assessment.probability.desc(), Matter.id)
        .limit(limit)
    )
    if not confidential:
        statement = statement.where(Matter.confidential.is_(False))
    return [(assessment, matter) for assessment, matter in session.execute(statement)]

"""Tags of complaints, one row a model version. Offsets are kept, the words at them are not."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.storage.tables import Complaint, ComplaintTags

if TYPE_CHECKING:
    from triage.tagging import Tags


def put_in_force(
    session: Session, complaint: Complaint, tags: Tags, *, now: datetime, keep: tuple[str, ...] = ()
) -> None:
    """Store the tags of ``tags.model`` and let them speak for the complaint, but for the fields in ``keep``.

    ``keep`` names what officers corrected. Confidentiality and danger are only ever added here, never taken away.
    """
    row = _of_model(session, complaint.id, tags.model) or ComplaintTags(complaint_id=complaint.id, model=tags.model)
    kinds = {cue.kind for cue in tags.cues}
    row.tagged_at = now
    row.tags = without_words(tags.as_dict())
    row.topic, row.purpose, row.probability = tags.topic, tags.purpose.code, tags.topics[0].probability
    row.needs_review, row.confidential, row.danger = tags.needs_review, tags.confidential, tags.danger
    row.repeat, row.collective, row.escalation = "repeat" in kinds, "collective" in kinds, "escalation" in kinds
    row.headcount = tags.headcount
    session.add(row)
    for field, value in (("topic", tags.topic), ("purpose", tags.purpose.code), ("needs_review", tags.needs_review)):
        if field not in keep:
            setattr(complaint, field, value)
    if "confidential" not in keep:
        complaint.confidential = complaint.confidential or tags.confidential
    if "danger" not in keep:
        complaint.danger = complaint.danger or tags.danger
    if complaint.headcount is None and "headcount" not in keep:
        complaint.headcount = tags.headcount
    complaint.tags_model = tags.model
    session.flush()


def tags_of(session: Session, complaint: Complaint) -> ComplaintTags | None:
    """Return the tags in force, None before the first."""
    return _of_model(session, complaint.id, complaint.tags_model) if complaint.tags_model else None


def without_words(value: Any) -> Any:
    """Return JSON-ready tags without the excerpts, which may hold personal data."""
    if isinstance(value, dict):
        return {key: without_words(part) for key, part in value.items() if key != "text"}
    return [without_words(part) for part in value] if isinstance(value, list | tuple) else value


def _of_model(session: Session, complaint_id: int, model: str) -> ComplaintTags | None:
    return session.scalar(
        select(ComplaintTags).where(ComplaintTags.complaint_id == complaint_id, ComplaintTags.model == model)
    )

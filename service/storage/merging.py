"""Officers' merges and splits of matters: on record, and reversible.

A merge is undone with ``undo_merge``, a split by merging the new matter back.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from service import audit
from service.storage.duties import lock_matter, refresh
from service.storage.errors import ConflictError
from service.storage.matters import Link, move, new_matter
from service.storage.tables import Complaint, Matter, Membership
from triage.clock import ClockLimits


def merge(session: Session, source_id: int, target_id: int, *, by: str, now: datetime, limits: ClockLimits) -> Matter:
    """Move all complaints of one matter into another, open questions too, and return the latter.

    Raises ConflictError when either was merged already or both are the same, NotFoundError.
    """
    if source_id == target_id:
        raise ConflictError(f"事项 {source_id} 不能并入自身；请选另一事项。")
    source, target = _lock_both(session, source_id, target_id)
    for matter in (source, target):
        if matter.merged_into is not None:
            raise ConflictError(f"事项 {matter.id} 已并入 {matter.merged_into}；请改用后者，或先撤销归并。")
    link = Link("merge", by, now)
    for membership in _members(session, source_id, "active"):
        move(session, membership, target_id, link)
    inside = {membership.complaint_id for membership in _members(session, target_id, "active")}
    for asked in _members(session, source_id, "suggested"):
        if asked.complaint_id in inside:
            asked.state, asked.ended_at = "ended", now
        else:
            asked.matter_id = target_id
    source.merged_into = target_id
    _settle(session, (source, target), limits, now)
    audit.record(session, now, by, "matter.merge", f"matter:{target_id}", source=source_id)
    return target


def undo_merge(session: Session, source_id: int, *, by: str, now: datetime, limits: ClockLimits) -> Matter:
    """Take a merged matter out again with the complaints that it brought and that are still there; return it.

    Complaints that came later stay where they are. Raises ConflictError when it is not merged.
    """
    target_id = lock_matter(session, source_id).merged_into
    if target_id is None:
        raise ConflictError(f"事项 {source_id} 没有并入别的事项，无从撤销；请核对编号。")
    source, target = _lock_both(session, source_id, target_id)
    before = aliased(Membership)
    brought = session.scalars(
        select(Membership)
        .join(before, before.id == Membership.replaces)
        .where(
            Membership.matter_id == target_id,
            Membership.state == "active",
            Membership.decision == "merge",
            before.matter_id == source_id,
        )
    ).all()
    source.merged_into = None
    for membership in brought:
        move(session, membership, source_id, Link("undo", by, now))
    _settle(session, (source, target), limits, now)
    audit.record(session, now, by, "matter.undo_merge", f"matter:{source_id}", target=target_id)
    return source


def split(
    session: Session, matter_id: int, complaint_ids: Collection[int], *, by: str, now: datetime, limits: ClockLimits
) -> Matter:
    """Move some, not all, complaints of a matter into a new one and return it. Raises ConflictError, NotFoundError."""
    matter = lock_matter(session, matter_id)
    wanted = set(complaint_ids)
    inside = {membership.complaint_id: membership for membership in _members(session, matter_id, "active")}
    if not wanted or not wanted < inside.keys():
        raise ConflictError(f"拆分须选事项 {matter_id} 的一部分来件，不能为空，也不能是全部；请重新勾选。")
    first = session.scalars(
        select(Complaint).where(Complaint.id.in_(wanted)).order_by(Complaint.received_at, Complaint.id)
    ).first()
    assert first is not None
    new = new_matter(first, matter.office)
    session.add(new)
    session.flush()
    for complaint_id in sorted(wanted):
        move(session, inside[complaint_id], new.id, Link("split", by, now))
    _settle(session, (matter, new), limits, now)
    audit.record(session, now, by, "matter.split", f"matter:{matter_id}", into=new.id, complaints=sorted(wanted))
    return new


def _lock_both(session: Session, first: int, second: int) -> tuple[Matter, Matter]:
    # Always in the same order, so that two officers cannot block each other for good.
    locked = {number: lock_matter(session, number) for number in sorted((first, second))}
    return locked[first], locked[second]


def _members(session: Session, matter_id: int, state: str) -> list[Membership]:
    return list(
        session.scalars(
            select(Membership)
            .where(Membership.matter_id == matter_id, Membership.state == state)
            .order_by(Membership.id)
        )
    )


def _settle(session: Session, matters: tuple[Matter, ...], limits: ClockLimits, now: datetime) -> None:
    session.flush()
    for matter in matters:
        refresh(session, matter, limits, now)

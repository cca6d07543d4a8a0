"""Alerts: one open per rule and subject, acknowledged, assigned, resolved, then quiet for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service import audit
from service.storage.errors import ConflictError, NotFoundError
from service.storage.office_tables import Alert
from service.storage.pages import Order, Page, fetch_page

_ORDER = Order(Alert.opened_at, Alert.id)


@dataclass(frozen=True, slots=True)
class NewAlert:
    """A rule that holds. ``subject`` is as ``matter:12``, or names a problem across institutions; facts hold no words
    of a complaint, only codes, numbers and dates."""

    rule: str
    subject: str
    level: str
    facts: dict[str, Any]
    confidential: bool
    matter_id: int | None = None

    @classmethod
    def of_matter(cls, matter_id: int, rule: str, level: str, facts: dict[str, Any], confidential: bool) -> NewAlert:
        """Return an alert on one matter."""
        return cls(rule, f"matter:{matter_id}", level, facts, confidential, matter_id)


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """What a list is narrowed to; None means all."""

    state: str | None = None
    rule: str | None = None
    level: str | None = None
    matter_id: int | None = None


def raise_alert(session: Session, new: NewAlert, *, now: datetime) -> Alert | None:
    """Open an alert and return it; None when one is open already (its level and facts are renewed) or rests still."""
    if _renew(session, new, now) or _resting(session, new, now):
        return None
    alert = Alert(
        rule=new.rule,
        subject=new.subject,
        matter_id=new.matter_id,
        level=new.level,
        facts=new.facts,
        confidential=new.confidential,
        opened_at=now,
        changed_at=now,
    )
    try:
        with session.begin_nested():
            session.add(alert)
    except IntegrityError:
        # Another worker was faster; anything else is a mistake of the caller's.
        if not _renew(session, new, now):
            raise
        return None
    audit.record(session, now, audit.SYSTEM, "alert.open", f"alert:{alert.id}", rule=new.rule)
    return alert


def acknowledge(session: Session, alert_id: int, *, by: str, now: datetime, confidential: bool) -> Alert:
    """Note that someone has seen an open alert. Raises NotFoundError, ConflictError once resolved."""
    alert = _unresolved(session, alert_id, confidential)
    if alert.state == "open":
        alert.state, alert.acknowledged_at = "acknowledged", now
        _changed(session, alert, by, now, "acknowledge")
    return alert


def assign(session: Session, alert_id: int, to: str, *, by: str, now: datetime, confidential: bool) -> Alert:
    """Give an alert to an office. Raises NotFoundError, ConflictError once resolved."""
    alert = _unresolved(session, alert_id, confidential)
    alert.state, alert.assigned_at, alert.assigned_to = "assigned", now, to
    _changed(session, alert, by, now, "assign")
    return alert


def resolve(
    session: Session, alert_id: int, cool_down: timedelta, *, by: str, now: datetime, confidential: bool
) -> Alert:
    """End an alert; its rule stays quiet on this subject for ``cool_down``. Raises NotFoundError, ConflictError."""
    alert = _unresolved(session, alert_id, confidential)
    alert.state, alert.resolved_at, alert.cool_down_until = "resolved", now, now + cool_down
    _changed(session, alert, by, now, "resolve")
    return alert


def get_alert(session: Session, alert_id: int, *, confidential: bool) -> Alert:
    """Return an alert. Raises NotFoundError."""
    alert = session.get(Alert, alert_id, populate_existing=True)
    if alert is None or (alert.confidential and not confidential):
        raise NotFoundError(f"没有编号为 {alert_id} 的提醒；请核对编号。")
    return alert


def list_alerts(
    session: Session, wanted: AlertFilter, cursor: str | None, limit: int, *, confidential: bool
) -> Page[Alert]:
    """Return a page of alerts, latest first. Raises CursorError."""
    statement = select(Alert)
    for field in ("state", "rule", "level", "matter_id"):
        value = getattr(wanted, field)
        if value is not None:
            statement = statement.where(getattr(Alert, field) == value)
    if not confidential:
        statement = statement.where(Alert.confidential.is_(False))
    return fetch_page(session, statement, _ORDER, cursor, limit)


def unresolved_of(session: Session, matter_id: int) -> Sequence[Alert]:
    """Return the alerts of a matter that are not resolved, oldest first."""
    return session.scalars(
        select(Alert).where(Alert.matter_id == matter_id, Alert.state != "resolved").order_by(Alert.id)
    ).all()


def _renew(session: Session, new: NewAlert, now: datetime) -> bool:
    alert = session.scalar(
        select(Alert).where(Alert.subject == new.subject, Alert.rule == new.rule, Alert.state != "resolved")
    )
    if alert is None:
        return False
    alert.confidential = alert.confidential or new.confidential
    if (alert.level, alert.facts) != (new.level, new.facts):
        alert.level, alert.facts, alert.changed_at = new.level, new.facts, now
    session.flush()
    return True


def _resting(session: Session, new: NewAlert, now: datetime) -> bool:
    resting = select(Alert.id).where(Alert.subject == new.subject, Alert.rule == new.rule, Alert.cool_down_until > now)
    return session.scalar(resting.limit(1)) is not None


def _unresolved(session: Session, alert_id: int, confidential: bool) -> Alert:
    alert = session.get(Alert, alert_id, with_for_update=True, populate_existing=True)
    if alert is None or (alert.confidential and not confidential):
        raise NotFoundError(f"没有编号为 {alert_id} 的提醒；请核对编号。")
    if alert.state == "resolved":
        raise ConflictError(f"提醒 {alert_id} 已经办结；再次出现时会另行提醒。")
    return alert


def _changed(session: Session, alert: Alert, by: str, now: datetime, action: str) -> None:
    alert.changed_at = now
    session.flush()
    audit.record(session, now, by, f"alert.{action}", f"alert:{alert.id}")

"""The outbox of alerts: written with the alert, sent by whichever worker takes it, at least once.

The receiver tells repeats by the delivery's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.storage.errors import ConflictError, NotFoundError
from service.storage.office_tables import Delivery
from service.storage.pages import Order, Page, fetch_page

MOST_ATTEMPTS = 8
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)
_ORDER = Order(Delivery.id, Delivery.id, int)


def enqueue(session: Session, alert_id: int, channel: str, target: str, reason: str, *, now: datetime) -> None:
    """Put word of an alert (``reason``: opened, resolved, …) into the outbox, once a target and reason."""
    same = select(Delivery.id).where(
        Delivery.alert_id == alert_id,
        Delivery.channel == channel,
        Delivery.target == target,
        Delivery.reason == reason,
    )
    if session.scalar(same) is None:
        delivery = Delivery(
            alert_id=alert_id, channel=channel, target=target, reason=reason, next_at=now, created_at=now
        )
        session.add(delivery)
        session.flush()


def take_due(session: Session, limit: int, lease: timedelta, *, now: datetime) -> Sequence[Delivery]:
    """Return deliveries to try now; no other worker gets them before ``lease`` is over."""
    rows = session.scalars(
        select(Delivery)
        .where(Delivery.state == "pending", Delivery.next_at <= now)
        .order_by(Delivery.next_at, Delivery.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        row.attempts += 1
        row.next_at = now + lease
    session.flush()
    return rows


def mark_sent(session: Session, delivery_id: int, *, now: datetime) -> None:
    """Note that a delivery has arrived."""
    row = _get(session, delivery_id)
    row.state, row.sent_at, row.last_error = "sent", now, None
    session.flush()


def mark_failed(session: Session, delivery_id: int, error: str, *, now: datetime) -> Delivery:
    """Note a failed attempt (``error`` a short code, as ``HTTP 503``): again later, or dead after MOST_ATTEMPTS."""
    row = _get(session, delivery_id)
    row.last_error = error[:200]
    if row.attempts >= MOST_ATTEMPTS:
        row.state = "dead"
    else:
        row.next_at = now + min(FIRST_WAIT * 2 ** max(0, row.attempts - 1), LONGEST_WAIT)
    session.flush()
    return row


def retry_dead(session: Session, delivery_id: int, *, now: datetime) -> Delivery:
    """Put a dead delivery back into the outbox. Raises NotFoundError, ConflictError when it is not dead."""
    row = _get(session, delivery_id)
    if row.state != "dead":
        raise ConflictError(f"投递 {delivery_id} 并未停止；只有停止的投递才需重投。")
    row.state, row.attempts, row.next_at = "pending", 0, now
    session.flush()
    return row


def list_deliveries(session: Session, state: str | None, cursor: str | None, limit: int) -> Page[Delivery]:
    """Return a page of deliveries, latest first; ``dead`` are those given up."""
    statement = select(Delivery) if state is None else select(Delivery).where(Delivery.state == state)
    return fetch_page(session, statement, _ORDER, cursor, limit)


def _get(session: Session, delivery_id: int) -> Delivery:
    row = session.get(Delivery, delivery_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFoundError(f"没有编号为 {delivery_id} 的投递；请核对编号。")
    return row

"""Pages of a list by cursor: the next page begins after the last row seen, whatever came in meanwhile."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.storage.errors import CursorError

MOST = 200
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows and the cursor of the next page, None on the last one."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """A list's order: by ``column``, ties by ``id``; ``parse`` reads a value of the column from its text."""

    column: InstrumentedAttribute[Any]
    id: InstrumentedAttribute[int]
    parse: Callable[[str], Any] = datetime.fromisoformat
    descending: bool = True


def fetch_page(session: Session, statement: Select[T], order: Order, cursor: str | None, limit: int) -> Page[T]:
    """Return one page of at most ``limit`` rows of ``statement``. Raises CursorError or ValueError."""
    if not 1 <= limit <= MOST:
        raise ValueError(f"limit {limit}: out of range; ask for 1 to {MOST} rows")
    place = tuple_(order.column, order.id)
    if cursor is not None:
        seen = tuple_(*_after(cursor, order))
        statement = statement.where(place < seen if order.descending else place > seen)
    by = (order.column.desc(), order.id.desc()) if order.descending else (order.column.asc(), order.id.asc())
    rows = list(session.scalars(statement.order_by(*by).limit(limit + 1)))
    if len(rows) <= limit:
        return Page(tuple(rows), None)
    last = rows[limit - 1]
    value = getattr(last, order.column.key)
    shown = value.isoformat() if isinstance(value, date) else str(value)
    written = json.dumps([shown, getattr(last, order.id.key)], separators=(",", ":")).encode()
    return Page(tuple(rows[:limit]), base64.urlsafe_b64encode(written).decode().rstrip("="))


def _after(cursor: str, order: Order) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        shown, number = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(number, int) or not isinstance(shown, str) or abs(number) >= 2**63:
            raise ValueError
        value = order.parse(shown)
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise CursorError("cursor：不是本服务给出的游标；请用上一页的 next，或去掉它从头读起。") from None
    return literal(value, order.column.type), literal(number, order.id.type)

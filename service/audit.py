"""The audit log: who read a raw text, who changed what. Each entry's hash covers the one before it.

An entry is written in the transaction of the change it tells of. It holds codes and numbers, never words of a
complaint nor a name: anything else is refused. Whoever keeps ``head`` elsewhere can prove that no end was cut off.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from service.storage import audit_log
from service.storage.office_tables import AuditEntry

START = "0" * 64
SYSTEM = "system"
_CODE = re.compile(r"[A-Za-z0-9_.:|/+-]{0,64}")
_LONG_NUMBER = re.compile(r"[0-9]{7,}")
_DATE = re.compile(r"(?:19|20)[0-9]{6}")
_LARGEST = 10**7

Fact = str | int | float | bool | None | list[str] | list[int]


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry that does not fit: its number and why."""

    id: int
    reason: str


def record(session: Session, now: datetime, actor: str, action: str, subject: str, **facts: Fact) -> int:
    """Add an entry to the running transaction and return its number.

    ``actor`` is ``key:ID`` or another code, ``subject`` as ``complaint:12``; facts are codes and numbers.
    Raises ValueError for anything that could hold words or a person's number.
    """
    for field, value in {"actor": actor, "action": action, **facts}.items():
        _refuse_personal(field, value)
    if not re.fullmatch(r"[a-z_]+:[A-Za-z0-9_-]{1,64}", subject):
        raise ValueError("subject: not of the form kind:id; name a row, as complaint:12")
    head = audit_log.lock_head(session)
    entry = AuditEntry(
        id=head.last_id + 1,
        at=now.astimezone(UTC),
        actor=actor,
        action=action,
        subject=subject,
        facts=dict(facts),
        previous=head.last_hash,
    )
    entry.hash = _hash(entry)
    audit_log.append(session, head, entry)
    return entry.id


def verify(session: Session) -> Broken | None:
    """Return the first entry that was changed, put in, taken out or cut off; None when the chain is whole."""
    previous, number = START, 0
    for entry in audit_log.in_order(session):
        number += 1
        if entry.id != number:
            return Broken(number, "缺少这一条")
        if entry.previous != previous:
            return Broken(entry.id, "与前一条接不上")
        if entry.hash != _hash(entry):
            return Broken(entry.id, "内容被改动")
        previous = entry.hash
    if audit_log.head_of(session) != (number, previous):
        return Broken(number + 1, "末尾被截去，或末端记录被改动")
    return None


def head(session: Session) -> tuple[int, str]:
    """Return the number and hash of the last entry, to be noted down outside the database."""
    return audit_log.head_of(session) or (0, START)


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return the one way to write ``value`` as JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


def _hash(entry: AuditEntry) -> str:
    told = {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "facts": entry.facts,
        "previous": entry.previous,
    }
    return hashlib.sha256(canonical(told)).hexdigest()


def _refuse_personal(field: str, value: Fact) -> None:
    if isinstance(value, list):
        for part in value:
            _refuse_personal(field, part)
    elif isinstance(value, str):
        digits = _LONG_NUMBER.search(_DATE.sub("", value))
        # A digest in hex may hold any digits.
        if not _CODE.fullmatch(value) or (digits and not re.fullmatch(r"[0-9a-f]{64}", value)):
            raise ValueError(f"{field}: not a code; the audit log takes codes and numbers, never words or contacts")
    elif isinstance(value, int | float) and abs(value) >= _LARGEST:
        raise ValueError(f"{field}: number too long; the audit log takes counts and row numbers, never contacts")

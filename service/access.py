"""Who may do what: API keys, the roles they carry, one table of permissions, and the guard of each address.

A key reads ``triage_PREFIX_SECRET``. It is shown once; what is kept is the prefix and a salted hash. The secret is
random and long, so a plain hash is as good as a slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from service import audit
from service.problems import Problem, ProblemError
from service.storage import keys
from service.storage.database import Database
from service.storage.errors import ConflictError, NotFoundError, StorageError
from service.storage.office_tables import ROLES, ApiKey

_SECRET = re.compile(r"triage_([a-z2-7]{10})_([A-Za-z0-9_-]{43})")
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_USED_EVERY = timedelta(hours=1)
_BEARER = HTTPBearer(auto_error=False, scheme_name="接口密钥", description="Authorization: Bearer triage_…")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
_NOBODY = (b"\0" * 16, b"\0" * 32)


class Permission(StrEnum):
    """One thing that a caller may do."""

    SUBMIT = "submit"  # hand in complaints, one or a file
    RECORD_EVENTS = "record_events"
    READ = "read"  # redacted complaints and matters that are not confidential
    READ_CONFIDENTIAL = "read_confidential"
    READ_RAW = "read_raw"
    CORRECT = "correct"
    CHANGE_MATTERS = "change_matters"  # merge, split, answer suggestions
    HANDLE_ALERTS = "handle_alerts"
    READ_BRIEFINGS = "read_briefings"
    LOOK_UP_DECISIONS = "look_up_decisions"
    READ_MODELS = "read_models"
    CHANGE_MODELS = "change_models"
    ERASE = "erase"
    READ_AUDIT = "read_audit"
    MANAGE_KEYS = "manage_keys"


_INTAKE = frozenset((Permission.SUBMIT, Permission.RECORD_EVENTS))
_FIGURES = frozenset((Permission.READ, Permission.READ_BRIEFINGS, Permission.LOOK_UP_DECISIONS, Permission.READ_MODELS))
# An analyst works with figures and redacted texts: confidential complaints are the officers'.
PERMISSIONS: dict[str, frozenset[Permission]] = {
    "intake": _INTAKE,
    "officer": _INTAKE
    | _FIGURES
    | {
        *(Permission.READ_CONFIDENTIAL, Permission.READ_RAW, Permission.CORRECT),
        *(Permission.CHANGE_MATTERS, Permission.HANDLE_ALERTS),
    },
    "analyst": _FIGURES,
    "admin": frozenset(Permission),
}
ROLE_NAMES = {"intake": "收件", "officer": "经办", "analyst": "分析", "admin": "管理"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request: the key's number and its role, never its name."""

    key_id: int
    role: str

    @property
    def actor(self) -> str:
        """How the audit log calls the caller."""
        return f"key:{self.key_id}"

    def may(self, permission: Permission) -> bool:
        """Return whether the caller's role has this permission."""
        return permission in PERMISSIONS[self.role]

    @property
    def confidential(self) -> bool:
        """Whether the caller may see confidential complaints; repositories ask for it."""
        return self.may(Permission.READ_CONFIDENTIAL)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; ``secret`` is shown now and never again."""

    id: int
    secret: str
    role: str


def create_key(session: Session, role: str, name: str, *, by: str, now: datetime) -> NewKey:
    """Make a key for a role; ``name`` tells people whose it is. Raises ValueError for an unknown role or no name."""
    if role not in ROLES:
        raise ValueError(f"role {role[:40]}: unknown; use one of {', '.join(ROLES)}")
    if not 0 < len(name.strip()) <= 200:
        raise ValueError("name: empty or over 200 characters; say which system or office the key is for")
    prefix, secret = "".join(secrets.choice(_LETTERS) for _ in range(10)), secrets.token_urlsafe(32)
    salt = secrets.token_bytes(16)
    row = ApiKey(prefix=prefix, salt=salt, digest=_digest(salt, secret), name=name.strip(), role=role, created_at=now)
    keys.add(session, row)
    audit.record(session, now, by, "key.create", f"key:{row.id}", role=role)
    return NewKey(row.id, f"triage_{prefix}_{secret}", role)


def revoke_key(session: Session, key_id: int, *, by: str, now: datetime) -> None:
    """End a key at once. Raises NotFoundError, and ConflictError for the last admin key."""
    row = keys.by_id(session, key_id)
    if row is None:
        raise NotFoundError(f"没有编号为 {key_id} 的密钥；请核对编号。")
    if row.revoked_at is not None:
        return
    if row.role == "admin" and keys.count_valid(session, "admin") == 1:
        raise ConflictError("这是最后一把管理密钥；请先新建一把，再停用它。")
    row.revoked_at = now
    session.flush()
    audit.record(session, now, by, "key.revoke", f"key:{key_id}")


def identify(session: Session, offered: str) -> tuple[Caller, datetime | None] | None:
    """Return who holds this key and when it was last used; None for one that is unknown, wrong or revoked."""
    parts = _SECRET.fullmatch(offered)
    row = keys.by_prefix(session, parts[1]) if parts else None
    salt, digest = (row.salt, row.digest) if row else _NOBODY
    # Compared even for an unknown prefix, so that time does not tell which prefixes there are.
    same = hmac.compare_digest(_digest(salt, parts[2] if parts else ""), digest)
    if row is None or not same or row.revoked_at is not None:
        return None
    return Caller(row.id, row.role), row.used_at


class Gate:
    """Knows callers by their key. The application keeps one as ``app.state.gate``; ``require`` asks it."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def admit(self, offered: str) -> Caller:
        """Return who holds the key ``offered``. Raises ProblemError (401)."""
        now = self._now()
        with self._database.reading() as session:
            found = identify(session, offered)
        if found is None:
            raise ProblemError(_UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        caller, used_at = found
        if used_at is None or abs(now - used_at) > _USED_EVERY:
            self._note_use(caller, now)
        return caller

    def _note_use(self, caller: Caller, now: datetime) -> None:
        try:
            with self._database.writing() as session:
                keys.mark_used(session, caller.key_id, now=now)
        except StorageError:
            return  # the note is for administrators only; a busy or full disk must not lock readers out


def require(permission: Permission) -> Any:
    """Return the dependency that hands an endpoint its Caller, as ``Annotated[Caller, require(Permission.READ)]``.

    It answers 401 without a valid key and 403 when the key's role lacks the permission.
    """

    def admit(request: Request, credentials: _Credentials) -> Caller:
        gate: Gate = request.app.state.gate
        caller = gate.admit(credentials.credentials if credentials else "")
        if not caller.may(permission):
            raise ProblemError(_forbidden(permission))
        return caller

    return Security(admit)


def roles_with(permission: Permission) -> tuple[str, ...]:
    """Return the roles that have a permission."""
    return tuple(role for role in ROLES if permission in PERMISSIONS[role])


def stated(permission: Permission) -> dict[str, Any]:
    """Return the ``openapi_extra`` by which an address states its roles."""
    return {"x-roles": list(roles_with(permission))}


def told(permission: Permission) -> str:
    """Return the sentence for an address's description that says who may call it."""
    names = "、".join(f"{ROLE_NAMES[role]}（{role}）" for role in roles_with(permission))
    return f"可用角色：{names}。"


def _digest(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode()).digest()


def _forbidden(permission: Permission) -> Problem:
    detail = f"这把密钥的角色不能办这件事；{told(permission)}请换用相应角色的密钥，或请管理员新建。"
    return Problem(type="urn:triage:problem:forbidden", title="没有权限", status=403, detail=detail)


_UNAUTHORIZED = Problem(
    type="urn:triage:problem:unauthorized",
    title="密钥无效",
    status=401,
    detail="没有密钥，或密钥有误、已停用；请在请求头写 Authorization: Bearer triage_…，没有密钥请向管理员申请。",
)

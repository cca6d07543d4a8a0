from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException

from service import audit
from service.access import (
    PERMISSIONS,
    Caller,
    Gate,
    NewKey,
    Permission,
    create_key,
    identify,
    require,
    revoke_key,
    roles_with,
    stated,
    told,
)
from service.crypto import KeyRing, KeyRingError, key_id_of, normalise_contact, write_key_ring
from service.problems import answer_http_error
from service.storage import audit_log, keys
from service.storage.database import Database
from service.storage.errors import ConflictError, NotFoundError
from service.storage.migrate import upgrade

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(str(tmp_path / "triage.db"))
    upgrade(database.engine)
    yield database
    database.close()


def make(database: Database, role: str, name: str = "某系统") -> NewKey:
    with database.writing() as session:
        return create_key(session, role, name, by=audit.SYSTEM, now=NOW)


# --- keys and roles ---


def test_a_key_is_known_again_and_kept_as_a_hash_only(database: Database, tmp_path: Path) -> None:
    key = make(database, "officer")
    with database.reading() as session:
        assert identify(session, key.secret) == (Caller(key.id, "officer"), None)
        for wrong in ("", "x", key.secret[:-1] + ("A" if key.secret[-1] != "A" else "B"), key.secret[1:], "密钥"):
            assert identify(session, wrong) is None
    written = b"".join(path.read_bytes() for path in tmp_path.glob("triage.db*"))
    assert key.secret.split("_", 2)[1].encode() in written
    assert key.secret.split("_", 2)[2].encode() not in written


def test_a_revoked_key_opens_nothing_and_the_last_admin_stays(database: Database) -> None:
    admin, other = make(database, "admin"), make(database, "intake")
    with database.writing() as session:
        revoke_key(session, other.id, by=f"key:{admin.id}", now=NOW)
        revoke_key(session, other.id, by=f"key:{admin.id}", now=NOW)
        assert identify(session, other.secret) is None
        with pytest.raises(ConflictError, match="最后一把"):
            revoke_key(session, admin.id, by=f"key:{admin.id}", now=NOW)
        with pytest.raises(NotFoundError):
            revoke_key(session, 99, by=f"key:{admin.id}", now=NOW)
        entries = audit_log.list_entries(session, f"key:{other.id}", None, 9).items
        assert [entry.action for entry in entries] == ["key.revoke", "key.create"]


@pytest.mark.parametrize(("role", "name"), [("root", "x"), ("admin", " "), ("admin", "长" * 201)])
def test_a_key_needs_a_role_and_a_name(database: Database, role: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"role|name"):
        make(database, role, name)


def test_each_role_may_do_what_the_table_says() -> None:
    assert PERMISSIONS["intake"] < PERMISSIONS["officer"] < PERMISSIONS["admin"] == frozenset(Permission)
    assert roles_with(Permission.READ_CONFIDENTIAL) == roles_with(Permission.READ_RAW) == ("officer", "admin")
    assert roles_with(Permission.READ) == ("officer", "analyst", "admin")
    assert roles_with(Permission.SUBMIT) == ("intake", "officer", "admin")
    for permission in (Permission.ERASE, Permission.READ_AUDIT, Permission.MANAGE_KEYS, Permission.CHANGE_MODELS):
        assert roles_with(permission) == ("admin",)


def guarded(database: Database, clock: list[datetime]) -> TestClient:
    app = FastAPI(exception_handlers={HTTPException: answer_http_error})
    app.state.gate = Gate(database, lambda: clock[0])

    @app.get("/raw", openapi_extra=stated(Permission.READ_RAW), description=told(Permission.READ_RAW))
    def raw(caller: Annotated[Caller, require(Permission.READ_RAW)]) -> dict[str, Any]:
        return {"actor": caller.actor, "confidential": caller.confidential}

    return TestClient(app)


def test_an_address_lets_in_the_roles_that_it_states(database: Database) -> None:
    client = guarded(database, [NOW])
    for role in PERMISSIONS:
        key = make(database, role)
        answer = client.get("/raw", headers={"Authorization": f"Bearer {key.secret}"})
        if role in ("officer", "admin"):
            assert (answer.status_code, answer.json()) == (200, {"actor": f"key:{key.id}", "confidential": True})
        else:
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:triage:problem:forbidden")
            assert "经办（officer）、管理（admin）" in answer.json()["detail"]
    for headers in ({}, {"Authorization": "Bearer triage_x"}, {"Authorization": "Basic eDp5"}):
        answer = client.get("/raw", headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_address_states_its_roles_in_openapi(database: Database) -> None:
    schema = guarded(database, [NOW]).get("/openapi.json").json()
    operation = schema["paths"]["/raw"]["get"]
    assert operation["x-roles"] == ["officer", "admin"]
    assert operation["description"] == "可用角色：经办（officer）、管理（admin）。"
    assert operation["security"] == [{"接口密钥": []}]
    assert schema["components"]["securitySchemes"]["接口密钥"]["scheme"] == "bearer"


def test_the_use_of_a_key_is_noted_now_and_then(database: Database) -> None:
    key, clock = make(database, "officer"), [NOW]
    client = guarded(database, clock)

    def used_at() -> datetime | None:
        assert client.get("/raw", headers={"Authorization": f"Bearer {key.secret}"}).status_code == 200
        with database.reading() as session:
            return keys.list_keys(session)[0].used_at

    assert used_at() == NOW
    clock[0] += timedelta(minutes=30)
    assert used_at() == NOW
    clock[0] += timedelta(hours=1)
    assert used_at() == clock[0]


# --- encryption ---


def test_a_sealed_text_opens_with_its_key_and_its_place_only() -> None:
    ring = KeyRing.new()
    sealed = ring.seal("张三的电话", "a")
    assert ring.open(sealed, "a") == "张三的电话"
    assert sealed != ring.seal("张三的电话", "a")
    assert key_id_of(sealed) == ring.current
    for broken, place in ((sealed, "b"), (sealed[:-1] + bytes([sealed[-1] ^ 1]), "a")):
        with pytest.raises(KeyRingError, match="被改动"):
            ring.open(broken, place)
    for nothing in (b"", b"\x01", b"\x01\x08short", b"\x02" + sealed[1:]):
        with pytest.raises(KeyRingError, match="密文格式"):
            ring.open(nothing, "a")
    with pytest.raises(KeyRingError, match="缺少密钥"):
        KeyRing.new().open(sealed, "a")


def test_a_turned_ring_opens_old_texts_and_knows_old_submitters() -> None:
    old = KeyRing.new()
    ring = KeyRing.parse(old.rotated().as_text())
    assert ring.open(old.seal("文", "a"), "a") == "文"
    assert key_id_of(ring.seal("文", "a")) == ring.current != old.current
    assert ring.submitter_ref("13800001111") == old.submitter_ref("13800001111")
    assert ring.without_old().key_ids == (ring.current,)


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "ring.json"
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: KeyRing.load_or_create(path), range(8)))
    assert len({ring.current for ring in rings}) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["ring.json"]
    turned = rings[0].rotated()
    write_key_ring(path, turned)
    assert KeyRing.load_or_create(path).current == turned.current
    path.chmod(0o640)
    with pytest.raises(KeyRingError, match="chmod 600"):
        KeyRing.load_or_create(path)


@pytest.mark.parametrize(
    "written",
    ["", "[]", "{}", '{"current": "a", "keys": {}, "hash": ""}', '{"current": "a", "keys": {"a": "?"}, "hash": ""}'],
)
def test_a_ring_that_cannot_be_used_is_refused(written: str) -> None:
    with pytest.raises(KeyRingError, match="请"):
        KeyRing.parse(written)


@pytest.mark.parametrize(
    "same",
    [
        (
            "13800001111",
            "138-0000-1111",
            "+86 138 0000 1111",
            "１３８００００１１１１",
            "008613800001111",
            "(138)00001111",
        ),
        ("0731-88881234", "073188881234", "+86 731 88881234"),
        ("11010519491231002X", "11010519491231002x", "110105 19491231 002X"),
        ("Zhang@Example.com", " zhang@example.com "),
    ],
)
def test_one_contact_is_one_submitter_however_it_is_written(same: tuple[str, ...]) -> None:
    ring = KeyRing.new()
    assert len({ring.submitter_ref(written) for written in same}) == 1
    assert same[0] not in ring.submitter_ref(same[0])
    assert KeyRing.new().submitter_ref(same[0]) != ring.submitter_ref(same[0])


def test_different_contacts_are_different_submitters() -> None:
    contacts = ("13800001111", "13800001112", "a.b@c.cn", "ab@c.cn", "11010519491231002X", "张三", "李四")
    assert len(set(map(normalise_contact, contacts))) == len(contacts)
    with pytest.raises(ValueError, match="submitter"):
        normalise_contact(" -- ")

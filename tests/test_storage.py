from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import service.storage
from service import audit
from service.crypto import KeyRing, KeyRingError
from service.storage import (
    alerts,
    assessments,
    complaints,
    corrections,
    deliveries,
    events,
    imports,
    jobs,
    matters,
    merging,
    office_tables,
    retention,
    sealing,
    tags,
)
from service.storage.alerts import AlertFilter, NewAlert
from service.storage.assessments import NewAssessment
from service.storage.base import Base
from service.storage.complaints import ComplaintFilter, NewComplaint
from service.storage.database import Database
from service.storage.errors import (
    ConflictError,
    CursorError,
    NotFoundError,
    StorageBusyError,
    StorageFullError,
    StorageUnavailableError,
)
from service.storage.events import NewEvent
from service.storage.imports import RowProblem
from service.storage.matters import Link, MatterFilter
from service.storage.migrate import is_current, upgrade
from service.storage.tables import Complaint, ComplaintTags, Matter, Membership
from triage.clock import ClockLimits
from triage.tagging import CueSpan, InstitutionSpan, PersonalSpan, Scored, Span, Tags
from triage.taxonomy import load_taxonomy

# The same tests run on PostgreSQL where this names an empty database of its own.
POSTGRES = os.environ.get("TEST_POSTGRES_URL")
NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
TAXONOMY = load_taxonomy()
LIMITS = ClockLimits.of(TAXONOMY)
RING = KeyRing.new()
RAW = "王小明家住桃源路，电话13800001111"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "triage.db"
    database = Database.open(str(path))
    upgrade(database.engine)
    database.flush_erased()
    database.close()
    return path


@pytest.fixture
def file(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "triage.db"))


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRES else [])])
def database(request: pytest.FixtureRequest, file: Path) -> Iterator[Database]:
    database = Database.open(str(file) if request.param == "sqlite" else str(POSTGRES))
    if request.param == "postgresql":
        with database.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        upgrade(database.engine)
    yield database
    database.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing() as session:
        yield session


def new(number: int = 1, **fields: Any) -> NewComplaint:
    given: dict[str, Any] = {
        "channel": "web",
        "received_at": NOW + timedelta(days=number),
        "title": f"第{number}件",
        "body": RAW,
        "redacted_title": f"第{number}件",
        "redacted_body": "[姓名]家住桃源路，电话[电话]",
    }
    return NewComplaint(**(given | fields))


def take_in(session: Session, number: int = 1, **fields: Any) -> Complaint:
    return complaints.accept(session, new(number, **fields), RING, by="key:1", now=NOW).complaint


def link(decision: str = "attach", days: float = 0) -> Link:
    return Link(
        decision, "linker:1", NOW + timedelta(days=days), 0.9, ({"feature": "rare_terms", "words": ["桃源路"]},)
    )


def open_one(session: Session, number: int = 1, **fields: Any) -> tuple[Matter, Complaint]:
    complaint = take_in(session, number, **fields)
    return matters.open_matter(session, complaint, link("new", number), LIMITS, office="基教科"), complaint


def record(session: Session, matter: Matter, kind: str, days: float) -> events.Recorded:
    at = NOW + timedelta(days=days)
    return events.add_to_matter(session, matter.id, NewEvent(kind, at), by="key:1", now=at, limits=LIMITS)


def some_tags(**fields: Any) -> Tags:
    given: dict[str, Any] = {
        "topic": "fees",
        "topics": (Scored("fees", 0.9, (Span(0, 3, "王小明"),)),),
        "purpose": Scored("request", 0.8, ()),
        "needs_review": False,
        "cues": (CueSpan("repeat", 0, 3, "王小明", "rule.repeat"),),
        "headcount": 6,
        "institutions": (InstitutionSpan("王小明", 0, 3, "key"),),
        "personal_data": (PersonalSpan("name", 0, 3),),
        "confidential": False,
        "danger": False,
        "model": "linear-1",
    }
    return Tags(**(given | fields))


# --- the tables and the database itself ---


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database, tmp_path: Path) -> None:
    assert is_current(database.engine)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    if database.engine.dialect.name == "sqlite":
        direct = Database.open(str(tmp_path / "direct.db"))
        Base.metadata.create_all(direct.engine)
        assert schema(direct) == schema(database)  # checks and partial indexes too


def schema(database: Database) -> set[str]:
    with database.reading() as session:
        rows = session.scalars(text("SELECT sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql IS NOT NULL"))
        # The order of constraints within a table is of no account.
        return {" ".join(sorted(re.split(r",?\s*\n\s*", row))) for row in rows}


def test_several_workers_may_upgrade_at_once(tmp_path: Path) -> None:
    opened = [Database.open(str(tmp_path / "new" / "triage.db")) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda database: upgrade(database.engine), opened))
    assert all(is_current(database.engine) for database in opened)
    assert (tmp_path / "new" / "triage.db").stat().st_mode & 0o077 == 0


def test_a_database_of_a_newer_version_is_left_alone(file: Path) -> None:
    database = Database.open(str(file))
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageUnavailableError, match="更新的程序版本"):
        upgrade(database.engine)
    assert not is_current(database.engine)


def test_sqlite_is_set_to_lose_nothing(file: Path) -> None:
    with Database.open(str(file)).reading() as session:
        settings = {name: session.scalar(text(f"PRAGMA {name}")) for name in
                    ("journal_mode", "synchronous", "foreign_keys", "secure_delete")}  # fmt: skip
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


def test_a_locked_database_is_told_with_a_remedy(file: Path) -> None:
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        database = Database.open(str(file), wait=0.05)
        with pytest.raises(StorageBusyError, match="请稍后重试"), database.writing():
            pass
        with database.reading() as session:  # readers are not kept out
            assert session.scalar(text("SELECT count(*) FROM complaints")) == 0
        other.execute("ROLLBACK")


def test_a_full_disk_is_told_and_keeps_what_was_there(file: Path) -> None:
    database = Database.open(str(file))
    with database.writing() as session:
        take_in(session)

    def fill() -> None:
        with database.writing() as session:
            pages = session.scalar(text("PRAGMA page_count"))
            session.execute(text(f"PRAGMA max_page_count = {pages}"))
            for number in range(2, 200):
                take_in(session, number, body=RAW * 50)

    with pytest.raises(StorageFullError, match="磁盘已满"):
        fill()
    database.close()
    with Database.open(str(file)).writing() as session:
        assert len(complaints.next_complaints(session, 0, 10)) == 1
        take_in(session, 2)
        assert audit.verify(session) is None


@pytest.mark.parametrize("url", ["sqlite://", "nosuch://x", "/dev/null/x/triage.db", "what?://"])
def test_an_address_that_cannot_be_used_is_told(url: str) -> None:
    with pytest.raises(StorageUnavailableError, match="请"):
        Database.open(url)


def test_a_database_without_tables_is_told(tmp_path: Path) -> None:
    with (
        Database.open(str(tmp_path / "empty.db")).reading() as session,
        pytest.raises(StorageUnavailableError, match="triage upgrade"),
    ):
        complaints.next_complaints(session, 0, 1)


def test_a_reading_session_cannot_write(database: Database) -> None:
    with database.reading() as session, pytest.raises(StorageUnavailableError, match="只能读"):
        take_in(session)


def test_times_come_back_aware_in_utc_and_naive_ones_are_refused(database: Database) -> None:
    shanghai = datetime.fromisoformat("2026-03-01T08:30:00.123456+08:00")
    with database.writing() as session:
        number = take_in(session, received_at=shanghai).id
    with database.reading() as session:
        stored = complaints.get_complaint(session, number, confidential=True).received_at
        assert (stored, stored.tzinfo) == (shanghai, UTC)
    with pytest.raises(Exception, match="time zone"), database.writing() as session:
        take_in(session, received_at=datetime(2026, 3, 1))


# --- complaints ---


def test_the_same_key_and_content_is_the_same_complaint(session: Session) -> None:
    first = complaints.accept(session, new(idempotency_key="a"), RING, by="key:1", now=NOW)
    again = complaints.accept(session, new(idempotency_key="a"), RING, by="key:1", now=NOW)
    assert (first.repeated, again.repeated, again.complaint.id) == (False, True, first.complaint.id)
    with pytest.raises(ConflictError, match="Idempotency-Key"):
        complaints.accept(session, new(idempotency_key="a", body="别的"), RING, by="key:1", now=NOW)
    other = complaints.accept(session, new(idempotency_key="a"), RING, by="key:2", now=NOW)
    assert not other.repeated  # another caller's keys are its own


def test_an_external_number_is_taken_once_in_a_channel(session: Session) -> None:
    first = take_in(session, external_id="12345-1", content=b"row")
    assert take_in(session, 2, external_id="12345-1", content=b"row").id == first.id
    assert take_in(session, 3, external_id="12345-1", channel="letter", content=b"row").id != first.id


def test_workers_that_send_the_same_at_once_store_it_once(database: Database) -> None:
    barrier = threading.Barrier(4)

    def send(_: int) -> int:
        barrier.wait()
        with database.writing() as session:
            return take_in(session, idempotency_key="same").id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(send, range(4)))) == 1


def test_a_list_goes_on_where_the_last_page_ended(session: Session) -> None:
    for number in range(1, 8):
        take_in(session, number, received_at=NOW + timedelta(days=number // 3))
    seen: list[int] = []
    cursor = None
    while True:
        page = complaints.list_complaints(session, ComplaintFilter(), cursor, 3, confidential=True)
        seen += [row.id for row in page.items]
        cursor = page.next
        if cursor is None:
            break
        take_in(session, 100 + len(seen))  # newer than all: it must not push old ones onto the next page
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("cursor", ["x", "", "W10", "WyIyMDI2LTAxLTAxIiwxXQ", "WyJhIiwxXQ", "游标", "bnVsbA"])
def test_a_cursor_of_nobody_is_refused(session: Session, cursor: str) -> None:
    with pytest.raises(CursorError, match="next"):
        complaints.list_complaints(session, ComplaintFilter(), cursor, 3, confidential=True)


def test_a_list_is_narrowed_by_what_complaints_are_about(session: Session) -> None:
    first = complaints.accept(session, new(1, region="甲县"), RING, by="key:1", now=NOW, tags=some_tags()).complaint
    take_in(session, 2)
    matter, third = open_one(session, 3)

    def ids(**fields: Any) -> list[int]:
        page = complaints.list_complaints(session, ComplaintFilter(**fields), None, 10, confidential=True)
        return [row.id for row in page.items]

    assert ids(topic="fees") == ids(region="甲县") == ids(purpose="request", needs_review=False) == [first.id] == [1]
    assert ids(matter_id=matter.id) == [third.id]
    assert ids(received_from=NOW + timedelta(days=2), received_to=NOW + timedelta(days=3)) == [2]
    assert ids(danger=True) == ids(channel="visit") == []


def test_a_confidential_complaint_is_as_if_it_were_not_there(session: Session) -> None:
    secret = complaints.accept(session, new(), RING, by="key:1", now=NOW, tags=some_tags(confidential=True)).complaint
    matter = matters.open_matter(session, secret, link("new"), LIMITS, office=None)
    assert matter.confidential
    for look in (
        lambda sees: complaints.get_complaint(session, secret.id, confidential=sees),
        lambda sees: complaints.read_raw(session, secret.id, RING, by="key:1", now=NOW, confidential=sees),
        lambda sees: matters.get_matter(session, matter.id, confidential=sees),
    ):
        look(True)
        with pytest.raises(NotFoundError):
            look(False)
    assert not complaints.list_complaints(session, ComplaintFilter(), None, 9, confidential=False).items
    assert not matters.list_matters(session, MatterFilter(), "recent", None, 9, confidential=False).items


def test_the_raw_text_stands_nowhere_in_the_files_and_its_reading_is_on_record(file: Path) -> None:
    database = Database.open(str(file))
    with database.writing() as session:
        ref = RING.submitter_ref("13800001111")
        row = complaints.accept(session, new(submitter_ref=ref), RING, by="key:1", now=NOW, tags=some_tags()).complaint
        raw = complaints.read_raw(session, row.id, RING, by="key:7", now=NOW, confidential=True)
        assert (raw.title, raw.body) == ("第1件", RAW)
        last = next(iter(audit_entries(session)))
        assert (last.actor, last.action, last.subject) == ("key:7", "complaint.read_raw", f"complaint:{row.id}")
    written = b"".join(path.read_bytes() for path in file.parent.glob("triage.db*"))
    assert "家住桃源路".encode() in written
    assert "王小明".encode() not in written
    assert b"13800001111" not in written


def audit_entries(session: Session) -> tuple[office_tables.AuditEntry, ...]:
    from service.storage.audit_log import list_entries

    return list_entries(session, None, None, 100).items


def test_new_tags_take_force_but_not_over_an_officer(session: Session) -> None:
    row = complaints.accept(session, new(), RING, by="key:1", now=NOW, tags=some_tags()).complaint
    assert (row.topic, row.headcount, row.tags_model) == ("fees", 6, "linear-1")
    corrections.correct(session, row.id, "topic", "safety", by="key:1", now=NOW, taxonomy=TAXONOMY, confidential=True)
    keep = corrections.corrected_fields(session, row.id)
    tags.put_in_force(session, row, some_tags(model="linear-2", purpose=Scored("consult", 0.9, ())), now=NOW, keep=keep)
    assert (row.topic, row.purpose, row.tags_model) == ("safety", "consult", "linear-2")
    assert session.scalars(select(ComplaintTags.model).order_by(ComplaintTags.id)).all() == ["linear-1", "linear-2"]
    kept = tags.tags_of(session, row)
    assert kept is not None
    assert "王小明" not in json.dumps(kept.tags, ensure_ascii=False)
    assert kept.tags["cues"] == [{"kind": "repeat", "start": 0, "end": 3, "source": "rule.repeat"}]


def test_a_correction_to_an_accusation_makes_complaint_and_matter_confidential(session: Session) -> None:
    matter, complaint = open_one(session)
    corrections.correct(session, complaint.id, "purpose", "accuse", by="key:1", now=NOW, taxonomy=TAXONOMY,
                        confidential=True)  # fmt: skip
    assert complaint.confidential
    assert matter.confidential
    assert [c.field for c in corrections.corrections_of(session, complaint.id)] == ["purpose", "confidential"]
    assert not corrections.list_corrections(session, None, 9, confidential=False).items
    for field, value in (("topic", "nosuch"), ("body", "x"), ("danger", "yes"), ("headcount", 0), ("headcount", True)):
        with pytest.raises(ValueError, match=field):
            corrections.correct(session, complaint.id, field, value, by="key:1", now=NOW, taxonomy=TAXONOMY,
                                confidential=True)  # fmt: skip


# --- matters ---


def test_a_matter_counts_what_is_in_it_and_says_why(session: Session) -> None:
    matter, first = open_one(session, submitter_ref="a", headcount=2)
    second = take_in(session, 5, submitter_ref="b", headcount=9, danger=True)
    matters.attach(session, second, matter.id, link(days=5), LIMITS)
    third = take_in(session, 6, submitter_ref="a")
    matters.attach(session, third, matter.id, link(days=6), LIMITS)
    assert (matter.complaints, matter.most_people, matter.danger) == (3, 9, True)
    assert (matter.opened_at, matter.last_received_at) == (first.received_at, third.received_at)
    assert matters.distinct_submitters(session, matter.id) == 2
    why = matters.members(session, matter.id)
    assert [(m.decision, m.score, c.id) for m, c in why] == [
        ("new", 0.9, first.id),
        ("attach", 0.9, second.id),
        ("attach", 0.9, third.id),
    ]
    assert why[0][0].reasons == [{"feature": "rare_terms", "words": ["桃源路"]}]


def test_matters_opened_at_once_are_as_if_opened_one_by_one(session: Session) -> None:
    one, _ = open_one(session, 1, headcount=6, confidential=True)
    (other,) = matters.open_matters(
        session, [(take_in(session, 1, headcount=6, confidential=True), link("new"), "基教科")], LIMITS, NOW
    )
    skipped = {"id", "uid"}
    columns = [column.name for column in Matter.__table__.columns if column.name not in skipped]
    session.refresh(other)
    assert [getattr(other, name) for name in columns] == [getattr(one, name) for name in columns]
    assert len(matters.members(session, other.id)) == 1


def test_a_complaint_is_in_one_matter_at_a_time(session: Session) -> None:
    first, complaint = open_one(session, 1)
    second, _ = open_one(session, 2)
    matters.attach(session, complaint, second.id, link("officer", 3), LIMITS)
    assert (first.complaints, second.complaints) == (0, 2)
    moved = matters.active_membership(session, complaint.id)
    assert moved is not None
    assert moved.replaces is not None
    double = Membership(
        complaint_id=complaint.id, matter_id=first.id, decision="attach", state="active", reasons=[], by="x", at=NOW
    )
    with pytest.raises(IntegrityError), session.begin_nested():
        session.add(double)


def test_a_suggestion_waits_for_an_officer(session: Session) -> None:
    matter, _ = open_one(session, 1)
    own, complaint = open_one(session, 2)
    asked = matters.suggest(session, complaint, matter.id, link("suggest", 2))
    assert [m.state for m, _ in matters.members(session, matter.id)] == ["active", "suggested"]
    matters.answer_suggestion(session, asked.id, True, by="key:3", now=NOW + timedelta(days=3), limits=LIMITS)
    assert (matter.complaints, own.complaints) == (2, 0)
    with pytest.raises(ConflictError, match="答复"):
        matters.answer_suggestion(session, asked.id, False, by="key:3", now=NOW, limits=LIMITS)


def test_a_merge_is_undone_and_leaves_later_complaints_where_they_are(session: Session) -> None:
    source, first = open_one(session, 1)
    target, second = open_one(session, 2)
    merging.merge(session, source.id, target.id, by="key:3", now=NOW + timedelta(days=3), limits=LIMITS)
    assert (source.merged_into, source.complaints, target.complaints) == (target.id, 0, 2)
    assert target.opened_at == first.received_at
    with pytest.raises(ConflictError, match="已并入"):
        matters.attach(session, take_in(session, 8), source.id, link(), LIMITS)
    later = take_in(session, 4)
    matters.attach(session, later, target.id, link(days=4), LIMITS)
    merging.undo_merge(session, source.id, by="key:3", now=NOW + timedelta(days=5), limits=LIMITS)
    assert [c.id for _, c in matters.members(session, source.id)] == [first.id]
    assert [c.id for _, c in matters.members(session, target.id)] == [second.id, later.id]
    assert source.merged_into is None


def test_a_split_takes_some_complaints_out_and_may_be_merged_back(session: Session) -> None:
    matter, first = open_one(session, 1)
    second = take_in(session, 2)
    matters.attach(session, second, matter.id, link(days=2), LIMITS)
    for wrong in ([], [first.id, second.id], [999]):
        with pytest.raises(ConflictError, match="一部分"):
            merging.split(session, matter.id, wrong, by="key:3", now=NOW, limits=LIMITS)
    made = merging.split(session, matter.id, [second.id], by="key:3", now=NOW + timedelta(days=3), limits=LIMITS)
    assert (matter.complaints, made.complaints, made.opened_at) == (1, 1, second.received_at)
    merging.merge(session, made.id, matter.id, by="key:3", now=NOW + timedelta(days=4), limits=LIMITS)
    assert matter.complaints == 2


def test_events_move_the_clock_and_the_same_event_counts_once(session: Session) -> None:
    matter, complaint = open_one(session, 0)
    assert (matter.stage, matter.duty, matter.due_on) == ("registered", "accept", date(2026, 3, 16))
    record(session, matter, "accepted", 5)
    assert (matter.stage, matter.duty, matter.due_on) == ("accepted", "answer", date(2026, 5, 5))
    answered = NewEvent("answered", NOW + timedelta(days=20), note="已退费")
    sent = [
        events.add_to_complaint(session, complaint.id, answered, by="key:2", now=answered.at, limits=LIMITS)
        for _ in range(2)
    ]
    assert [one.repeated for one in sent] == [False, True]
    assert sent[0].event.id == sent[1].event.id
    assert (matter.stage, matter.due_on) == ("answered", None)
    record(session, matter, "closed", 30)
    assert matter.closed_at == NOW + timedelta(days=30)
    assert [event.kind for event in events.events_of(session, matter.id)] == ["accepted", "answered", "closed"]
    with pytest.raises(ValueError, match="still to come"):
        events.add_to_matter(session, matter.id, NewEvent("reopened", NOW + timedelta(days=90)), by="key:2",
                             now=NOW + timedelta(days=31), limits=LIMITS)  # fmt: skip


def test_matters_that_owe_something_are_listed_by_due_date(session: Session) -> None:
    made = [open_one(session, number)[0] for number in (3, 1, 2)]
    record(session, made[2], "answered", 5)
    first = matters.list_matters(session, MatterFilter(), "due", None, 1, confidential=True)
    rest = matters.list_matters(session, MatterFilter(), "due", first.next, 1, confidential=True)
    assert [m.id for m in (*first.items, *rest.items)] == [made[1].id, made[0].id]
    assert rest.next is None
    recent = matters.list_matters(session, MatterFilter(stage="answered"), "recent", None, 5, confidential=True)
    assert [m.id for m in recent.items] == [made[2].id]


def test_the_latest_assessments_rank_the_open_matters(session: Session) -> None:
    made = [open_one(session, number)[0] for number in (1, 2, 3)]

    def assessed(matter: Matter, day: int, probability: float) -> NewAssessment:
        as_of = NOW + timedelta(days=day)
        return NewAssessment(matter.id, 30, "repeat", probability, "关注", ({"feature": "n"},), as_of, "card-1")

    assessments.save(session, [assessed(made[0], 1, 0.9), assessed(made[1], 1, 0.5), assessed(made[2], 1, 0.7)])
    assessments.save(session, [assessed(made[0], 2, 0.1), assessed(made[0], 2, 0.2)])
    record(session, made[2], "closed", 5)

    def ranked(day: int) -> list[tuple[int, float]]:
        until = NOW + timedelta(days=day)
        rows = assessments.ranking(session, 30, "repeat", 9, until=until, confidential=True)
        return [(matter.id, assessment.probability) for assessment, matter in rows]

    assert ranked(1) == [(made[0].id, 0.9), (made[1].id, 0.5)]
    assert ranked(3) == [(made[1].id, 0.5), (made[0].id, 0.2)]
    assert [row.probability for row in assessments.latest(session, made[0].id)] == [0.2]


# --- alerts, deliveries, jobs, imports ---


def test_one_alert_is_open_per_matter_and_rule_and_rests_when_resolved(session: Session) -> None:
    matter, _ = open_one(session)
    overdue = NewAlert.of_matter(matter.id, "overdue", "重点", {"days": 1}, False)
    alert = alerts.raise_alert(session, overdue, now=NOW)
    assert alert is not None
    assert alerts.raise_alert(session, replace(overdue, level="紧急"), now=NOW) is None
    assert alert.level == "紧急"
    assert alerts.raise_alert(session, replace(overdue, rule="repeat"), now=NOW) is not None
    alerts.acknowledge(session, alert.id, by="key:3", now=NOW, confidential=True)
    alerts.assign(session, alert.id, "基教科", by="key:3", now=NOW, confidential=True)
    alerts.resolve(session, alert.id, timedelta(days=7), by="key:3", now=NOW, confidential=True)
    with pytest.raises(ConflictError, match="办结"):
        alerts.acknowledge(session, alert.id, by="key:3", now=NOW, confidential=True)
    assert alerts.raise_alert(session, overdue, now=NOW + timedelta(days=6)) is None
    assert alerts.raise_alert(session, overdue, now=NOW + timedelta(days=7)) is not None
    shown = alerts.list_alerts(session, AlertFilter(rule="overdue"), None, 9, confidential=False).items
    assert [a.state for a in shown] == ["open", "resolved"]
    assert len(alerts.unresolved_of(session, matter.id)) == 2


def test_a_confidential_alert_is_not_shown_to_others(session: Session) -> None:
    hidden = alerts.raise_alert(session, NewAlert("spread", "spread:fees", "重点", {}, True), now=NOW)
    assert hidden is not None
    assert not alerts.list_alerts(session, AlertFilter(), None, 9, confidential=False).items
    with pytest.raises(NotFoundError):
        alerts.acknowledge(session, hidden.id, by="key:3", now=NOW, confidential=False)


def test_a_delivery_is_tried_again_later_and_given_up_at_last(session: Session) -> None:
    alert = alerts.raise_alert(session, NewAlert("spread", "spread:fees", "重点", {}, False), now=NOW)
    assert alert is not None
    for _ in range(2):
        deliveries.enqueue(session, alert.id, "webhook", "oa", "opened", now=NOW)
    now, waits = NOW, []
    for _ in range(deliveries.MOST_ATTEMPTS):
        (taken,) = deliveries.take_due(session, 9, timedelta(minutes=1), now=now)
        assert not deliveries.take_due(session, 9, timedelta(minutes=1), now=now)
        deliveries.mark_failed(session, taken.id, "HTTP 503", now=now)
        waits.append(taken.next_at - now)
        now = taken.next_at
    assert waits[:3] == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120)]
    (dead,) = deliveries.list_deliveries(session, "dead", None, 9).items
    deliveries.retry_dead(session, dead.id, now=now)
    (again,) = deliveries.take_due(session, 9, timedelta(minutes=1), now=now)
    deliveries.mark_sent(session, again.id, now=now)
    assert again.state == "sent"


def test_a_job_runs_once_with_several_workers(database: Database) -> None:
    with database.writing() as session:
        jobs.ensure(session, "assess", timedelta(hours=1), now=NOW)

    def run(_: int) -> jobs.Lease | None:
        with database.writing() as session:
            return jobs.take_due(session, ["assess"], timedelta(minutes=5), now=NOW)

    with ThreadPoolExecutor(4) as pool:
        (lease,) = [taken for taken in pool.map(run, range(4)) if taken]
    with database.writing() as session:
        assert jobs.take_due(session, ["assess"], timedelta(minutes=5), now=NOW + timedelta(minutes=4)) is None
        # The worker died: another takes over, and the first cannot end the other's run.
        second = jobs.take_due(session, ["assess"], timedelta(minutes=5), now=NOW + timedelta(minutes=6))
        assert second is not None
        assert not jobs.finish(session, lease, now=NOW)
        assert jobs.finish(session, second, now=NOW + timedelta(minutes=7), error="TimeoutError")
        assert jobs.take_due(session, ["assess"], timedelta(minutes=5), now=NOW + timedelta(minutes=8)) is None
        (job,) = jobs.list_jobs(session)
        assert (job.failures, job.last_error) == (1, "TimeoutError")
        # The clock had been a year ahead and is set right: the job does not rest for a year.
        assert jobs.take_due(session, ["assess"], timedelta(minutes=5), now=NOW - timedelta(days=365)) is not None


def test_an_import_goes_on_where_it_stopped_and_counts_no_row_twice(session: Session) -> None:
    job = imports.start(session, "digest", by="key:1", now=NOW, total=3)
    problem = RowProblem(2, "received_at", "不是日期", "请写成 2026-03-01")
    counts: dict[str, Any] = {"accepted": 1, "repeated": 0, "by": "key:1", "now": NOW}
    imports.advance(session, job.id, 2, problems=[problem], seen=0, **counts)
    assert imports.start(session, "digest", by="key:1", now=NOW).done == 2
    with pytest.raises(ConflictError, match="另一进程"):
        imports.advance(session, job.id, 2, problems=[], seen=0, **counts)
    imports.advance(session, job.id, 1, problems=[], seen=2, **counts)
    imports.end(session, job.id, failed=False, by="key:1", now=NOW)
    assert (job.done, job.accepted, job.bad, job.state) == (3, 2, 1, "done")
    assert [row.row for row in imports.bad_rows(session, job.id, None, 9).items] == [2]


# --- erasing, keys, audit ---


def test_texts_of_matters_closed_long_ago_are_erased_and_figures_stay(file: Path) -> None:
    database = Database.open(str(file))
    with database.writing() as session:
        matter, first = open_one(session, 1, submitter_ref="a", headcount=7)
        for number, ref in ((2, "a"), (3, "b")):
            matters.attach(session, take_in(session, number, submitter_ref=ref), matter.id, link(days=number), LIMITS)
        answered = NewEvent("answered", NOW + timedelta(days=9), "桃源路已查")
        events.add_to_complaint(session, first.id, answered, by="key:1", now=answered.at, limits=LIMITS)
        record(session, matter, "closed", 10)
        open_one(session, 4, redacted_body="尚未办结")
        before = figures(session, matter)
        closed = NOW + timedelta(days=10)
        assert retention.erase_due(session, closed + timedelta(days=365), 365).complaints == 0
        erased = retention.erase_due(session, closed + timedelta(days=366), 365)
        assert (erased.matters, erased.complaints) == (1, 3)
        assert retention.erase_due(session, closed + timedelta(days=366), 365).complaints == 0
        assert figures(session, matter) == before
        assert {c.submitter_ref for _, c in matters.members(session, matter.id)}.isdisjoint({"a", "b"})
        with pytest.raises(NotFoundError, match="已按规定删除"):
            complaints.read_raw(session, first.id, RING, by="key:1", now=NOW, confidential=True)
    database.flush_erased()
    database.close()
    written = b"".join(path.read_bytes() for path in file.parent.glob("triage.db*"))
    assert "桃源路已查".encode() not in written
    assert "家住桃源路".encode() not in written
    assert "尚未办结".encode() in written


def figures(session: Session, matter: Matter) -> tuple[Any, ...]:
    counted = matters.distinct_submitters(session, matter.id), matter.complaints, matter.most_people, matter.due_on
    return *counted, [(c.received_at, c.channel, c.headcount, c.topic) for _, c in matters.members(session, matter.id)]


def test_a_person_may_ask_for_erasure(session: Session) -> None:
    matter, first = open_one(session, 1, submitter_ref="a", external_id="x1")
    second = take_in(session, 2, submitter_ref="a")
    matters.attach(session, second, matter.id, link(days=2), LIMITS)
    assert retention.erase_complaint(session, first.id, "request", by="key:1", now=NOW)
    assert not retention.erase_complaint(session, first.id, "request", by="key:1", now=NOW)
    session.refresh(first)
    assert (first.title, first.body, first.external_id, first.submitter_ref == second.submitter_ref) == (
        "",
        "",
        None,
        True,
    )
    assert second.body
    assert second.submitter_ref != "a"
    assert matters.distinct_submitters(session, matter.id) == 1
    assert matters.members(session, matter.id)[0][0].reasons == []
    with pytest.raises(ValueError, match="reason"):
        retention.erase_complaint(session, second.id, "王小明要求", by="key:1", now=NOW)


def test_turning_the_key_goes_on_after_a_stop(database: Database) -> None:
    with database.writing() as session:
        ids = [take_in(session, number).id for number in range(1, 6)]
    ring = RING.rotated()
    with database.writing() as session:
        assert sealing.reseal(session, ring, 2, by="key:1", now=NOW) == 2
    with database.writing() as session:
        assert sealing.keys_in_use(session) == {RING.current: 3, ring.current: 2}
        sealing.check_ring(session, ring)
        with pytest.raises(KeyRingError, match="请从备份恢复"):
            sealing.check_ring(session, ring.without_old())
        while sealing.reseal(session, ring, 2, by="key:1", now=NOW):
            pass
        alone = ring.without_old()
        sealing.check_ring(session, alone)
        texts = {complaints.read_raw(session, i, alone, by="key:1", now=NOW, confidential=True).body for i in ids}
        assert texts == {RAW}


def test_a_sealed_text_cannot_be_put_under_another_complaint(session: Session) -> None:
    first, second = take_in(session, 1), take_in(session, 2)
    session.execute(
        text("UPDATE complaints SET sealed = (SELECT sealed FROM complaints WHERE id = :a) WHERE id = :b"),
        {"a": first.id, "b": second.id},
    )
    with pytest.raises(KeyRingError, match="被改动"):
        complaints.read_raw(session, second.id, RING, by="key:1", now=NOW, confidential=True)


def test_the_audit_chain_holds_and_shows_where_it_was_broken(database: Database) -> None:
    with database.writing() as session:
        for number in range(1, 6):
            take_in(session, number)
        assert audit.verify(session) is None
    for harm, first_broken in (
        ("UPDATE audit SET actor = 'key:9' WHERE id = 3", 3),
        ("DELETE FROM audit WHERE id = 2", 2),
        ("DELETE FROM audit WHERE id = 5", 5),
        ("UPDATE audit SET at = '2020-01-01 00:00:00' WHERE id = 1", 1),
        ("UPDATE audit SET previous = hash WHERE id = 4", 4),
        ("UPDATE audit_head SET last_id = 4", 6),
    ):
        with database.writing() as session:
            session.execute(text(harm))
            broken = audit.verify(session)
            assert broken is not None
            assert broken.id == first_broken, harm
            session.rollback()


def test_writers_at_once_do_not_fork_the_audit_chain(database: Database) -> None:
    def work(worker: int) -> None:
        for number in range(5):
            with database.writing() as session:
                audit.record(session, NOW, f"key:{worker}", "test", f"test:{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with database.reading() as session:
        assert audit.verify(session) is None
        assert audit.head(session)[0] == 20


@pytest.mark.parametrize(
    "fact", ["王小明", "13800001111", "a b", 13800001111, ["ok", "李雷"], "x" * 65, "phone:138000011"]
)
def test_the_audit_log_takes_no_personal_data(session: Session, fact: Any) -> None:
    with pytest.raises(ValueError, match="fact"):
        audit.record(session, NOW, "key:1", "test", "test:1", fact=fact)
    with pytest.raises(ValueError, match="subject"):
        audit.record(session, NOW, "key:1", "test", "来件:1")


def test_a_change_undone_leaves_no_audit_entry(database: Database) -> None:
    def half_done() -> None:
        with database.writing() as session:
            take_in(session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_done()
    with database.reading() as session:
        assert audit.head(session)[0] == 0
        assert not complaints.next_complaints(session, 0, 1)


# --- the charter: risk belongs to matters, never to people ---


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for module in pkgutil.iter_modules(service.storage.__path__):
        if module.ispkg:
            continue
        loaded = importlib.import_module(f"service.storage.{module.name}")
        for name, function in inspect.getmembers(loaded, inspect.isfunction):
            if function.__module__ == loaded.__name__ and not name.startswith("_"):
                yield f"{module.name}.{name}", function


def test_no_function_looks_people_up() -> None:
    people = re.compile(r"submitter|contact|person|people|phone|sender|writer|petitioner")
    found = dict(public_functions())
    assert len(found) > 60
    named = {name for name in found if people.search(name)}
    assert named == {"matters.distinct_submitters"}
    for name, function in found.items():
        signature = inspect.signature(function)
        assert not [given for given in signature.parameters if people.search(given)], name
    assert list(inspect.signature(matters.distinct_submitters).parameters) == ["session", "matter_id"]
    for wanted in (ComplaintFilter, MatterFilter, AlertFilter):
        assert not [field for field in wanted.__dataclass_fields__ if people.search(field)]


def test_submitters_stand_in_one_column_without_an_index() -> None:
    holding = {(t.name, c.name) for t in Base.metadata.tables.values() for c in t.columns if "submitter" in c.name}
    assert holding == {("complaints", "submitter_ref")}
    complaint = Base.metadata.tables["complaints"]
    constraints = [*complaint.indexes, *complaint.constraints]
    assert not [c for c in constraints if "submitter_ref" in {column.name for column in c.columns}]  # type: ignore[attr-defined]
    # In SQL the column is counted, never compared, grouped or sorted by.
    used = [
        (path.name, line.strip())
        for path in Path(service.storage.__file__ or "").parent.glob("*.py")
        for line in path.read_text().splitlines()
        if "Complaint.submitter_ref" in line
    ]
    assert used == [("matters.py", "select(func.count(Complaint.submitter_ref.distinct()))")]


def test_only_storage_speaks_sql() -> None:
    root = Path(service.__path__[0])
    speaking = re.compile(r"sqlalchemy(?!\.orm import Session\b)|\.execute\(|\.scalars?\(")
    outside = [path for path in root.rglob("*.py") if path.parent.name not in ("storage", "migrations", "versions")]
    assert not [path.name for path in outside if speaking.search(path.read_text())]


# --- kill -9 ---

CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from service.crypto import KeyRing
from service.storage import complaints
from service.storage.complaints import NewComplaint
from service.storage.database import Database
now = datetime(2026, 3, 1, tzinfo=UTC)
database = Database.open(sys.argv[1])
ring = KeyRing.load_or_create(Path(sys.argv[2]))
for number in range(int(sys.argv[4]), 100_000):
    with database.writing() as session:
        sent = NewComplaint("web", now, "题", "文" * 2000, "题", "文" * 2000, idempotency_key=str(number))
        complaints.accept(session, sent, ring, by="key:1", now=now)
    print(number, flush=True)
"""


def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9(file: Path, tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for wanted in (7, 40, 23):
        resend = max(0, len(acknowledged) - 3)  # a client sends again what it is not sure of
        arguments = [str(file), str(tmp_path / "keys.json"), str(Path(__file__).parents[1]), str(resend)]
        child = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(wanted):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.stdout.read()
        child.wait()
        with Database.open(str(file)).writing() as session:
            rows = complaints.next_complaints(session, 0, 10_000)
            kept = [int(row.idempotency_key or -1) for row in rows]
            assert len(kept) == len(set(kept))
            assert kept == list(range(len(kept)))
            assert len(kept) >= resend + wanted
            acknowledged = kept
            assert session.scalar(text("PRAGMA integrity_check")) == "ok"
            assert audit.verify(session) is None
            assert audit.head(session)[0] == len(kept)
            ring = KeyRing.load_or_create(tmp_path / "keys.json")
            assert complaints.read_raw(session, rows[-1].id, ring, by="key:1", now=NOW, confidential=True).title == "题"
            session.rollback()

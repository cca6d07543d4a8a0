"""Scheduled work: each run is taken by one worker under a lease, survives restarts, and a clock that jumps."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.storage.office_tables import Job


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job once, until a time."""

    name: str
    token: str
    until: datetime


def ensure(session: Session, name: str, every: timedelta, *, now: datetime) -> None:
    """Make sure that a job exists and runs ``every`` so often; a new one is due at once."""
    seconds = int(every.total_seconds())
    job = session.get(Job, name)
    if job is None:
        try:
            with session.begin_nested():
                session.add(Job(name=name, every_seconds=seconds, next_at=now))
        except IntegrityError:
            return  # another worker put it there
    elif job.every_seconds != seconds:
        job.every_seconds = seconds
        job.next_at = min(job.next_at, now + every)
    session.flush()


def take_due(session: Session, names: Sequence[str], lease: timedelta, *, now: datetime) -> Lease | None:
    """Return the right to run one of these jobs now, None when none is due or another worker runs it.

    After a clock has jumped back, times further off than they can be count as past.
    """
    statement = select(Job).where(Job.name.in_(names)).order_by(Job.next_at, Job.name)
    for job in session.scalars(statement.with_for_update(skip_locked=True).execution_options(populate_existing=True)):
        due = job.next_at <= now or job.next_at > now + timedelta(seconds=job.every_seconds)
        running = job.lease_until is not None and now < job.lease_until <= now + lease
        if due and not running:
            job.lease, job.leased_at, job.lease_until = secrets.token_hex(16), now, now + lease
            session.flush()
            return Lease(job.name, job.lease, job.lease_until)
    return None


def finish(session: Session, lease: Lease, *, now: datetime, error: str | None = None) -> bool:
    """End a run and set the next; an ``error`` (a type's name, no content) is kept. False when the lease was lost."""
    job = session.get(Job, lease.name, with_for_update=True, populate_existing=True)
    if job is None or job.lease != lease.token:
        return False
    job.lease = job.leased_at = job.lease_until = None
    job.finished_at = now
    job.next_at = now + timedelta(seconds=job.every_seconds)
    job.last_error = error[:200] if error else None
    job.failures = job.failures + 1 if error else 0
    session.flush()
    return True


def list_jobs(session: Session) -> Sequence[Job]:
    """Return all jobs by name."""
    return session.scalars(select(Job).order_by(Job.name)).all()

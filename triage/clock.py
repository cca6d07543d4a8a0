"""The statutory clock of a matter: from its events to the stage it is in, what is owed next and by which day.

Times count in whole calendar days of the bureau's zone; the day of the event itself does not count, so a limit of
15 days from 1 March ends with 16 March. Holidays do not move a day: the limits come without a calendar.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from triage.configuration import ConfigurationError
from triage.taxonomy import Taxonomy

ZONE = ZoneInfo("Asia/Shanghai")
EVENT_KINDS = (
    *("accepted", "transferred", "answered", "satisfied", "unsatisfied", "closed", "reopened"),
    *("extended", "review_requested", "reviewed"),
)
STAGES = ("registered", "accepted", "transferred", "answered", "under_review", "reviewed", "closed")
DUTIES = ("accept", "answer", "review", "recheck")
PASSED_ON = ("transferred", "assigned")


@dataclass(frozen=True, slots=True)
class HandlingEvent:
    """A step taken at an aware time; ``days`` is how long an extension was granted for, None meaning the longest."""

    kind: str
    at: datetime
    days: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in EVENT_KINDS:
            raise ValueError(f"kind {self.kind}: unknown event; use one of {', '.join(EVENT_KINDS)}")
        if self.at.tzinfo is None:
            raise ValueError(f"at {self.at.isoformat()}: no time zone; pass an aware time")
        if self.days is not None and self.days < 1:
            raise ValueError(f"days {self.days}: an extension lasts 1 day or more; leave it out for the longest")


@dataclass(frozen=True, slots=True)
class ClockLimits:
    """The limits of handling in calendar days; each field is a limit's code in the taxonomy."""

    accept: int
    accept_transferred: int
    answer: int
    extension: int
    review_request: int
    review: int
    recheck_request: int
    recheck: int

    @classmethod
    def of(cls, taxonomy: Taxonomy) -> ClockLimits:
        """Return the taxonomy's limits. Raises ConfigurationError naming a limit that it lacks."""
        days = {limit.code: limit.days for limit in taxonomy.limits}
        for code in cls.__slots__:
            if code not in days:
                raise ConfigurationError(f"limits: {code} is missing; add it to the taxonomy, as in the bundled one")
        return cls(**{code: days[code] for code in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Duty:
    """Something owed: one of DUTIES, since a day, due by the end of a day, and the day it was done, if it was."""

    kind: str
    since: date
    due: date
    done: date | None = None

    def days_late(self, today: date) -> int:
        """Return the days by which it was done, or still is, too late; 0 when in time."""
        return max(0, ((self.done or today) - self.due).days)


@dataclass(frozen=True, slots=True)
class Clock:
    """A matter on one day. ``duties`` holds all duties so far, the one still owed last; the rest follows from them."""

    today: date
    stage: str
    duties: tuple[Duty, ...]
    extended: bool
    answered_on: date | None
    closed_at: datetime | None
    appeal_until: date | None
    """The last day on which the writer may ask for a review (复查), or after one for a recheck (复核)."""

    @property
    def owed(self) -> Duty | None:
        """The duty not done yet."""
        return self.duties[-1] if self.duties and self.duties[-1].done is None else None

    @property
    def days_left(self) -> int | None:
        """Days until the duty owed is due, negative once overdue; None when nothing is owed."""
        return (self.owed.due - self.today).days if self.owed else None

    @property
    def overdue(self) -> bool:
        """Whether something is owed and its day has passed."""
        return self.owed is not None and self.owed.due < self.today


def read_clock(
    received_at: datetime, events: Iterable[HandlingEvent], limits: ClockLimits, now: datetime, channel: str = "web"
) -> Clock:
    """Return where a matter stands at ``now``, from when its first complaint came and the events until then.

    ``channel`` is the first complaint's; what was passed on to the bureau has a limit of its own for acceptance.
    Events after ``now`` are not known yet and are left out. Of several extensions in a round only the first counts.
    """
    known = sorted((event for event in events if event.at <= now), key=lambda event: event.at)
    days = limits.accept_transferred if channel in PASSED_ON else limits.accept
    round_ = _Round(limits, local_day(received_at), days)
    for event in known:
        round_.take(event)
    return round_.clock(local_day(now))


def local_day(at: datetime) -> date:
    """Return the day it is in the bureau's zone. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()}: no time zone; pass an aware time")
    return at.astimezone(ZONE).date()


class _Round:
    """Reads events in order of time; a reopening begins the duties anew."""

    def __init__(self, limits: ClockLimits, received: date, accept_days: int) -> None:
        self._limits = limits
        self._duties: list[Duty] = []
        self._stage = "registered"
        self._extended = self._reviewed = False
        self._answered: date | None = None
        self._closed: datetime | None = None
        self._appeal: date | None = None
        self._begin(received, accept_days)

    def take(self, event: HandlingEvent) -> None:
        day = local_day(event.at)
        if self._stage == "closed" and event.kind not in ("reopened", "review_requested", "satisfied", "unsatisfied"):
            return
        match event.kind:
            case "accepted" if self._owes("accept"):
                self._done(day)
                self._owe("answer", day, self._limits.answer)
                self._stage = "accepted"
            case "transferred" if self._stage == "registered":
                # Whoever gets it has to accept it, in the time for what is passed on.
                self._done(day)
                self._owe("accept", day, self._limits.accept_transferred)
                self._stage = "transferred"
            case "transferred" if self._owes("answer"):
                self._stage = "transferred"
            case "extended" if self._owes("answer") and not self._extended:
                longest = self._limits.extension
                owed = self._duties[-1]
                due = owed.due + timedelta(days=min(event.days or longest, longest))
                self._duties[-1] = Duty(owed.kind, owed.since, due)
                self._extended = True
            case "answered" if self._owes("accept", "answer"):
                self._done(day)
                self._stage, self._answered = "answered", day
                self._appeal = day + timedelta(days=self._limits.review_request)
            case "review_requested" if self._answered:
                again = self._reviewed
                kind, days = ("recheck", self._limits.recheck) if again else ("review", self._limits.review)
                if not self._owes(kind):
                    self._owe(kind, day, days)
                self._stage, self._appeal, self._closed = "under_review", None, None
            case "reviewed" if self._owes("review", "recheck"):
                first = self._owes("review")
                self._done(day)
                self._stage, self._reviewed = "reviewed", True
                self._appeal = day + timedelta(days=self._limits.recheck_request) if first else None
            case "closed":
                self._done(day)
                self._stage, self._closed = "closed", event.at
            case "reopened" if self._stage != "registered":
                self._done(day)
                self._stage = "registered"
                self._begin(day, self._limits.accept)

    def clock(self, today: date) -> Clock:
        return Clock(
            today, self._stage, tuple(self._duties), self._extended, self._answered, self._closed, self._appeal
        )

    def _begin(self, day: date, accept_days: int) -> None:
        self._extended = self._reviewed = False
        self._answered = self._closed = self._appeal = None
        self._owe("accept", day, accept_days)

    def _owes(self, *kinds: str) -> bool:
        owed = self._duties[-1]
        return owed.done is None and owed.kind in kinds

    def _owe(self, kind: str, since: date, days: int) -> None:
        self._duties.append(Duty(kind, since, since + timedelta(days=days)))

    def _done(self, day: date) -> None:
        owed = self._duties[-1]
        if owed.done is None:
            self._duties[-1] = Duty(owed.kind, owed.since, owed.due, day)

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.clock import DUTIES, EVENT_KINDS, STAGES, Clock, ClockLimits, HandlingEvent, local_day, read_clock
from triage.configuration import ConfigurationError
from triage.taxonomy import Taxonomy, load_taxonomy

SHANGHAI = ZoneInfo("Asia/Shanghai")
LIMITS = ClockLimits.of(load_taxonomy())
RECEIVED = datetime(2026, 3, 1, 9, tzinfo=SHANGHAI)


def on(month: int, day: int, hour: int = 10) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=SHANGHAI)


def clock(now: datetime, *events: tuple[str, datetime] | HandlingEvent, channel: str = "web") -> Clock:
    steps = [event if isinstance(event, HandlingEvent) else HandlingEvent(*event) for event in events]
    return read_clock(RECEIVED, steps, LIMITS, now, channel)


def owed(read: Clock) -> tuple[str, date, int | None, bool] | None:
    return (read.owed.kind, read.owed.due, read.days_left, read.overdue) if read.owed else None


def test_a_new_matter_must_be_accepted_within_fifteen_days() -> None:
    assert owed(clock(on(3, 2))) == ("accept", date(2026, 3, 16), 14, False)
    assert owed(clock(on(3, 16, 23))) == ("accept", date(2026, 3, 16), 0, False)
    assert owed(clock(on(3, 17, 0))) == ("accept", date(2026, 3, 16), -1, True)


def test_days_are_those_of_the_bureau_not_of_utc() -> None:
    late = datetime(2026, 3, 1, 16, 30, tzinfo=UTC)  # half past midnight on 2 March in the bureau
    assert local_day(late) == date(2026, 3, 2)
    assert read_clock(late, [], LIMITS, late).duties[0].due == date(2026, 3, 17)


def test_an_accepted_matter_must_be_answered_within_sixty_days() -> None:
    read = clock(on(4, 1), ("accepted", on(3, 10)))
    assert read.stage == "accepted"
    assert owed(read) == ("answer", date(2026, 5, 9), 38, False)
    assert read.duties[0].done == date(2026, 3, 10)
    assert read.duties[0].days_late(read.today) == 0


def test_only_one_extension_counts_and_never_for_longer_than_the_limit() -> None:
    accepted = ("accepted", on(3, 10))
    once = clock(on(4, 1), accepted, HandlingEvent("extended", on(3, 20), 90))
    assert once.extended
    assert owed(once) == ("answer", date(2026, 6, 8), 68, False)
    twice = clock(on(4, 1), accepted, HandlingEvent("extended", on(3, 20), 10), ("extended", on(3, 21)))
    assert owed(twice) == ("answer", date(2026, 5, 19), 48, False)


def test_a_matter_passed_to_a_unit_waits_for_that_unit_to_accept_it() -> None:
    passed = clock(on(3, 12), ("transferred", on(3, 10)))
    assert (passed.stage, owed(passed)) == ("transferred", ("accept", date(2026, 3, 25), 13, False))
    accepted = clock(on(3, 22), ("transferred", on(3, 10)), ("accepted", on(3, 20)))
    assert owed(accepted) == ("answer", date(2026, 5, 19), 58, False)
    handed_on = clock(on(3, 22), ("accepted", on(3, 10)), ("transferred", on(3, 11)))
    assert (handed_on.stage, owed(handed_on)) == ("transferred", ("answer", date(2026, 5, 9), 48, False))


def test_an_answer_ends_the_duty_and_opens_the_time_for_a_review() -> None:
    read = clock(on(6, 1), ("accepted", on(3, 10)), ("answered", on(5, 12)), ("unsatisfied", on(5, 13)))
    assert (read.stage, read.owed, read.overdue, read.days_left) == ("answered", None, False, None)
    assert read.duties[-1].days_late(read.today) == 3
    assert (read.answered_on, read.appeal_until) == (date(2026, 5, 12), date(2026, 6, 11))


def test_a_review_and_a_recheck_have_their_own_time() -> None:
    events = [("accepted", on(3, 10)), ("answered", on(3, 20)), ("review_requested", on(4, 1))]
    read = clock(on(4, 2), *events)
    assert (read.stage, owed(read)) == ("under_review", ("review", date(2026, 5, 1), 29, False))
    events += [("reviewed", on(4, 20))]
    read = clock(on(4, 21), *events)
    assert (read.stage, read.owed, read.appeal_until) == ("reviewed", None, date(2026, 5, 20))
    events += [("review_requested", on(5, 2))]
    assert owed(clock(on(5, 3), *events)) == ("recheck", date(2026, 6, 1), 29, False)
    events += [("reviewed", on(5, 20))]
    assert clock(on(5, 21), *events).appeal_until is None


def test_a_closed_matter_owes_nothing_until_it_is_reopened() -> None:
    events = [("accepted", on(3, 10)), ("answered", on(3, 20)), ("closed", on(4, 1))]
    read = clock(on(9, 1), *events, ("extended", on(5, 1)), ("accepted", on(5, 2)))
    assert (read.stage, read.owed, read.closed_at) == ("closed", None, on(4, 1))
    again = clock(on(9, 2), *events, ("reopened", on(9, 1)))
    assert (again.stage, owed(again)) == ("registered", ("accept", date(2026, 9, 16), 14, False))
    assert again.closed_at is None
    assert len(again.duties) == 3


def test_what_happens_later_is_not_known_yet() -> None:
    events = (("answered", on(5, 1)), ("accepted", on(3, 10)))
    assert clock(on(4, 1), *events) == clock(on(4, 1), events[1])


def test_the_limits_come_from_the_taxonomy() -> None:
    taxonomy = load_taxonomy()
    short = [limit for limit in taxonomy.limits if limit.code != "review"]
    with pytest.raises(ConfigurationError, match="limits: review is missing"):
        ClockLimits.of(
            Taxonomy(1, taxonomy.topics, taxonomy.purposes, taxonomy.channels, tuple(short), taxonomy.fingerprint)
        )


@pytest.mark.parametrize(
    ("kind", "at", "days", "told"),
    [
        ("gone", on(3, 1), None, "kind gone"),
        ("closed", datetime(2026, 3, 1), None, "no time zone"),
        ("extended", on(3, 1), 0, "days 0"),
    ],
)
def test_an_event_that_cannot_be_is_refused(kind: str, at: datetime, days: int | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HandlingEvent(kind, at, days)


@given(st.lists(st.tuples(st.sampled_from(EVENT_KINDS), st.integers(0, 300)), max_size=12), st.integers(0, 320))
def test_any_history_leaves_one_stage_and_at_most_one_duty(history: list[tuple[str, int]], day: int) -> None:
    events = [(kind, RECEIVED + timedelta(days=after)) for kind, after in history]
    read = clock(RECEIVED + timedelta(days=day), *events)
    assert read.stage in STAGES
    assert all(duty.kind in DUTIES for duty in read.duties)
    assert all(duty.done is not None for duty in read.duties[:-1])
    assert (read.owed is None) == (read.stage in ("answered", "reviewed", "closed"))
    assert (read.closed_at is not None) == (read.stage == "closed")

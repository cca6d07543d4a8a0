"""From a history to a risk model: what was known on each past day, and what came after it, up to a last day.

Labels come from time alone: nothing received after ``until`` is read, neither as fact nor as outcome.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.outcome import OutcomeModel, Watched, fit_outcome, recalibrate
from training.dataset import DatasetError
from triage.clock import ZONE
from triage.cues import load_cue_rules
from triage.risk import HORIZONS, OUTCOMES, SIGNS, RiskModel, scorecard
from triage.risk_features import COLLECTIVE_PEOPLE, FEATURES, Docket, RiskComplaint, Snapshot, read_complaint

STRENGTH = 0.1
# Days between the days looked at, the least days a case is watched, complaints to begin with, cases at most.
STEP = 3
LEAST_WATCHED = 7
LEAST_COMPLAINTS = 20
MOST_CASES = 200_000
# With fewer matters than this that had the outcome, only the level is learnt and the scorecard's weights stay.
LEAST_MATTERS = 10
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PastComplaint:
    """A row of a history: which complaint, of which matter, as risk reads it."""

    id: str
    matter: str
    complaint: RiskComplaint


def read_history(rows: Iterable[Mapping[str, Any]]) -> list[PastComplaint]:
    """Return rows {id, received_at, submitter?, title, body, headcount?, channel?, institution?, matter} in time order.

    Times without a zone are the bureau's. Raises DatasetError naming a row that cannot be used.
    """
    rules = load_cue_rules()
    past = []
    for number, row in enumerate(rows, 1):
        name = f"row {number} ({row.get('id', 'no id')})"
        if not row.get("matter"):
            raise DatasetError(f"{name}: no matter; link the history first with `triage link`")
        try:
            at = _aware(datetime.fromisoformat(str(row.get("received_at"))))
            people = int(row["headcount"]) if row.get("headcount") else None
        except ValueError as error:
            raise DatasetError(
                f"{name}: {error}; give received_at as YYYY-MM-DD HH:MM:SS, headcount as digits"
            ) from None
        complaint = read_complaint(
            at,
            str(row.get("title") or ""),
            str(row.get("body") or ""),
            rules,
            people=people,
            submitter=row.get("submitter"),
            channel=row.get("channel") or "web",
            institution=row.get("institution"),
        )
        past.append(PastComplaint(str(row.get("id", number)), str(row["matter"]), complaint))
    return sorted(past, key=lambda one: (one.complaint.at, one.id))


def day_start(day: date) -> datetime:
    """Return the first moment of a day in the bureau's zone; an aware time stays as it is."""
    return _aware(day) if isinstance(day, datetime) else datetime.combine(day, time(), ZONE)


def snapshots(past: Sequence[PastComplaint], moments: Iterable[datetime]) -> Iterator[Snapshot]:
    """Yield how every matter stood at each moment (ascending), from complaints before it only."""
    docket = Docket()
    i = 0
    for moment in moments:
        while i < len(past) and past[i].complaint.at < moment:
            docket.add(past[i].matter, past[i].complaint)
            i += 1
        yield docket.measure(moment)


def train_risk(history_rows: Iterable[Mapping[str, Any]], until: date) -> RiskModel:
    """Return a risk model learnt from what was known up to the end of ``until``.

    For each outcome and horizon: weights near the scorecard's, learnt from every few days of the past; their
    scale set by a model of the earlier part on the later part; the level set on that later part.
    Raises DatasetError for a history too short.
    """
    end = day_start(until) if isinstance(until, datetime) else day_start(until) + _DAY
    past = [one for one in read_history(history_rows) if one.complaint.at < end]
    if len(past) < 2 * LEAST_COMPLAINTS:
        raise DatasetError(
            f"{len(past)} complaints up to {until}; {2 * LEAST_COMPLAINTS} are needed to learn risk from"
        )
    looked = list(snapshots(past, _moments(past, end)))
    if len(looked) < 4:
        raise DatasetError(f"the history up to {until} spans too few days; use the scorecard until it is longer")
    card = scorecard()
    models, learned, figures = {}, [], {}
    for outcome in OUTCOMES:
        times = _collective_times(past) if outcome == "collective" else _complaint_times(past)
        for horizon in HORIZONS:
            model, figure = _learn(looked, times, outcome, horizon, end, card.models[outcome, horizon])
            models[outcome, horizon] = model
            figures[f"{outcome}-{horizon}"] = figure
            if figure["weights_learned"]:
                learned.append((outcome, horizon))
    return RiskModel(models, learned, figures={"until": str(until), "complaints": len(past), **figures})


def _learn(
    looked: Sequence[Snapshot],
    times: Mapping[str, Sequence[datetime]],
    outcome: str,
    horizon: int,
    end: datetime,
    prior: OutcomeModel,
) -> tuple[OutcomeModel, dict[str, Any]]:
    signs = [SIGNS[name] for name in FEATURES]
    whole = (end - looked[0].now) / _DAY
    split = end - timedelta(days=min(2 * horizon, round(0.4 * whole)))
    early, early_matters = _watch([s for s in looked if s.now <= split], times, outcome, horizon, split)
    late, late_matters = _watch([s for s in looked if s.now >= split], times, outcome, horizon, end)
    every, matters = _watch(looked, times, outcome, horizon, end)
    counts = {"cases": len(every.happened), "outcomes": int(every.happened.sum()), "matters_with_outcome": matters}
    if min(early_matters, late_matters) < LEAST_MATTERS:
        level, _ = recalibrate(prior, every, 1.0)
        return level, {**counts, "weights_learned": False, "slope": 1.0}
    _, slope = recalibrate(fit_outcome(early, prior, signs, STRENGTH), late)
    model, _ = recalibrate(fit_outcome(every, prior, signs, STRENGTH), late, slope)
    return model, {**counts, "weights_learned": True, "slope": round(slope, 4), "shape": model.shape}


def _watch(
    looked: Sequence[Snapshot], times: Mapping[str, Sequence[datetime]], outcome: str, horizon: int, end: datetime
) -> tuple[Watched, int]:
    """Return the cases of the snapshots, as far as ``end`` lets one see, and how many matters had the outcome."""
    values: list[NDArray[np.float64]] = []
    days: list[float] = []
    happened: list[bool] = []
    matters: set[str] = set()
    for snapshot in looked:
        watched = min(float(horizon), (end - snapshot.now) / _DAY)
        if watched < LEAST_WATCHED:
            continue
        until = snapshot.now + timedelta(days=watched)
        for matter, facts, row in zip(snapshot.matters, snapshot.facts, snapshot.values, strict=True):
            if outcome == "collective" and facts.collective:
                continue
            values.append(row)
            days.append(watched)
            happened.append(came_within(times.get(matter, ()), snapshot.now, until))
            if happened[-1]:
                matters.add(matter)
    shape = (len(values), len(FEATURES))
    return Watched(np.array(values).reshape(shape), np.array(days), np.array(happened, dtype=np.bool_)), len(matters)


def came_within(times: Sequence[datetime], start: datetime, end: datetime) -> bool:
    """Return whether one of ``times`` lies in ``[start, end)``."""
    return any(start <= at < end for at in times)


def _moments(past: Sequence[PastComplaint], end: datetime) -> list[datetime]:
    """Return the days looked at: midnights, from the first with enough complaints, at most a year back."""
    first = max(past[LEAST_COMPLAINTS].complaint.at, end - timedelta(days=365))
    days = int((end - first) / _DAY)
    matters = len({one.matter for one in past})
    step = max(STEP, math.ceil(days * matters / MOST_CASES))
    return [end - timedelta(days=n) for n in range(LEAST_WATCHED, days, step)][::-1]


def _complaint_times(past: Sequence[PastComplaint]) -> dict[str, list[datetime]]:
    times: dict[str, list[datetime]] = defaultdict(list)
    for one in past:
        times[one.matter].append(one.complaint.at)
    return times


def _collective_times(past: Sequence[PastComplaint]) -> dict[str, list[datetime]]:
    """Return when each matter turned collective, if it did."""
    submitters: dict[str, set[str]] = defaultdict(set)
    times: dict[str, list[datetime]] = {}
    for one in past:
        if one.complaint.submitter:
            submitters[one.matter].add(one.complaint.submitter)
        if max(one.complaint.people, len(submitters[one.matter])) >= COLLECTIVE_PEOPLE:
            times.setdefault(one.matter, [one.complaint.at])
    return times


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=ZONE) if at.tzinfo is None else at

"""What is known of a matter on a day, as figures: its complaints, their texts, its handling, what else comes in.

A Docket holds complaints in order of time and knows nothing later than the last one added. Submitter hashes
serve to count distinct submitters within one matter and are compared nowhere else.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.ngrams import fold, ngram_keys
from triage.clock import Clock, ClockLimits, Duty, HandlingEvent, read_clock
from triage.cues import CueRule, find_cues
from triage.headcount import headcount
from triage.redact import redact
from triage.text import normalise

COLLECTIVE_PEOPLE = 5
VISITS = ("visit", "transferred", "assigned")
THEME_DAYS = 60
NEIGHBOURS = 8
BUREAU_DAYS = 180
# Texts are compared with those of the last year, of which each keeps the nearest few.
_MEMORY_DAYS = 365
_NEAREST = 40
_BLOCK = 256
_BUCKET_BITS = 18
_SIZES = (2, 3)
_LONGEST = 3_000
_DAY = timedelta(days=1)

FEATURES = (
    *("complaints", "submitters", "persistence", "headcount"),
    *("recent_7", "recent_30", "recent_90", "tempo", "gap", "quiet", "open"),
    *("cue_repeat", "cue_collective", "cue_escalation", "cue_danger", "length", "in_person"),
    *("theme", "neighbours", "institution_open", "institution_recent"),
    *("overdue", "unsatisfied", "back_after_answer", "reopened", "settled"),
)

Floats = NDArray[np.float64]
Bag = tuple[NDArray[np.int64], Floats]


@dataclass(frozen=True, slots=True)
class RiskComplaint:
    """One complaint as risk reads it: when it came, its figures, its cues and its n-grams, but no text."""

    at: datetime
    bag: Bag = field(repr=False)
    length: int
    cues: frozenset[str]
    people: int
    submitter: str | None = None
    channel: str = "web"
    institution: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The figures of a matter on a day that reasons are told with."""

    complaints: int
    submitters: int
    people: int
    recent_7: int
    recent_30: int
    recent_90: int
    days_since_last: int
    days_open: int
    mean_gap: float | None
    cues: frozenset[str]
    fresh_danger: bool
    length: int
    in_person: bool
    theme: float
    usual_theme: float
    neighbours: float
    institution_open: int
    institution_recent: int
    days_late: int
    unsatisfied: bool
    back_after_answer: bool
    reopened: int
    settled: bool
    owed: Duty | None

    @property
    def collective(self) -> bool:
        """Whether it has turned collective: 5 people in one complaint, or 5 submitters across its complaints."""
        return max(self.people, self.submitters) >= COLLECTIVE_PEOPLE

    def values(self) -> list[float]:
        """Return the features in the order of FEATURES; counts and days by their doublings."""
        gap = 30.0 if self.mean_gap is None else self.mean_gap
        return [
            *(math.log2(self.complaints), math.log2(self.submitters), math.log2(self.complaints / self.submitters)),
            math.log10(self.people),
            *(math.log2(1 + count) for count in (self.recent_7, self.recent_30, self.recent_90)),
            *(math.log2(30 * self.complaints / (30 + self.days_open)), math.log2(1 + gap)),
            *(math.log2(1 + self.days_since_last), math.log2(1 + self.days_open)),
            *(float(kind in self.cues) for kind in ("repeat", "collective", "escalation", "danger")),
            *(math.log10(1 + self.length), float(self.in_person)),
            *(self.theme - self.usual_theme, self.neighbours),
            *(math.log2(1 + self.institution_open), math.log2(1 + self.institution_recent)),
            *(math.log2(1 + self.days_late), float(self.unsatisfied), float(self.back_after_answer)),
            *(math.log2(1 + self.reopened), float(self.settled)),
        ]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All matters on a day: their names, their facts, and the features (matters, FEATURES)."""

    now: datetime
    matters: tuple[str, ...]
    facts: tuple[Facts, ...]
    values: Floats


def read_complaint(
    at: datetime,
    title: str,
    body: str,
    rules: Sequence[CueRule],
    *,
    people: int | None = None,
    submitter: str | None = None,
    channel: str = "web",
    institution: str | None = None,
) -> RiskComplaint:
    """Return a complaint as risk reads it; ``people`` is the headcount given, else the one the text states.

    ``at`` must be aware. Personal data is taken out of the text before anything is read from it.
    """
    text = redact(normalise(f"{title}\n{body}" if title else body)).text
    cues = find_cues(text, rules)
    stated = headcount(text, [(cue.start, cue.end) for cue in cues if cue.kind == "collective"])
    kinds = frozenset(cue.kind for cue in cues)
    return RiskComplaint(
        at, _bag(text), len(text), kinds, max(people or stated or 1, 1), submitter, channel, institution
    )


class Docket:
    """Matters and their complaints so far; ``measure`` tells how they stand."""

    def __init__(self, limits: ClockLimits | None = None) -> None:
        """``limits`` are those of the statutory clock; without them no duty is owed and none late."""
        self._limits = limits
        self._complaints: list[RiskComplaint] = []
        self._owners: list[int] = []
        self._numbers: dict[str, int] = {}
        self._members: defaultdict[int, list[int]] = defaultdict(list)
        self._events: defaultdict[str, list[HandlingEvent]] = defaultdict(list)
        self._likeness = _Likeness()

    def add(self, matter: str, complaint: RiskComplaint) -> None:
        """Add the next complaint. Raises ValueError for one earlier than the last."""
        if self._complaints and complaint.at < self._complaints[-1].at:
            raise ValueError(f"complaint of {complaint.at.isoformat()}: earlier than the last; add in order of time")
        number = self._numbers.setdefault(matter, len(self._numbers))
        self._members[number].append(len(self._complaints))
        self._owners.append(number)
        self._complaints.append(complaint)
        self._likeness.add(complaint.bag, complaint.at)

    def add_events(self, matter: str, events: Iterable[HandlingEvent]) -> None:
        """Add steps of handling; those after the day measured do not count."""
        self._events[matter].extend(events)

    def measure(self, now: datetime) -> Snapshot:
        """Return every matter at ``now``. Raises ValueError when a complaint added came later than that."""
        if self._complaints and self._complaints[-1].at > now:
            raise ValueError(f"{now.isoformat()}: earlier than the last complaint added; measure before adding it")
        owners = np.array(self._owners, dtype=np.int64)
        ages = np.array([(now - one.at) / _DAY for one in self._complaints])
        themes, usual = self._themes(owners, ages)
        sizes = np.log2(np.bincount(owners, minlength=len(self._numbers)))
        clocks = {matter: self._clock(matter, members[0], now) for matter, members in self._named()}
        institutions = self._institutions(ages, {m: c for m, c in clocks.items() if c is not None})
        facts = []
        for matter, members in self._named():
            near = self._likeness.nearest(members, owners, NEIGHBOURS)
            neighbours = float(sizes[owners[near]].mean()) if len(near) else 0.0
            context = (float(themes[members].max()), usual, neighbours, *institutions(members))
            facts.append(self._facts(matter, members, ages[members], context, clocks[matter], now))
        values = np.array([one.values() for one in facts]).reshape(len(facts), len(FEATURES))
        return Snapshot(now, tuple(self._numbers), tuple(facts), values)

    def _named(self) -> Iterable[tuple[str, list[int]]]:
        return ((matter, self._members[number]) for matter, number in self._numbers.items())

    def _themes(self, owners: NDArray[np.int64], ages: Floats) -> tuple[Floats, float]:
        """Return each complaint's mean likeness (in hundredths) to recent complaints of other matters."""
        recent = np.flatnonzero(ages < THEME_DAYS)
        if not len(recent):
            return np.zeros(len(ages)), 0.0
        totals = self._likeness.total(recent)
        counts = np.full(len(ages), len(recent))
        for members in self._members.values():
            own = [i for i in members if ages[i] < THEME_DAYS]
            if own:
                totals[members] -= self._likeness.between(members, own)
                counts[members] -= len(own)
        themes = 100 * np.divide(totals, counts, out=np.zeros(len(ages)), where=counts > 0)
        return themes, float(themes.mean())

    def _institutions(self, ages: Floats, clocks: Mapping[str, Clock]) -> _Institutions:
        latest: dict[str, dict[int, float]] = defaultdict(dict)
        recent: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        closed = {self._numbers[matter] for matter, clock in clocks.items() if clock.closed_at}
        for one, owner, age in zip(self._complaints, self._owners, ages.tolist(), strict=True):
            if one.institution:
                latest[one.institution][owner] = age
                recent[one.institution][owner] += age < 30
        found = {
            name: frozenset(owner for owner, age in by_owner.items() if age < BUREAU_DAYS and owner not in closed)
            for name, by_owner in latest.items()
        }
        return _Institutions(self._complaints, self._owners, found, recent)

    def _clock(self, matter: str, first: int, now: datetime) -> Clock | None:
        if self._limits is None:
            return None
        complaint = self._complaints[first]
        return read_clock(complaint.at, self._events[matter], self._limits, now, complaint.channel)

    def _facts(
        self,
        matter: str,
        members: Sequence[int],
        ages: Floats,
        context: tuple[float, float, float, int, int],
        clock: Clock | None,
        now: datetime,
    ) -> Facts:
        complaints = [self._complaints[i] for i in members]
        named = {one.submitter for one in complaints if one.submitter}
        unnamed = any(not one.submitter for one in complaints)
        theme, usual, neighbours, institution_open, institution_recent = context
        known = sorted((event for event in self._events.get(matter, ()) if event.at <= now), key=lambda e: e.at)
        verdicts = [event for event in known if event.kind in ("satisfied", "unsatisfied")]
        answers = [event.at for event in known if event.kind in ("answered", "closed")]
        ended = [event.at for event in known if event.kind in ("satisfied", "closed")]
        last = complaints[-1].at
        today = clock.today if clock else None
        return Facts(
            complaints=len(complaints),
            submitters=max(len(named) + unnamed, 1),
            people=max(one.people for one in complaints),
            recent_7=int((ages < 7).sum()),
            recent_30=int((ages < 30).sum()),
            recent_90=int((ages < 90).sum()),
            days_since_last=int(ages[-1]),
            days_open=int(ages[0]),
            mean_gap=float(ages[0] - ages[-1]) / (len(ages) - 1) if len(ages) > 1 else None,
            cues=frozenset().union(*(one.cues for one in complaints)),
            fresh_danger=any("danger" in one.cues and age < 30 for one, age in zip(complaints, ages, strict=True)),
            length=complaints[-1].length,
            in_person=any(one.channel in VISITS for one in complaints),
            theme=theme,
            usual_theme=usual,
            neighbours=neighbours,
            institution_open=institution_open,
            institution_recent=institution_recent,
            days_late=max((duty.days_late(today) for duty in clock.duties), default=0) if clock and today else 0,
            unsatisfied=bool(verdicts) and verdicts[-1].kind == "unsatisfied",
            back_after_answer=bool(answers) and last > answers[0],
            reopened=sum(event.kind == "reopened" for event in known),
            settled=bool(ended) and ended[-1] >= max(last, *(e.at for e in known if e.kind != "transferred")),
            owed=clock.owed if clock else None,
        )


@dataclass(frozen=True, slots=True)
class _Institutions:
    """Counts, for a matter, the other open matters and recent complaints at its institutions."""

    complaints: Sequence[RiskComplaint]
    owners: Sequence[int]
    open: Mapping[str, frozenset[int]]
    recent: Mapping[str, Mapping[int, int]]

    def __call__(self, members: Sequence[int]) -> tuple[int, int]:
        owner = self.owners[members[0]]
        names = {name for i in members if (name := self.complaints[i].institution)}
        others = frozenset().union(*(self.open[name] for name in names)) - {owner} if names else frozenset()
        recent = sum(count for name in names for other, count in self.recent[name].items() if other != owner)
        return len(others), recent


class _Likeness:
    """TF-IDF likeness of texts. Each is weighted with the frequencies known when it came, and so for good."""

    def __init__(self) -> None:
        self._frequencies = np.zeros(1 << _BUCKET_BITS)
        self._rows: list[Bag] = []
        self._times: list[datetime] = []
        self._near = np.zeros((0, _NEAREST), dtype=np.int64)
        self._how = np.zeros((0, _NEAREST), dtype=np.float32)
        self._matrix = _stack([])

    def add(self, bag: Bag, at: datetime) -> None:
        ids, counts = bag
        self._frequencies[ids] += 1
        weights = counts * np.log((len(self._rows) + 2) / self._frequencies[ids])
        norm = float(np.linalg.norm(weights))
        self._rows.append((ids, weights / norm if norm else weights))
        self._times.append(at)

    def total(self, chosen: NDArray[np.int64]) -> Floats:
        """Return each text's likeness to the ``chosen`` ones, summed."""
        self._update()
        sums = np.asarray(self._matrix[chosen].sum(axis=0)).ravel()
        result: Floats = np.asarray(self._matrix @ sums, dtype=np.float64)
        return result

    def between(self, texts: Sequence[int], others: Sequence[int]) -> Floats:
        """Return the likeness of each of ``texts`` to the ``others``, summed."""
        sums = np.asarray(self._matrix[others].sum(axis=0)).ravel()
        result: Floats = np.asarray(self._matrix[texts] @ sums, dtype=np.float64)
        return result

    def nearest(self, members: Sequence[int], owners: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Return the ``count`` texts of other owners that are most like any of ``members``."""
        self._update()
        near, how = self._near[members].ravel(), self._how[members].ravel()
        apart = (how > 0) & (owners[near] != owners[members[0]])
        near, how = near[apart], how[apart]
        order = np.lexsort((near, -how))
        _, firsts = np.unique(near[order], return_index=True)
        chosen: NDArray[np.int64] = near[order][np.sort(firsts)[:count]]
        return chosen

    def _update(self) -> None:
        start = len(self._near)
        if start == len(self._rows):
            return
        self._matrix = sparse.vstack([self._matrix, _stack(self._rows[start:])], format="csr")
        total = len(self._rows)
        self._near = np.concatenate([self._near, np.zeros((total - start, _NEAREST), dtype=np.int64)])
        self._how = np.concatenate([self._how, np.zeros((total - start, _NEAREST), dtype=np.float32)])
        for begin in range(start, total, _BLOCK):
            end = min(begin + _BLOCK, total)
            oldest = self._times[begin] - timedelta(days=_MEMORY_DAYS)
            low = bisect_left(self._times, oldest)
            how = (self._matrix[low:end] @ self._matrix[begin:end].T).toarray()
            new = np.arange(begin, end)
            how[new - low, new - begin] = 0
            # The texts before learn of the new ones, the new ones of all before and of one another.
            self._keep(np.arange(low, begin), np.broadcast_to(new, (begin - low, end - begin)), how[: begin - low])
            all_before = np.broadcast_to(np.arange(low, end), (end - begin, end - low))
            self._keep(new, all_before, how.T)

    def _keep(self, texts: NDArray[np.int64], found: NDArray[np.int64], how: NDArray[np.float32]) -> None:
        near = np.concatenate([self._near[texts], found], axis=1)
        likeness = np.concatenate([self._how[texts], how], axis=1)
        best = np.argsort(-likeness, axis=1, kind="stable")[:, :_NEAREST]
        self._near[texts] = np.take_along_axis(near, best, axis=1)
        self._how[texts] = np.take_along_axis(likeness, best, axis=1)


def _bag(text: str) -> Bag:
    folded = fold(text[:_LONGEST])
    keys = [(ngram_keys(folded, n) + np.uint64(n)) * np.uint64(0x9E3779B97F4A7C15) for n in _SIZES]
    buckets = (np.concatenate(keys) >> np.uint64(64 - _BUCKET_BITS)).astype(np.int64)
    ids, counts = np.unique(buckets, return_counts=True)
    return ids, 1 + np.log(counts)


def _stack(bags: Sequence[Bag]) -> sparse.csr_matrix[np.float32]:
    bounds = np.cumsum([0, *(len(ids) for ids, _ in bags)])
    ids = np.concatenate([np.zeros(0, dtype=np.int64), *(ids for ids, _ in bags)])
    weights = np.concatenate([np.zeros(0), *(weights for _, weights in bags)]).astype(np.float32)
    return sparse.csr_matrix((weights, ids, bounds), shape=(len(bags), 1 << _BUCKET_BITS))

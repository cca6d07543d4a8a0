"""Which complaints are one matter: candidates, a score that shows why, one decision as each arrives.

The hash of a submitter is compared within a pair and kept nowhere but in the index; nothing returned holds it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np

from models.pairs import Background, Floats, PairScorer, Reading, TextIndex, read_text
from models.static import StaticEmbedding

Kind = Literal["attach", "suggest", "new"]
BY_GRAMS = 25
BY_VECTOR = 10
BY_FACT = 10
RUNNERS_UP = 3
NEAR_DUPLICATE = 0.8
BIAS = "bias"
# Every feature of a pair and how an officer reads it.
FEATURES: Mapping[str, str] = {
    "title": "similar title",
    "whole": "similar text",
    "title_shared": "title repeated in the other text",
    "near_duplicate": "near-duplicate text",
    "passage": "rare passage in common",
    "rare": "rare terms in common",
    "meaning": "similar meaning",
    "title_meaning": "similar meaning of the titles",
    "name_least": "names of both titles found in the other text",
    "name_most": "names of one title found in the other text",
    "same_submitter": "same submitter",
    "submitter_text": "same submitter with similar text",
    "time_gap": "time between them",
    "same_institution": "same institution",
    "other_institution": "another institution",
    "other_place": "another place",
    "same_topic": "same topic",
    "numbers": "numbers in common",
    "length_ratio": "unlike length",
    "repeat_passage": "says it was raised before, with a rare passage in common",
    "matter_size": "complaints already in the matter",
    BIAS: "starting point",
}
_PLACE = re.compile(r"[A-Z]\d{1,2}[市县区镇乡]|[\u4e00-\u9fff]{2}[县区镇乡]")
_NUMBER = re.compile(r"[A-Za-z]*\d[\dA-Za-z]*")


class MatterError(ValueError):
    """A matter or complaint that is not there, or already is; says which and what to do."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What linking reads of a complaint: ``title`` and ``body`` normalised and redacted, the rest where known.

    ``institutions`` are keys (triage.institutions), the one concerned first; ``repeat`` means that the
    text says it was raised before. ``submitter`` is a one-way hash.
    """

    id: str
    received_at: datetime
    title: str
    body: str
    submitter: str | None = field(default=None, repr=False)
    institutions: tuple[str, ...] = ()
    topic: str | None = None
    repeat: bool = False


@dataclass(frozen=True, slots=True)
class Contribution:
    """One step of the waterfall: ``name`` is a key of FEATURES, ``value`` its log-odds."""

    name: str
    value: float

    def __str__(self) -> str:
        return f"{self.value:+.1f} {FEATURES[self.name]}"


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """Another matter that was near."""

    matter: str
    score: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a complaint belongs, and why.

    ``matter`` is the nearest one, also of a ``new`` decision, which then is too far; None if nothing was
    near at all. ``score`` (log-odds) is the sum of the ``contributions``. ``like`` is the complaint of the
    matter that is most alike, ``passage`` the rarest passage they share.
    """

    kind: Kind
    matter: str | None
    score: float | None
    contributions: tuple[Contribution, ...] = ()
    like: str | None = None
    passage: str = ""
    runners_up: tuple[RunnerUp, ...] = ()


@dataclass(frozen=True, slots=True)
class Linker:
    """What was learnt, or set by hand, of linking: pair weights, two thresholds, what is rare elsewhere."""

    scorer: PairScorer
    attach_from: float
    suggest_from: float
    background: Background

    def kind(self, score: float) -> Kind:
        """Return what a score leads to."""
        if score >= self.attach_from:
            return "attach"
        return "suggest" if score >= self.suggest_from else "new"


@dataclass(frozen=True, slots=True)
class _Entry:
    complaint_id: str
    received_at: datetime
    submitter: str | None = field(repr=False)
    institutions: tuple[str, ...]
    topic: str | None
    repeat: bool
    places: frozenset[str]
    numbers: frozenset[str]
    length: int


class MatterIndex:
    """All complaints and their matters in memory; add in any order, ask at any time."""

    def __init__(self, linker: Linker, embedding: StaticEmbedding) -> None:
        self.linker = linker
        self._embedding = embedding
        self._texts = TextIndex(embedding.dimensions, linker.background)
        self._entries: list[_Entry] = []
        self._number: dict[str, int] = {}
        self._matter: list[str] = []
        self._members: dict[str, list[int]] = {}
        self._by_fact: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        self._last_read: tuple[Complaint, Reading] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def matter_of(self, complaint_id: str) -> str:
        """Return the matter of a complaint. Raises MatterError if it was never added."""
        return self._matter[self._known(complaint_id)]

    def members(self, matter: str) -> tuple[str, ...]:
        """Return the complaints of a matter in the order added. Raises MatterError if there is no such matter."""
        return tuple(self._entries[n].complaint_id for n in self._in(matter))

    def add(self, complaint: Complaint, matter: str) -> None:
        """Put a complaint into a matter, which opens if it is not there. Raises MatterError if it was added before."""
        if complaint.id in self._number:
            raise MatterError(f"complaint {complaint.id!r} is in matter {self.matter_of(complaint.id)!r} already")
        number = self._texts.add(self._read(complaint))
        entry = _entry(complaint)
        self._entries.append(entry)
        self._number[complaint.id] = number
        self._matter.append(matter)
        self._members.setdefault(matter, []).append(number)
        for fact in _facts(entry):
            self._by_fact[fact].append(number)

    def assign(self, complaint: Complaint) -> Decision:
        """Return where a complaint that was not added yet belongs; changes nothing."""
        numbers, features = self.candidates(complaint)
        if not numbers:
            return Decision("new", None, None)
        scorer = self.linker.scorer
        scores = scorer.scores(features)
        nearest: dict[str, int] = {}
        for i in np.argsort(-scores, kind="stable").tolist():
            nearest.setdefault(self._matter[numbers[i]], i)
        (matter, best), *others = nearest.items()
        steps = [Contribution(name, value) for name, value in scorer.contributions(features, best)]
        score = float(scores[best])
        return Decision(
            self.linker.kind(score),
            matter,
            score,
            (*steps, Contribution(BIAS, scorer.bias)),
            self._entries[numbers[best]].complaint_id,
            self._texts.shared_passage(self._read(complaint), numbers[best]),
            tuple(RunnerUp(other, float(scores[i])) for other, i in others[:RUNNERS_UP]),
        )

    def candidates(self, complaint: Complaint) -> tuple[list[int], dict[str, Floats]]:
        """Return the complaints that may be of one matter with this one, by number of adding, and the features."""
        if not self._entries:
            return [], {}
        reading = self._read(complaint)
        entry = _entry(complaint)
        found = self._texts.nearest(reading, BY_GRAMS, BY_VECTOR)
        for fact in _facts(entry):
            found.update(self._by_fact[fact][-BY_FACT:] if fact in self._by_fact else ())
        numbers = sorted(found)
        return numbers, self._features(entry, reading, numbers) if numbers else {}

    def merge(self, matter: str, other: str) -> None:
        """Move every complaint of ``other`` into ``matter``; ``split`` with their ids undoes it."""
        if matter == other:
            raise MatterError(f"matter {matter!r} cannot be merged with itself; name two matters")
        self._in(matter)
        self._move(self._in(other), matter)

    def split(self, matter: str, ids: Sequence[str], into: str) -> None:
        """Move some, not all, complaints of ``matter`` into the new matter ``into``; ``merge`` undoes it."""
        numbers = [self._known(one) for one in ids]
        strangers = [one for one in ids if self.matter_of(one) != matter]
        if strangers:
            raise MatterError(f"complaints {', '.join(strangers)} are not in matter {matter!r}; name its own")
        if not 0 < len(set(numbers)) < len(self._in(matter)):
            raise MatterError(f"a split of matter {matter!r} must take at least one complaint and leave one")
        if into in self._members:
            raise MatterError(f"matter {into!r} is there already; merge, or name a new one")
        self._move(numbers, into)

    def _move(self, numbers: Sequence[int], to: str) -> None:
        moving = set(numbers)
        for matter in {self._matter[n] for n in moving}:
            kept = [n for n in self._members.pop(matter) if n not in moving]
            if kept:
                self._members[matter] = kept
        for number in moving:
            self._matter[number] = to
        self._members[to] = sorted({*self._members.get(to, ()), *moving})

    def _known(self, complaint_id: str) -> int:
        if complaint_id not in self._number:
            raise MatterError(f"complaint {complaint_id!r} is not in the index; add it first")
        return self._number[complaint_id]

    def _in(self, matter: str) -> list[int]:
        if matter not in self._members:
            raise MatterError(f"there is no matter {matter!r}; check its id")
        return self._members[matter]

    def _read(self, complaint: Complaint) -> Reading:
        if self._last_read is None or self._last_read[0] is not complaint:
            self._last_read = complaint, read_text(complaint.title, complaint.body, self._embedding)
        return self._last_read[1]

    def _features(self, entry: _Entry, reading: Reading, numbers: Sequence[int]) -> dict[str, Floats]:
        like = self._texts.compare(reading, numbers)
        others = [self._entries[n] for n in numbers]

        def column(values: Sequence[float]) -> Floats:
            return np.array(values, dtype=np.float64)

        submitter = column([entry.submitter is not None and entry.submitter == o.submitter for o in others])
        return {
            "title": like.title,
            "whole": like.whole,
            "title_shared": like.title_shared,
            "near_duplicate": (like.contained > NEAR_DUPLICATE).astype(np.float64),
            "passage": like.passage,
            "rare": like.rare,
            "meaning": like.meaning,
            "title_meaning": like.title_meaning,
            "name_least": like.name_least,
            "name_most": like.name_most,
            "same_submitter": submitter,
            "submitter_text": submitter * like.whole,
            "time_gap": np.log1p([abs((entry.received_at - o.received_at).total_seconds()) / 86_400 for o in others]),
            "same_institution": column([_first(entry) is not None and _first(entry) == _first(o) for o in others]),
            "other_institution": column([_apart(entry.institutions, o.institutions) for o in others]),
            "other_place": column([_apart(entry.places, o.places) for o in others]),
            "same_topic": column([entry.topic is not None and entry.topic == o.topic for o in others]),
            "numbers": np.log1p([len(entry.numbers & o.numbers) for o in others]),
            "length_ratio": np.abs(np.log([(entry.length + 20) / (o.length + 20) for o in others])),
            "repeat_passage": entry.repeat * like.passage,
            "matter_size": np.log([len(self._members[self._matter[n]]) for n in numbers]),
        }


def _entry(complaint: Complaint) -> _Entry:
    text = f"{complaint.title}\n{complaint.body}"
    return _Entry(
        complaint.id,
        complaint.received_at,
        complaint.submitter,
        complaint.institutions,
        complaint.topic,
        complaint.repeat,
        frozenset(_PLACE.findall(text)),
        frozenset(_NUMBER.findall(text)),
        len(complaint.body),
    )


def _facts(entry: _Entry) -> list[tuple[str, str]]:
    facts = [("institution", key) for key in entry.institutions]
    return facts if entry.submitter is None else [*facts, ("submitter", entry.submitter)]


def _first(entry: _Entry) -> str | None:
    return entry.institutions[0] if entry.institutions else None


def _apart(one: Sequence[str] | frozenset[str], other: Sequence[str] | frozenset[str]) -> bool:
    return bool(one) and bool(other) and not set(one) & set(other)

"""Learning which complaints belong together from a bureau's own history, linking a history, and measuring it."""

from __future__ import annotations

import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from models.artifact import ArtifactError, pack_arrays, pack_json, read_artifact, write_artifact
from models.pairs import Background, Floats, PairScorer, read_text
from models.static import StaticEmbedding
from training.fit import load_embedding
from triage.cues import CueRule, find_cues, load_cue_rules
from triage.matters import FEATURES, Complaint, Kind, Linker, MatterIndex
from triage.redact import redact
from triage.text import normalise

KIND = "linker"
ATTACH_PRECISION = 0.93
SUGGEST_PRECISION = 0.7
THRESHOLDS = tuple(quarter / 4 for quarter in range(-16, 25))
LEAST_REPEATS = 50
FOLDS = 4
REASONS = 5
Row = Mapping[str, Any]
Progress = Callable[[int, int], None]


class HistoryError(ValueError):
    """A history that cannot be read or learnt from; says which row and what to do."""


# Set by hand, in log-odds, from three cases and not from data: a near-copy should end near +14; the same names
# with a related problem near 0; the same problem elsewhere (no name shared, a tenth of the text) near -5 or, where
# another institution is concerned, under -10, so that a text copied for another school is not attached. The text
# and its title carry most; facts correct. A submitter counts little alone, for some people write about everything.
DEFAULT_SCORER = PairScorer(
    {
        "title": 4.0,
        "whole": 6.0,
        "title_shared": 4.0,
        "near_duplicate": 1.0,
        "passage": 0.5,
        "rare": 0.5,
        "meaning": 4.0,
        "title_meaning": 1.0,
        "name_least": 1.0,
        "name_most": 2.0,
        "same_submitter": 0.5,
        "submitter_text": 1.0,
        "time_gap": -0.3,
        "same_institution": 3.0,
        "other_institution": -6.0,
        "other_place": -2.0,
        "same_topic": 0.5,
        "numbers": 0.3,
        "length_ratio": -0.2,
        "repeat_passage": 0.2,
        "matter_size": 1.0,
    },
    -14.0,
)
DEFAULT_ATTACH_FROM = 0.0
DEFAULT_SUGGEST_FROM = -2.0


def default_linker(texts: Iterable[tuple[str, str]], embedding: StaticEmbedding | None = None) -> Linker:
    """Return the hand-set linker; ``texts`` (title, body) say which n-grams are rare before anything was read."""
    return Linker(DEFAULT_SCORER, DEFAULT_ATTACH_FROM, DEFAULT_SUGGEST_FROM, background_of(texts, embedding))


def background_of(texts: Iterable[tuple[str, str]], embedding: StaticEmbedding | None = None) -> Background:
    """Return what is rare, or not, in texts (title, body) of elsewhere."""
    vectors = embedding or load_embedding()
    return Background.of(read_text(_read(title), _read(body), vectors) for title, body in texts)


def complaint_of(row: Row, rules: Sequence[CueRule]) -> Complaint:
    """Return a row of a history as linking reads it.

    Fields: ``id``, ``received_at``, ``body``, and where known ``title``, ``submitter``, ``topic`` and
    ``institutions`` (keys, the one concerned first). Raises HistoryError for a row without the first three.
    """
    missing = [name for name in ("id", "received_at", "body") if not row.get(name)]
    if missing:
        raise HistoryError(f"row {row.get('id', '?')}: {', '.join(missing)}: missing; every row needs them")
    try:
        received_at = datetime.fromisoformat(str(row["received_at"]))
    except ValueError:
        raise HistoryError(f"row {row['id']}: received_at: {row['received_at']!r}; write 2024-05-31 08:30:00") from None
    title, body = _read(str(row.get("title") or "")), _read(str(row["body"]))
    return Complaint(
        id=str(row["id"]),
        received_at=received_at.replace(tzinfo=None),
        title=title,
        body=body,
        submitter=str(row["submitter"]) if row.get("submitter") else None,
        institutions=tuple(row.get("institutions") or ()),
        topic=row.get("topic"),
        repeat=any(cue.kind == "repeat" for cue in find_cues(f"{title}\n{body}", rules)),
    )


def link_history(
    rows: Iterable[Row],
    linker: Linker,
    progress: Progress = lambda done, of: None,
    embedding: StaticEmbedding | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield, in the order of arrival, each complaint's matter, decision, score and reasons.

    A matter is named after its first complaint. A suggested link is not made: the complaint opens a matter
    of its own, and ``suggested`` names the other. No submitter is given out.
    """
    rules = load_cue_rules()
    yield from _link(_in_order([complaint_of(row, rules) for row in rows]), linker, embedding, progress)


def _link(
    complaints: Sequence[Complaint],
    linker: Linker,
    embedding: StaticEmbedding | None = None,
    progress: Progress = lambda done, of: None,
) -> Iterator[dict[str, Any]]:
    index = MatterIndex(linker, embedding or load_embedding())
    for done, complaint in enumerate(complaints, 1):
        decision = index.assign(complaint)
        matter = decision.matter if decision.kind == "attach" and decision.matter else f"M-{complaint.id}"
        index.add(complaint, matter)
        reasons = [str(step) for step in decision.contributions[:REASONS]]
        if decision.passage and decision.kind != "new":
            reasons.append(f"both say “{decision.passage}”")
        yield {
            "id": complaint.id,
            "matter": matter,
            "decision": decision.kind,
            "score": None if decision.score is None else round(decision.score, 2),
            "suggested": decision.matter if decision.kind == "suggest" else None,
            "reasons": reasons if decision.kind != "new" else [],
        }
        progress(done, len(complaints))


@dataclass(frozen=True, slots=True)
class LinkingFigures:
    """How well complaints since a day were linked, everything before replayed on own decisions.

    ``attach_f1``, ``precision``, ``recall`` count automatic links: right if most of the matter's complaints so
    far truly are of the complaint's matter. ``confirmed_f1`` is attach F1 with the right suggestions
    counted as links, without replaying what follows from them.
    ``shuffled_f1`` is attach F1 with the order within each day drawn at random.
    """

    complaints: int
    repeats: int
    attach_f1: float
    precision: float
    recall: float
    b_cubed: float
    suggested: int
    suggested_right: int
    confirmed_f1: float
    shuffled_f1: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def replay_figures(
    rows: Sequence[Row], linker: Linker, since: str, embedding: StaticEmbedding | None = None, seed: int = 1
) -> LinkingFigures:
    """Replay a history with known ``matter`` and return the figures of the complaints from ``since`` (a date) on."""
    rules = load_cue_rules()
    vectors = embedding or load_embedding()
    truth = _truth(rows)
    complaints = _in_order([complaint_of(row, rules) for row in rows])
    start = datetime.fromisoformat(since)
    linked = list(_link(complaints, linker, vectors))
    shuffled = list(_link(_shuffled_days(complaints, seed), linker, vectors))
    counts = _count(linked, truth, {c.id for c in complaints if c.received_at >= start})
    again = _count(shuffled, truth, {c.id for c in complaints if c.received_at >= start})
    settled = counts.suggested_right
    return LinkingFigures(
        complaints=counts.complaints,
        repeats=counts.repeats,
        attach_f1=counts.f1(),
        precision=counts.right / max(counts.attached, 1),
        recall=counts.right / max(counts.repeats, 1),
        b_cubed=_b_cubed(linked, truth, start, complaints),
        suggested=counts.suggested,
        suggested_right=settled,
        confirmed_f1=2 * (counts.right + settled) / max(counts.attached + settled + counts.repeats, 1),
        shuffled_f1=again.f1(),
    )


def fit_linker(
    history: Sequence[Row], background: Background | None = None, embedding: StaticEmbedding | None = None
) -> Linker:
    """Learn pair weights and both thresholds from a history whose rows name their ``matter``.

    Weights start from the hand-set ones and move as far as the history bears out.
    Every complaint is compared with its candidates among the earlier ones. Thresholds are chosen in a replay
    on own decisions with scores of models that never saw the complaint's matter. The same history gives the
    same linker. Raises HistoryError when fewer than LEAST_REPEATS complaints return to a known matter.
    """
    rules = load_cue_rules()
    rare = background or Background.none()
    truth = _truth(history)
    complaints = _in_order([complaint_of(row, rules) for row in history])
    repeats = len(complaints) - len({truth[c.id] for c in complaints})
    if repeats < LEAST_REPEATS:
        raise HistoryError(
            f"{repeats} complaints return to an earlier matter; at least {LEAST_REPEATS} are needed. "
            "Use the bundled linker until officers have linked more"
        )
    pairs = _candidate_pairs(complaints, truth, rare, embedding or load_embedding())
    folds = np.array([zlib.crc32(truth[complaints[i].id].encode()) % FOLDS for i in pairs.owner.tolist()])
    scores = np.zeros(len(folds))
    for fold in range(FOLDS):
        held = folds == fold
        learnt = PairScorer.fit(
            {n: column[~held] for n, column in pairs.features.items()}, pairs.together[~held], DEFAULT_SCORER
        )
        scores[held] = learnt.scores({n: column[held] for n, column in pairs.features.items()})
    matters = [truth[c.id] for c in complaints]
    attach_from = _threshold(pairs, scores, matters, ATTACH_PRECISION)
    suggest_from = min(_threshold(pairs, scores, matters, SUGGEST_PRECISION), attach_from)
    return Linker(PairScorer.fit(pairs.features, pairs.together, DEFAULT_SCORER), attach_from, suggest_from, rare)


def save_linker(directory: Path, linker: Linker, manifest: Mapping[str, Any], card: str) -> None:
    """Write a linker as a model folder; ``manifest`` must hold a ``version``. Raises ArtifactError if it exists."""
    stored = {
        "weights": dict(linker.scorer.weights),
        "bias": linker.scorer.bias,
        "attach_from": linker.attach_from,
        "suggest_from": linker.suggest_from,
    }
    files = {"linker.json": pack_json(stored), "background.npz": pack_arrays(linker.background.arrays())}
    write_artifact(directory, {**manifest, "kind": KIND}, files, card)


def load_linker(directory: Path) -> Linker:
    """Return the linker of a model folder. Raises ArtifactError if it is missing, altered or of another kind."""
    artifact = read_artifact(directory, KIND)
    stored = artifact.json("linker.json")
    unknown = sorted(set(stored["weights"]) - set(FEATURES))
    if unknown:
        raise ArtifactError(f"{directory}: weighs {', '.join(unknown)}, unknown to this version; fit it again")
    background = Background.from_arrays(artifact.arrays("background.npz"))
    scorer = PairScorer(stored["weights"], stored["bias"])
    return Linker(scorer, stored["attach_from"], stored["suggest_from"], background)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Every complaint (``owner``) beside each of its candidates (``other``), as places in the order of arrival."""

    owner: np.ndarray[Any, np.dtype[np.intp]]
    other: np.ndarray[Any, np.dtype[np.intp]]
    features: dict[str, Floats]
    together: np.ndarray[Any, np.dtype[np.bool_]]


def _candidate_pairs(
    complaints: Sequence[Complaint], truth: Mapping[str, str], background: Background, embedding: StaticEmbedding
) -> _Pairs:
    index = MatterIndex(Linker(PairScorer({}, 0.0), 0.0, 0.0, background), embedding)
    owners: list[int] = []
    others: list[int] = []
    blocks: list[dict[str, Floats]] = []
    for i, complaint in enumerate(complaints):
        numbers, features = index.candidates(complaint)
        if numbers:
            owners += [i] * len(numbers)
            others += numbers
            blocks.append(features)
        index.add(complaint, truth[complaint.id])
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    matters = np.array([truth[c.id] for c in complaints])
    owner, other = np.array(owners), np.array(others)
    return _Pairs(owner, other, columns, matters[owner] == matters[other])


def _threshold(pairs: _Pairs, scores: Floats, matters: Sequence[str], precision: float) -> float:
    """Return the lowest threshold at which links made in a replay are right often enough, else the highest tried."""
    enough = []
    for threshold in THRESHOLDS:
        attached, right = _replay(pairs, scores, matters, threshold)
        if attached and right >= precision * attached:
            enough.append(threshold)
    return min(enough, default=max(THRESHOLDS))


def _replay(pairs: _Pairs, scores: Floats, matters: Sequence[str], threshold: float) -> tuple[int, int]:
    """Return how many complaints are attached on own decisions, and how many of them rightly."""
    own = list(range(len(matters)))
    members: dict[int, Counter[str]] = defaultdict(Counter)
    starts = np.searchsorted(pairs.owner, np.arange(len(matters) + 1))
    attached = right = 0
    for i, matter in enumerate(matters):
        start, end = int(starts[i]), int(starts[i + 1])
        best = start + int(np.argmax(scores[start:end])) if end > start else None
        if best is not None and scores[best] >= threshold:
            own[i] = own[int(pairs.other[best])]
            attached += 1
            right += members[own[i]].most_common(1)[0][0] == matter
        members[own[i]][matter] += 1
    return attached, right


@dataclass(slots=True)
class _Counts:
    complaints: int = 0
    repeats: int = 0
    attached: int = 0
    right: int = 0
    suggested: int = 0
    suggested_right: int = 0

    def f1(self) -> float:
        return 2 * self.right / max(self.attached + self.repeats, 1)


def _count(linked: Sequence[Mapping[str, Any]], truth: Mapping[str, str], counted: set[str]) -> _Counts:
    counts = _Counts()
    members: dict[str, Counter[str]] = defaultdict(Counter)
    seen: set[str] = set()
    for link in linked:
        matter = truth[link["id"]]
        kind: Kind = link["decision"]
        to = link["suggested"] if kind == "suggest" else link["matter"]
        right = bool(members[to]) and members[to].most_common(1)[0][0] == matter
        if link["id"] in counted:
            counts.complaints += 1
            counts.repeats += matter in seen
            counts.attached += kind == "attach"
            counts.right += kind == "attach" and right
            counts.suggested += kind == "suggest"
            counts.suggested_right += kind == "suggest" and right
        members[link["matter"]][matter] += 1
        seen.add(matter)
    return counts


def _b_cubed(
    linked: Sequence[Mapping[str, Any]], truth: Mapping[str, str], start: datetime, complaints: Sequence[Complaint]
) -> float:
    own: dict[str, set[str]] = defaultdict(set)
    true: dict[str, set[str]] = defaultdict(set)
    matter_of = {link["id"]: link["matter"] for link in linked}
    for one, matter in matter_of.items():
        own[matter].add(one)
        true[truth[one]].add(one)
    counted = [c.id for c in complaints if c.received_at >= start]
    both = [(own[matter_of[one]], true[truth[one]]) for one in counted]
    precision = sum(len(a & b) / len(a) for a, b in both) / max(len(both), 1)
    recall = sum(len(a & b) / len(b) for a, b in both) / max(len(both), 1)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _truth(rows: Sequence[Row]) -> dict[str, str]:
    missing = [str(row.get("id")) for row in rows if not row.get("matter")]
    if missing:
        raise HistoryError(f"rows {', '.join(missing[:5])}: matter: missing; give every row the matter it belongs to")
    return {str(row["id"]): str(row["matter"]) for row in rows}


def _in_order(complaints: Sequence[Complaint]) -> list[Complaint]:
    return sorted(complaints, key=lambda c: (c.received_at, c.id))


def _shuffled_days(complaints: Sequence[Complaint], seed: int) -> list[Complaint]:
    draw = random.Random(seed)
    days = [list(day) for _, day in groupby(complaints, key=lambda c: c.received_at.date())]
    for day in days:
        draw.shuffle(day)
    return [complaint for day in days for complaint in day]


def _read(text: str) -> str:
    return redact(normalise(text)).text

"""The Tagger: a complaint's text in, its topics, purpose, cues and institutions out, each with its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import pack_arrays, pack_json, read_artifact, write_artifact
from models.calibration import sigmoid
from models.clauses import ClauseModel
from models.linear import LinearTextModel, Prediction
from triage.cues import Cue, CueRule, find_cues, load_cue_rules, merge_cues
from triage.headcount import headcount
from triage.institutions import Endings, InstitutionModel, load_endings
from triage.redact import placeholder_spans, redact
from triage.taxonomy import Taxonomy, load_taxonomy
from triage.text import MappedText, check_text, normalise

KIND = "tagger"
# Kinds for which the learned readers measured better than rules alone.
LEARNED_CUES = ("repeat", "collective")
ACCUSE = "accuse"
MOST_TOPICS = 3
LEARNED_SOURCE = "model.clause"
NO_CLAUSE = -10.0
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start:end`` of the text as received."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Scored:
    """A label, its calibrated probability, and the spans that spoke for it most."""

    code: str
    probability: float
    evidence: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class CueSpan:
    """A cue and the rule or model (``source``) that found it."""

    kind: str
    start: int
    end: int
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class InstitutionSpan:
    """An institution named; ``key`` is the same for the ways to write its name."""

    text: str
    start: int
    end: int
    key: str


@dataclass(frozen=True, slots=True)
class PersonalSpan:
    """Where personal data of a kind stands; never the data itself."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tags:
    """What was found in one text. ``topics`` holds the primary first; ``institutions`` the one concerned first."""

    topic: str
    topics: tuple[Scored, ...]
    purpose: Scored
    needs_review: bool
    cues: tuple[CueSpan, ...]
    headcount: int | None
    institutions: tuple[InstitutionSpan, ...]
    personal_data: tuple[PersonalSpan, ...]
    confidential: bool
    danger: bool
    model: str

    def as_dict(self) -> dict[str, Any]:
        """Return the tags as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CueStack:
    """How the three readers of one cue kind are weighed: whole text, best clause, rules; and when it holds."""

    text: float
    clause: float
    rule: float
    bias: float
    threshold: float

    def probability(self, text: float, clause: float, rule: bool) -> float:
        """Return the probability that the text shows the cue."""
        score = self.text * text + self.clause * clause + self.rule * rule + self.bias
        return float(sigmoid(np.array(score)))


@dataclass(frozen=True, slots=True)
class TaggerParts:
    """Everything learnt. ``clauses`` and ``institutions`` are None in a model of a bureau's own labels alone."""

    linear: LinearTextModel
    clauses: ClauseModel | None
    stacks: Mapping[str, CueStack]
    institutions: InstitutionModel | None
    review_below: float
    topic_threshold: float


class Tagger:
    """Tags texts; thread-safe after construction. ``load`` reads a model folder."""

    def __init__(
        self,
        parts: TaggerParts,
        version: str,
        taxonomy: Taxonomy | None = None,
        rules: Sequence[CueRule] | None = None,
        endings: Endings | None = None,
    ) -> None:
        self.parts = parts
        self.version = version
        self.taxonomy = taxonomy or load_taxonomy()
        self.rules = tuple(load_cue_rules() if rules is None else rules)
        self.endings = endings or load_endings()
        # A model of own labels alone leaves the rest to the bundled one.
        partial = "purpose" not in parts.linear.heads or parts.clauses is None
        self._rest: Tagger | None = Tagger.load() if partial else None

    @classmethod
    def load(cls, directory: Path | None = None) -> Tagger:
        """Return the tagger of a model folder, the bundled one without ``directory``.

        Raises models.artifact.ArtifactError for a folder that is missing, altered or of another kind.
        """
        artifact = read_artifact(directory or bundled_model(), KIND)
        files = list(artifact.files)
        stored = artifact.json("tagger.json")
        parts = TaggerParts(
            LinearTextModel.from_files(artifact.manifest["model"], artifact.arrays, files),
            ClauseModel.from_arrays(stored["cues"], artifact.arrays("clauses.npz")) if "clauses.npz" in files else None,
            {kind: CueStack(**weights) for kind, weights in stored["stacks"].items()},
            InstitutionModel.from_json(stored["institutions"]) if stored["institutions"] else None,
            stored["review_below"],
            stored["topic_threshold"],
        )
        return cls(parts, str(artifact.manifest["version"]))

    def tag(self, text: str, title: str | None = None) -> Tags:
        """Return the tags of one complaint.

        With a title, offsets count in ``title + "\n" + text``. Raises triage.text.TextError, which
        names field, value and remedy, for a text that is empty or longer than 20,000 characters.
        """
        check_text(text)
        whole = check_text(f"{title}\n{text}", "title and text") if title else text
        redacted = redact(normalise(whole))
        reading = _Reading(whole, redacted.mapped)
        prediction = self.parts.linear.predict(reading.text)
        topics, purpose = self._scored(reading, prediction)
        needs_review = topics[0].probability < self.parts.review_below
        if self._rest is not None:
            rest = self._rest.tag(text, title)
            purpose = purpose or rest.purpose
            return replace(
                rest,
                topic=topics[0].code,
                topics=topics,
                purpose=purpose,
                needs_review=needs_review,
                confidential=purpose.code == ACCUSE,
                model=self.version,
            )
        assert purpose is not None
        assert self.parts.institutions is not None
        cues = self._cues(reading.text, prediction)
        return Tags(
            topic=topics[0].code,
            topics=topics,
            purpose=purpose,
            needs_review=needs_review,
            cues=tuple(CueSpan(cue.kind, *reading.place(cue.start, cue.end), cue.source) for cue in cues),
            headcount=headcount(reading.text, [(c.start, c.end) for c in cues if c.kind == "collective"]),
            institutions=tuple(
                InstitutionSpan(span.text, span.start, span.end, one.key)
                for one in self.parts.institutions.find(reading.text, self.endings)
                for span in [reading.span(one.start, one.end)]
            ),
            personal_data=tuple(PersonalSpan(found.kind, found.start, found.end) for found in redacted.found),
            confidential=purpose.code == ACCUSE,
            danger=any(cue.kind == "danger" for cue in cues),
            model=self.version,
        )

    def _labels(self, prediction: Prediction) -> list[tuple[str, str, float]]:
        """Return (head, label, probability): the primary topic, others that hold too, and last the purpose if known."""
        heads, probabilities = self.parts.linear.heads, prediction.probabilities
        best = int(np.argmax(probabilities["topic"]))
        primary = heads["topic"].classes[best]
        chosen = [("topic", primary, float(probabilities["topic"][best]))]
        if "topics" in probabilities:
            for i in np.argsort(-probabilities["topics"])[:MOST_TOPICS]:
                label, probability = heads["topics"].classes[i], float(probabilities["topics"][i])
                if probability >= self.parts.topic_threshold and label != primary:
                    chosen.append(("topics", label, probability))
        chosen = chosen[:MOST_TOPICS]
        if "purpose" in probabilities:
            best = int(np.argmax(probabilities["purpose"]))
            chosen.append(("purpose", heads["purpose"].classes[best], float(probabilities["purpose"][best])))
        return chosen

    def _scored(self, reading: _Reading, prediction: Prediction) -> tuple[tuple[Scored, ...], Scored | None]:
        """Return the topics, primary first, and the purpose, each with its evidence."""
        labels = self._labels(prediction)
        wanted = [(head, label) for head, label, _ in labels]
        hidden = placeholder_spans(reading.text)
        evidence = self.parts.linear.evidence(prediction, wanted, len(reading.text), hidden)
        scored = [
            Scored(label, round(probability, 4), tuple(reading.span(one.start, one.end) for one in spans))
            for (_, label, probability), spans in zip(labels, evidence, strict=True)
        ]
        if labels[-1][0] == "purpose":
            return tuple(scored[:-1]), scored[-1]
        return tuple(scored), None

    def _cues(self, text: str, prediction: Prediction) -> list[Cue]:
        """Return rule cues and, for the learned kinds, the clauses that show one, where the stack says it holds."""
        by_rule = find_cues(text, self.rules)
        cues = [cue for cue in by_rule if cue.kind not in self.parts.stacks]
        read = cue_scores(self.parts, text, prediction)
        for kind, stack in self.parts.stacks.items():
            ruled = [cue for cue in by_rule if cue.kind == kind]
            best = read.clause[kind].max(initial=NO_CLAUSE)
            if stack.probability(read.text[kind], float(best), bool(ruled)) >= stack.threshold:
                level = max(float(best) - 1.0, 0.0) if ruled else float(best)
                clauses = [read.clauses[i] for i in np.flatnonzero(read.clause[kind] >= level)]
                cues += ruled + [Cue(kind, *clause, LEARNED_SOURCE) for clause in clauses]
        return merge_cues(cues)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The text as received and as read."""

    source: str
    mapped: MappedText

    @property
    def text(self) -> str:
        return self.mapped.text

    def place(self, start: int, end: int) -> tuple[int, int, str]:
        first, last = self.mapped.source_span(start, end)
        return first, last, self.source[first:last]

    def span(self, start: int, end: int) -> Span:
        return Span(*self.place(start, end))


@dataclass(frozen=True, slots=True)
class CueScores:
    """Log-odds per cue kind: of the whole text, and of each of its ``clauses``."""

    text: dict[str, float]
    clauses: list[tuple[int, int]]
    clause: dict[str, Floats]


def cue_scores(parts: TaggerParts, text: str, prediction: Prediction) -> CueScores:
    """Return what the learned readers say of the cues of a normalised, redacted text."""
    if parts.clauses is None or "cues" not in prediction.scores:
        return CueScores({}, [], {})
    whole = prediction.scores["cues"]
    spans, scores = parts.clauses.scores(text, prediction.features)
    return CueScores(
        {kind: float(whole[i]) for i, kind in enumerate(parts.linear.heads["cues"].classes)},
        spans,
        {kind: scores[:, i] for i, kind in enumerate(parts.clauses.labels)},
    )


def save_tagger(directory: Path, parts: TaggerParts, manifest: Mapping[str, Any], card: str) -> None:
    """Write a tagger as a model folder; ``manifest`` must hold a ``version``. Raises ArtifactError if it exists."""
    files = parts.linear.files()
    if parts.clauses is not None:
        files["clauses.npz"] = pack_arrays(parts.clauses.arrays())
    files["tagger.json"] = pack_json(
        {
            "cues": parts.clauses.labels if parts.clauses else [],
            "stacks": {kind: asdict(stack) for kind, stack in parts.stacks.items()},
            "institutions": parts.institutions.as_json() if parts.institutions else None,
            "review_below": parts.review_below,
            "topic_threshold": parts.topic_threshold,
        }
    )
    write_artifact(directory, {**manifest, "kind": KIND, "model": parts.linear.description()}, files, card)


def bundled_model() -> Path:
    """Return the folder of the model that ships with the package."""
    return Path(str(resources.files("triage"))) / "default_model"

"""From labelled complaints to a tagger: features, heads, cue readers, institutions, calibration, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import threshold_for_precision
from models.clauses import ClauseModel
from models.features import FeatureSettings
from models.linear import FitSettings, LinearTextModel, Prediction, Target, fold_indices
from models.static import StaticEmbedding
from training.dataset import Example
from triage.cues import find_cues, load_cue_rules
from triage.institutions import InstitutionModel, load_endings
from triage.tagging import LEARNED_CUES, NO_CLAUSE, CueStack, TaggerParts, cue_scores

Progress = Callable[[str], None]
# A validation example and what the model says of it: each is read once.
Read = tuple[Example, Prediction]
PRECISION = 0.95
# Fewer validation texts than this set nothing.
ENOUGH = 100
TOPIC_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What ``fit_tagger`` does; ``embedding`` False leaves the static word vectors out."""

    features: FeatureSettings = field(default_factory=FeatureSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    embedding: bool = True


def load_embedding(path: Path | None = None) -> StaticEmbedding:
    """Return the static word vectors that ship with the package, or those in ``path`` (.npz)."""
    source = path or Path(str(resources.files("training"))) / "embedding" / "words.npz"
    with np.load(BytesIO(source.read_bytes()), allow_pickle=False) as stored:
        return StaticEmbedding.from_arrays({name: stored[name] for name in stored.files})


def fit_tagger(
    examples: Sequence[Example],
    validation: Sequence[Example] = (),
    settings: TrainingSettings | None = None,
    progress: Progress = lambda _: None,
) -> TaggerParts:
    """Return everything learnt from ``examples``.

    Probabilities and thresholds are set on ``validation`` where it is given (it is learnt from in no
    other way), else on out-of-fold scores. Purpose, further topics, cues and institutions are learnt
    where every example has them. The same data and seed give the same parts.
    """
    settings = settings or TrainingSettings()
    texts = [example.text for example in examples]
    targets = _targets(examples)
    embedding = load_embedding() if settings.embedding else None
    linear = LinearTextModel.fit(texts, targets, embedding, settings.features, settings.fit, progress)
    unseen = linear.out_of_fold_
    read = [(example, linear.predict(example.text)) for example in validation]
    known = {head: _known(read, linear, head) for head in linear.heads}
    for name, head in linear.heads.items():
        if len(known[name]) >= ENOUGH:
            scores = np.array([prediction.scores[name] for _, prediction in known[name]])
            head.calibrate(scores, [_labels(example, name) for example, _ in known[name]])
    review_below = _review_threshold(linear, examples, unseen["topic"], known["topic"])
    parts = TaggerParts(linear, None, {}, None, review_below, TOPIC_THRESHOLD)
    if all(example.spans is not None and example.cues is not None for example in examples):
        progress("fit cues")
        clauses, stacks = _fit_cues(
            linear, examples, unseen["cues"], [one for one in read if one[0].cues is not None], settings.fit
        )
        progress("fit institutions")
        institutions = InstitutionModel.fit([example.names() for example in examples], load_endings())
        parts = replace(parts, clauses=clauses, stacks=stacks, institutions=institutions)
    return parts


def _targets(examples: Sequence[Example]) -> list[Target]:
    targets = [Target("topic", [_labels(e, "topic") for e in examples])]
    for name, exclusive in (("topics", False), ("purpose", True), ("cues", False)):
        labels = [_labels(e, name) for e in examples]
        if all(label is not None for label in labels) and len({x for one in labels for x in one}) > 1:
            targets.append(Target(name, labels, exclusive))
    return targets


def _labels(example: Example, head: str) -> Any:
    if head == "topic":
        return frozenset({example.label})
    if head == "purpose":
        return None if example.purpose is None else frozenset({example.purpose})
    return example.topics if head == "topics" else example.cues


def _known(validation: Sequence[Read], linear: LinearTextModel, head: str) -> list[Read]:
    """Return the validation examples whose labels of a head are given and known to it."""
    classes = set(linear.heads[head].classes)
    kept = []
    for one in validation:
        labels = _labels(one[0], head)
        if labels is not None and (not linear.heads[head].exclusive or labels <= classes):
            kept.append(one)
    return kept


def _review_threshold(
    linear: LinearTextModel, examples: Sequence[Example], unseen: NDArray[np.float64], known: Sequence[Read]
) -> float:
    head = linear.heads["topic"]
    if len(known) >= ENOUGH:
        scores = np.array([prediction.scores["topic"] for _, prediction in known])
        truth = [example.label for example, _ in known]
    else:
        scores, truth = unseen, [e.label for e in examples]
    probabilities = head.probabilities(scores)
    right = np.array([head.classes[i] == t for i, t in zip(probabilities.argmax(axis=1), truth, strict=True)])
    return round(threshold_for_precision(probabilities.max(axis=1), right, PRECISION), 4)


def _fit_cues(
    linear: LinearTextModel,
    examples: Sequence[Example],
    whole: NDArray[np.float64],
    validation: Sequence[Read],
    settings: FitSettings,
) -> tuple[ClauseModel, dict[str, CueStack]]:
    """Return the clause reader and, for each learned kind, the weights of text, clause and rules."""
    texts = [example.text for example in examples]
    spans = [_spans_by_kind(example) for example in examples]
    best = np.full((len(texts), len(LEARNED_CUES)), NO_CLAUSE)
    for rest, fold in fold_indices(len(texts), settings.folds, settings.seed):
        model = ClauseModel.fit(linear.features, [texts[i] for i in rest], [spans[i] for i in rest], LEARNED_CUES)
        for i in fold:
            scores = model.scores(texts[i], linear.features.transform(texts[i]))[1]
            best[i] = scores.max(axis=0, initial=NO_CLAUSE)
    clauses = ClauseModel.fit(linear.features, texts, spans, LEARNED_CUES)
    ruled = _ruled(texts)
    stacks = {}
    for k, kind in enumerate(LEARNED_CUES):
        column = linear.heads["cues"].classes.index(kind)
        design = np.column_stack([whole[:, column], best[:, k], ruled[:, k]])
        truth = np.array([kind in (example.cues or ()) for example in examples])
        stacks[kind] = _fit_stack(design, truth)
    if len(validation) >= ENOUGH:
        parts = TaggerParts(linear, clauses, stacks, None, 0.0, TOPIC_THRESHOLD)
        stacks = {kind: _retune(stack, kind, parts, validation) for kind, stack in stacks.items()}
    return clauses, stacks


def _fit_stack(design: NDArray[Any], truth: NDArray[np.bool_]) -> CueStack:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0).fit(design, truth)
    text, clause, rule = (round(float(weight), 4) for weight in model.coef_[0])
    threshold = _best_threshold(model.predict_proba(design)[:, 1], truth)
    return CueStack(text, clause, rule, round(float(model.intercept_[0]), 4), threshold)


def _retune(stack: CueStack, kind: str, parts: TaggerParts, validation: Sequence[Read]) -> CueStack:
    """Return the stack with the threshold that is best on the validation examples."""
    ruled = _ruled([example.text for example, _ in validation])[:, LEARNED_CUES.index(kind)]
    probabilities = []
    for (example, prediction), rule in zip(validation, ruled, strict=True):
        read = cue_scores(parts, example.text, prediction)
        best = float(read.clause[kind].max(initial=NO_CLAUSE))
        probabilities.append(stack.probability(read.text[kind], best, bool(rule)))
    truth = np.array([kind in (example.cues or ()) for example, _ in validation])
    return replace(stack, threshold=_best_threshold(np.array(probabilities), truth))


def _best_threshold(probabilities: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Return the threshold of the highest F1, on a grid so that it does not hang on one text."""
    grid = np.arange(0.05, 0.96, 0.05)

    def f1(threshold: float) -> float:
        said = probabilities >= threshold
        return 2 * float((said & truth).sum()) / max(int(said.sum() + truth.sum()), 1)

    smooth = np.convolve([f1(t) for t in grid], [0.25, 0.5, 0.25], mode="same")
    return round(float(grid[1 + int(np.argmax(smooth[1:-1]))]), 2)


def _ruled(texts: Sequence[str]) -> NDArray[np.float64]:
    rules = load_cue_rules()
    found = [{cue.kind for cue in find_cues(text, rules)} for text in texts]
    return np.array([[float(kind in kinds) for kind in LEARNED_CUES] for kinds in found])


def _spans_by_kind(example: Example) -> dict[str, list[tuple[int, int]]]:
    by_kind: dict[str, list[tuple[int, int]]] = {}
    for kind, start, end in example.spans or ():
        by_kind.setdefault(kind, []).append((start, end))
    return by_kind

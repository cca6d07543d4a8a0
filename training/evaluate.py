"""Figures of a tagger on labelled complaints: what the HTML report shows and two models are compared by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import expected_calibration_error
from training.dataset import Example
from triage.institutions import institution_key
from triage.tagging import Tagger, Tags
from triage.text import normalise

ENOUGH = 10
BOOTSTRAP = 1000
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Judged:
    """One example and what the tagger said of it."""

    example: Example
    tags: Tags


def judge(
    examples: Sequence[Example], tagger: Tagger, progress: Callable[[int], None] = lambda _: None
) -> list[Judged]:
    """Tag every example; ``progress`` is told how many are done."""
    judged = []
    for example in examples:
        tags = tagger.tag(example.body, example.title) if example.body else tagger.tag(example.title)
        judged.append(Judged(example, tags))
        progress(len(judged))
    return judged


def evaluate(judged: Sequence[Judged], seed: int = 0) -> dict[str, Any]:
    """Return all figures as JSON-ready values; parts without labels in the data are None."""
    truth = [one.example.label for one in judged]
    said = [one.tags.topic for one in judged]
    confidence = np.array([one.tags.topics[0].probability for one in judged])
    right = np.array([t == s for t, s in zip(truth, said, strict=True)])
    automatic = np.array([not one.tags.needs_review for one in judged])
    purposes = [one for one in judged if one.example.purpose is not None]
    return {
        "texts": len(judged),
        "model": judged[0].tags.model if judged else None,
        "topic": classification(truth, said, seed),
        "calibration": {
            "ece": _round(expected_calibration_error(confidence, right)),
            "bins": _reliability(confidence, right),
        },
        "needs_review": {
            "coverage": _round(float(automatic.mean())),
            "precision": _round(float(right[automatic].mean())) if automatic.any() else None,
            "curve": _coverage_curve(confidence, right),
        },
        "purpose": _purpose(purposes, seed) if purposes else None,
        "cues": _cues([one for one in judged if one.example.cues is not None]),
        "institution": _institutions([one for one in judged if one.example.unit]),
    }


def classification(truth: Sequence[str], said: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Return accuracy, macro-F1 over labels with enough texts, per-label figures with 95 % bootstrap intervals."""
    labels = sorted(set(truth) | set(said))
    place = {label: i for i, label in enumerate(labels)}
    pairs = np.array([(place[t], place[s]) for t, s in zip(truth, said, strict=True)], dtype=np.int64).reshape(-1, 2)
    counts = Counter(truth)
    enough = np.array([counts[label] >= ENOUGH for label in labels])
    matrix = _confusion(pairs, len(labels))
    rng = np.random.default_rng(seed)
    samples = [_confusion(pairs[rng.integers(0, len(pairs), len(pairs))], len(labels)) for _ in range(BOOTSTRAP)]
    f1s = np.array([_f1(sample) for sample in samples])
    macro = f1s[:, enough].mean(axis=1) if enough.any() else np.zeros(BOOTSTRAP)
    precision, recall, f1 = _precision(matrix), _recall(matrix), _f1(matrix)
    return {
        "accuracy": _round(float(np.trace(matrix) / max(matrix.sum(), 1))),
        "macro_f1": _round(float(f1[enough].mean())) if enough.any() else None,
        "macro_f1_interval": _interval(macro),
        "macro_labels": [label for label, ok in zip(labels, enough, strict=True) if ok],
        "labels": [
            {
                "label": label,
                "texts": counts[label],
                "precision": _round(float(precision[i])),
                "recall": _round(float(recall[i])),
                "f1": _round(float(f1[i])),
                "f1_interval": _interval(f1s[:, i]),
            }
            for i, label in enumerate(labels)
        ],
        "confusion": {"labels": labels, "counts": matrix.tolist()},
    }


def worst_errors(judged: Sequence[Judged], most: int = 50) -> list[dict[str, Any]]:
    """Return the confidently wrong topics, most confident first, with the redacted text for a person to read."""
    wrong = [one for one in judged if one.tags.topic != one.example.label]
    wrong.sort(key=lambda one: -one.tags.topics[0].probability)
    return [
        {
            "id": one.example.id,
            "truth": one.example.label,
            "said": one.tags.topic,
            "probability": one.tags.topics[0].probability,
            "text": one.example.text[:300],
        }
        for one in wrong[:most]
    ]


def institution_found(example: Example, tags: Tags) -> tuple[bool, bool]:
    """Return whether the unit was named first, and whether it was named at all, exactly or by the same key."""
    unit = normalise(example.unit or "").text
    key = institution_key(unit)
    hits = [one.key == key or normalise(one.text).text == unit for one in tags.institutions]
    return bool(hits) and hits[0], any(hits)


def _purpose(judged: Sequence[Judged], seed: int) -> dict[str, Any]:
    truth = [one.example.purpose or "" for one in judged]
    return classification(truth, [one.tags.purpose.code for one in judged], seed)


def _cues(judged: Sequence[Judged]) -> dict[str, Any] | None:
    if not judged:
        return None
    figures = {}
    for kind in ("repeat", "collective", "escalation", "danger"):
        truth = np.array([kind in (one.example.cues or ()) for one in judged])
        said = np.array([any(cue.kind == kind for cue in one.tags.cues) for one in judged])
        hit = int((truth & said).sum())
        figures[kind] = {
            "texts": int(truth.sum()),
            "precision": _round(hit / max(int(said.sum()), 1)),
            "recall": _round(hit / max(int(truth.sum()), 1)),
            "f1": _round(2 * hit / max(int(truth.sum() + said.sum()), 1)),
        }
    return figures


def _institutions(judged: Sequence[Judged]) -> dict[str, Any] | None:
    if not judged:
        return None
    found = np.array([institution_found(one.example, one.tags) for one in judged])
    return {"texts": len(judged), "first": _round(float(found[:, 0].mean())), "any": _round(float(found[:, 1].mean()))}


def _confusion(pairs: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    return np.bincount(pairs[:, 0] * size + pairs[:, 1], minlength=size * size).reshape(size, size)


def _precision(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.diag(matrix) / np.maximum(matrix.sum(axis=0), 1)
    return result


def _recall(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    return result


def _f1(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    result: NDArray[np.float64] = 2 * np.diag(matrix) / np.maximum(both, 1)
    return result


def _reliability(confidence: NDArray[np.float64], right: Bools, bins: int = 10) -> list[dict[str, Any]]:
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "from": b / bins,
            "texts": int((which == b).sum()),
            "confidence": _round(float(confidence[which == b].mean())),
            "accuracy": _round(float(right[which == b].mean())),
        }
        for b in range(bins)
        if (which == b).any()
    ]


def _coverage_curve(confidence: NDArray[np.float64], right: Bools) -> list[dict[str, float]]:
    """Return precision of the most confident part for coverages of 5 %, 10 % … 100 %."""
    order = np.argsort(-confidence, kind="stable")
    points = []
    for percent in range(5, 101, 5):
        part = order[: max(1, round(len(order) * percent / 100))]
        points.append({"coverage": percent / 100, "precision": _round(float(right[part].mean()))})
    return points


def _interval(samples: NDArray[np.float64]) -> list[float]:
    return [_round(float(value)) for value in np.quantile(samples, [0.025, 0.975])]


def _round(value: float) -> float:
    return round(value, 4)

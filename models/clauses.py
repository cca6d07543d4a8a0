"""Which clause of a text shows a label: a linear model over the features that stand in each clause."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays
from models.features import Features, TextFeatures

Floats = NDArray[np.float32]
Spans = Sequence[tuple[int, int]]

_CLAUSE = re.compile(r"[^。!?;,\n]+[。!?;,\n]?")
_SHORTEST = 12


def clause_spans(text: str) -> list[tuple[int, int]]:
    """Return the clauses of a normalised text as (start, end), split at half-width punctuation."""
    return [(m.start(), m.end()) for m in _CLAUSE.finditer(text)]


class ClauseModel:
    """Scores every clause of a text for every label; it reads the features of a fitted TextFeatures."""

    def __init__(self, labels: Sequence[str], weights: Floats, bias: Floats) -> None:
        self.labels = list(labels)
        self.weights = weights
        self.bias = bias

    @classmethod
    def fit(
        cls,
        features: TextFeatures,
        texts: Sequence[str],
        spans: Sequence[Mapping[str, Spans]],
        labels: Sequence[str],
        regularisation: float = 10.0,
    ) -> ClauseModel:
        """Learn from normalised texts and, for each, the spans that show each label.

        A clause shows a label when a span of it overlaps the clause.
        """
        from sklearn.linear_model import LogisticRegression

        clauses = [clause_spans(text) for text in texts]
        matrix = _matrix([features.transform(text) for text in texts], clauses, features.size)
        weights = np.zeros((features.size, len(labels)), dtype=np.float32)
        bias = np.full(len(labels), -10.0, dtype=np.float32)
        for i, label in enumerate(labels):
            truth = [
                any(start < b and end > a for start, end in shown.get(label, ()))
                for shown, borders in zip(spans, clauses, strict=True)
                for a, b in borders
            ]
            if any(truth):
                regression = LogisticRegression(C=regularisation, max_iter=400).fit(matrix, truth)
                weights[:, i] = regression.coef_[0]
                bias[i] = regression.intercept_[0]
        return cls(labels, weights, bias)

    def scores(self, text: str, features: Features) -> tuple[list[tuple[int, int]], Floats]:
        """Return the clauses of a text and their log-odds, shape (clauses, labels)."""
        clauses = clause_spans(text)
        which, ids = _entries(features, clauses)
        sums = [np.bincount(which, self.weights[ids, label], len(clauses)) for label in range(len(self.labels))]
        scale = _scale(which, len(clauses))[:, None]
        return clauses, (np.stack(sums, axis=1) * scale + self.bias).astype(np.float32)

    def arrays(self) -> Arrays:
        """Return the model for ``models.artifact.pack_arrays``; the labels are stored apart."""
        return {"weights": self.weights.astype(np.float16), "bias": self.bias}

    @classmethod
    def from_arrays(cls, labels: Sequence[str], arrays: Arrays) -> ClauseModel:
        """Return the model that ``arrays`` gave."""
        return cls(labels, arrays["weights"].astype(np.float32), arrays["bias"])


def _entries(features: Features, clauses: Spans) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return clause and feature id of each occurrence that stands within one clause."""
    found = features.occurrences
    if not clauses or not len(found.ids):
        return np.zeros(0, np.int64), np.zeros(0, np.int32)
    # Clauses cover the text but for the marks between them, so the one before a place is the one it is in.
    starts = np.array([start for start, _ in clauses])
    which = np.searchsorted(starts, found.starts, side="right") - 1
    inside = (which >= 0) & (found.ends <= np.array([end for _, end in clauses])[which])
    return which[inside], found.ids[inside]


def _scale(which: NDArray[np.int64], clauses: int) -> NDArray[np.float64]:
    """Return what each clause's sum is divided by, so that long clauses do not win by length alone."""
    result: NDArray[np.float64] = 1 / np.sqrt(np.maximum(np.bincount(which, minlength=clauses), _SHORTEST))
    return result


def _matrix(features: Sequence[Features], clauses: Sequence[Spans], size: int) -> Any:
    from scipy import sparse

    rows, ids, values, offset = [], [], [], 0
    for one, borders in zip(features, clauses, strict=True):
        which, columns = _entries(one, borders)
        rows.append(which + offset)
        ids.append(columns)
        values.append(_scale(which, len(borders))[which])
        offset += len(borders)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(ids)))
    return sparse.csr_matrix(entries, shape=(offset, size))

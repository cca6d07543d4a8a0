"""Which clause of a text shows a label: a linear model over the character n-grams of each clause."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays
from models.ngrams import NgramVocabulary, fold

Floats = NDArray[np.float32]
Spans = Sequence[tuple[int, int]]

_CLAUSE = re.compile(r"[^。!?;,\n]+[。!?;,\n]?")
_SHORTEST = 12


def clause_spans(text: str) -> list[tuple[int, int]]:
    """Return the clauses of a normalised text as (start, end), split at half-width punctuation."""
    return [(m.start(), m.end()) for m in _CLAUSE.finditer(text)]


class ClauseModel:
    """Scores every clause of a text for every label; ``fit`` or ``from_arrays`` makes one."""

    def __init__(self, labels: Sequence[str], vocabulary: NgramVocabulary, weights: Floats, bias: Floats) -> None:
        self.labels = list(labels)
        self.vocabulary = vocabulary
        self.weights = weights
        self.bias = bias

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        spans: Sequence[Mapping[str, Spans]],
        labels: Sequence[str],
        min_df: int = 3,
        regularisation: float = 10.0,
    ) -> ClauseModel:
        """Learn from normalised texts and, for each, the spans that show each label.

        A clause shows a label when a span of it overlaps the clause.
        """
        from sklearn.linear_model import LogisticRegression

        clauses = [clause_spans(text) for text in texts]
        folded = [fold(text) for text in texts]
        pieces = [text[a:b] for text, borders in zip(folded, clauses, strict=True) for a, b in borders]
        model = cls(labels, NgramVocabulary.fit(pieces, 1, 3, min_df), np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
        matrix = model._matrix(folded, clauses)
        columns, bias = [], []
        for label in labels:
            truth = [
                any(start < b and end > a for start, end in shown.get(label, ()))
                for shown, borders in zip(spans, clauses, strict=True)
                for a, b in borders
            ]
            if not any(truth):
                columns.append(np.zeros(len(model.vocabulary)))
                bias.append(-10.0)
                continue
            regression = LogisticRegression(C=regularisation, max_iter=400).fit(matrix, truth)
            columns.append(regression.coef_[0])
            bias.append(float(regression.intercept_[0]))
        weights = np.stack(columns, axis=1)
        kept = np.flatnonzero(np.abs(weights).max(axis=1) > 0.02)
        model.vocabulary = NgramVocabulary(model.vocabulary.keys[kept], 1, 3)
        model.weights = weights[kept].astype(np.float32)
        model.bias = np.array(bias, dtype=np.float32)
        return model

    def scores(self, text: str) -> tuple[list[tuple[int, int]], Floats]:
        """Return the clauses of a normalised text and their log-odds, shape (clauses, labels)."""
        clauses = clause_spans(text)
        which, ids, weight = self._entries(fold(text), clauses)
        rows = self.weights[ids] * weight[:, None]
        totals = np.zeros((len(clauses), len(self.labels)), dtype=np.float32)
        if len(which):
            borders = np.flatnonzero(np.diff(which, prepend=-1))
            totals[which[borders]] = np.add.reduceat(rows, borders, axis=0)
        return clauses, totals + self.bias

    def arrays(self) -> Arrays:
        """Return the model for ``models.artifact.pack_arrays``; the labels are stored apart."""
        return {"ngrams": self.vocabulary.keys, "weights": self.weights.astype(np.float16), "bias": self.bias}

    @classmethod
    def from_arrays(cls, labels: Sequence[str], arrays: Arrays) -> ClauseModel:
        """Return the model that ``arrays`` gave."""
        return cls(labels, NgramVocabulary(arrays["ngrams"], 1, 3), arrays["weights"].astype(np.float32), arrays["bias"])

    def _entries(self, folded: str, clauses: Spans) -> tuple[NDArray[Any], NDArray[Any], Floats]:
        """Return (clause, n-gram id, weight) of each distinct n-gram within each clause, clauses ascending."""
        ids, starts, lengths = self.vocabulary.find(folded)
        clause_of = np.full(len(folded) + 1, -1, dtype=np.int64)
        for i, (a, b) in enumerate(clauses):
            clause_of[a:b] = i
        which = clause_of[starts]
        inside = (which >= 0) & (which == clause_of[starts + lengths - 1])
        size = max(len(self.vocabulary), 1)
        pairs = np.unique(which[inside] * size + ids[inside])
        which, ids = pairs // size, (pairs % size).astype(np.int32)
        counts = np.bincount(which, minlength=len(clauses))
        weight = 1 / np.sqrt(np.maximum(counts, _SHORTEST))
        return which, ids, weight[which].astype(np.float32)

    def _matrix(self, folded: Sequence[str], clauses: Sequence[Spans]) -> Any:
        from scipy import sparse

        rows, ids, values, offset = [], [], [], 0
        for text, borders in zip(folded, clauses, strict=True):
            which, columns, weight = self._entries(text, borders)
            rows.append(which + offset)
            ids.append(columns)
            values.append(weight)
            offset += len(borders)
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(ids)))
        return sparse.csr_matrix(entries, shape=(offset, len(self.vocabulary)))

"""Linear text classifiers over shared features: several heads, calibrated, explainable, no pickle.

A head is a linear support vector machine per class. An ``exclusive`` head gives each text one class
(softmax of the margins under a fitted temperature); the other kind lets several classes hold at once
(each margin through its own fitted sigmoid).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, pack_arrays, read_artifact, write_artifact
from models.calibration import fit_sigmoid, fit_temperature, sigmoid, softmax
from models.features import Features, FeatureSettings, TextFeatures
from models.static import StaticEmbedding

KIND = "linear-text-model"
Floats = NDArray[np.float32]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """What a head learns: one set of labels per text; exactly one each where ``exclusive``."""

    name: str
    labels: Sequence[frozenset[str]]
    exclusive: bool = True


@dataclass(frozen=True, slots=True)
class FitSettings:
    """``regularisation`` is scikit-learn's C; ``keep`` bounds the sparse features kept by weight."""

    regularisation: float = 0.2
    balanced: bool = True
    folds: int = 5
    keep: int = 120_000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Characters ``start:end`` of the text as the model read it, and what they added to the class's score."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one text: by head, raw scores and probabilities in the order of its classes.

    ``weights`` are the eight-bit weights of the text's sparse features, one row each.
    """

    features: Features
    weights: Floats
    scores: dict[str, Floats]
    probabilities: dict[str, NDArray[np.float64]]


@dataclass(slots=True)
class Head:
    """Weights of one target. ``slope``/``offset`` calibrate: per class, or one slope for all if exclusive."""

    name: str
    classes: list[str]
    exclusive: bool
    weights: Floats
    bias: Floats
    slope: Floats
    offset: Floats

    def probabilities(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return calibrated probabilities of raw ``scores`` (…, classes)."""
        scaled = np.asarray(scores, dtype=np.float64) * self.slope + self.offset
        return softmax(scaled) if self.exclusive else sigmoid(scaled)

    def calibrate(self, scores: NDArray[Any], labels: Sequence[frozenset[str]]) -> None:
        """Set the calibration from raw scores of texts whose labels are known but were not learnt from."""
        scores = np.asarray(scores, dtype=np.float64)
        if self.exclusive:
            index = {label: i for i, label in enumerate(self.classes)}
            known = [i for i, label in enumerate(labels) if next(iter(label), None) in index]
            truth = np.array([index[next(iter(labels[i]))] for i in known])
            self.slope[:] = 1 / fit_temperature(scores[known], truth) if known else 1.0
            return
        for i, label in enumerate(self.classes):
            truth_here = np.array([label in one for one in labels])
            if truth_here.any() and not truth_here.all():
                self.slope[i], self.offset[i] = fit_sigmoid(scores[:, i], truth_here)


class LinearTextModel:
    """Several heads over one feature extraction; ``fit`` or ``load`` makes one."""

    # Raw scores of the training texts from models that had not seen them; only ``fit`` sets it.
    out_of_fold_: dict[str, NDArray[np.float64]]

    def __init__(self, features: TextFeatures, heads: Mapping[str, Head]) -> None:
        self.features = features
        self.heads = dict(heads)
        self._stack()

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        targets: Sequence[Target],
        embedding: StaticEmbedding | None = None,
        feature_settings: FeatureSettings | None = None,
        settings: FitSettings | None = None,
        progress: Progress = lambda _: None,
    ) -> LinearTextModel:
        """Learn every target from ``texts``; calibrated on out-of-fold scores, the same under a seed.

        Raises ValueError when lengths differ, an exclusive target has not exactly one label a text,
        or a target has fewer than two classes.
        """
        settings = settings or FitSettings()
        for target in targets:
            _check_target(target, len(texts))
        progress("features")
        features = TextFeatures(feature_settings or FeatureSettings(), embedding).fit(texts)
        vectors = [features.transform(text) for text in texts]
        matrix = _matrix(vectors, features)
        heads, unseen = {}, {}
        for target in targets:
            progress(f"fit {target.name}")
            head = heads[target.name] = _fit_head(matrix, target, settings)
            progress(f"calibrate {target.name}")
            unseen[target.name] = _out_of_fold(matrix, target, head, settings)
            head.calibrate(unseen[target.name], target.labels)
        _prune(features, heads, settings.keep)
        model = cls(features, heads)
        model.out_of_fold_ = unseen
        return model

    def predict(self, text: str) -> Prediction:
        """Return each head's scores and calibrated probabilities, and the features read."""
        features = self.features.transform(text)
        # Eight bits a weight also in memory: what a text touches then fits the processor's cache.
        weights = self._levels[features.ids].astype(np.float32)
        stacked = (features.values @ weights) * self._scales + features.dense @ self._dense + self._bias
        scores = {name: stacked[part] for name, part in self._parts.items()}
        probabilities = {name: head.probabilities(scores[name]) for name, head in self.heads.items()}
        return Prediction(features, weights, scores, probabilities)

    def evidence(
        self,
        prediction: Prediction,
        wanted: Sequence[tuple[str, str]],
        length: int,
        hidden: Sequence[tuple[int, int]] = (),
        most: int = 3,
    ) -> list[list[Evidence]]:
        """Return for each wanted (head, label) up to ``most`` spans, strongest first, that spoke for the label.

        A span's features are weighed against the label's rivals in the head. ``length`` is the
        text's length; no span holds a character of ``hidden``. A character's weight is the sum of
        its features' shares.
        """
        features = prediction.features
        found = features.occurrences
        known = found.word_ids >= 0
        starts = np.concatenate([found.starts, found.word_starts[known]])
        ends = np.concatenate([found.ends, found.word_ends[known]])
        shares = np.concatenate([self.features.token_weights(features), features.factors]) / np.maximum(
            ends - starts, 1
        )
        results = []
        for head, label in wanted:
            contrast = self._contrast(head, label)
            sparse = prediction.weights @ (contrast * self._scales)
            weights = shares * np.concatenate([sparse[features.place], features.levels @ (self._dense @ contrast)])
            change = np.bincount(starts, weights, length + 1) - np.bincount(ends, weights, length + 1)
            weights = np.cumsum(change)[:length]
            for start, end in hidden:
                weights[start:end] = 0.0
            results.append(_strongest_spans(weights, most))
        return results

    def _contrast(self, head: str, label: str) -> Floats:
        """Return the weights over all outputs that set a label's score against the mean of its head's."""
        contrast = np.zeros(len(self._bias), dtype=np.float32)
        part = self._parts[head]
        contrast[part] = -1 / (part.stop - part.start)
        contrast[part.start + self.heads[head].classes.index(label)] += 1
        return contrast

    def _stack(self) -> None:
        heads = list(self.heads.values())
        sparse = self.features.size
        self._levels, self._scales = _quantise(np.hstack([head.weights[:sparse] for head in heads]))
        self._dense = np.hstack([head.weights[sparse:] for head in heads])
        self._bias = np.concatenate([head.bias for head in heads])
        borders = np.cumsum([0, *(len(head.classes) for head in heads)])
        self._parts = {head.name: slice(int(borders[i]), int(borders[i + 1])) for i, head in enumerate(heads)}

    def files(self) -> dict[str, bytes]:
        """Return the model's files: sparse weights at 8 bits a weight, the rest at 16."""
        arrays: Arrays = {"levels": self._levels, "scales": self._scales, "dense": self._dense.astype(np.float16)}
        for name, head in self.heads.items():
            arrays |= {f"{name}.bias": head.bias, f"{name}.slope": head.slope, f"{name}.offset": head.offset}
        files = {"features.npz": pack_arrays(self.features.arrays()), "weights.npz": pack_arrays(arrays)}
        if self.features.embedding is not None:
            files["embedding.npz"] = pack_arrays(self.features.embedding.arrays())
        return files

    def description(self) -> dict[str, Any]:
        """Return the JSON description that ``from_files`` needs beside the files."""
        heads = [{"name": h.name, "classes": h.classes, "exclusive": h.exclusive} for h in self.heads.values()]
        return {"features": self.features.settings_json(), "heads": heads}

    @classmethod
    def from_files(
        cls, description: Mapping[str, Any], arrays: Callable[[str], Arrays], names: Sequence[str]
    ) -> LinearTextModel:
        """Return the model that ``files`` and ``description`` gave; ``arrays(name)`` reads one file."""
        embedding = StaticEmbedding.from_arrays(arrays("embedding.npz")) if "embedding.npz" in names else None
        settings = FeatureSettings(**description["features"])
        features = TextFeatures.from_arrays(settings, arrays("features.npz"), embedding)
        stored = arrays("weights.npz")
        sparse = stored["levels"].astype(np.float32) * stored["scales"].astype(np.float32)
        weights = np.vstack([sparse, stored["dense"].astype(np.float32)])
        heads = {}
        at = 0
        for head in description["heads"]:
            name, classes = head["name"], list(head["classes"])
            calibration = [stored[f"{name}.{part}"].astype(np.float32) for part in ("bias", "slope", "offset")]
            columns = weights[:, at : at + len(classes)]
            heads[name] = Head(name, classes, bool(head["exclusive"]), columns, *calibration)
            at += len(classes)
        return cls(features, heads)

    def save(self, directory: Path, manifest: Mapping[str, Any], card: str) -> None:
        """Write the model as a folder of its own; see ``models.artifact.write_artifact``."""
        write_artifact(directory, {**manifest, "kind": KIND, "model": self.description()}, self.files(), card)

    @classmethod
    def load(cls, directory: Path) -> LinearTextModel:
        """Return the verified model of a folder. Raises models.artifact.ArtifactError."""
        artifact = read_artifact(directory, KIND)
        return cls.from_files(artifact.manifest["model"], artifact.arrays, list(artifact.files))


def _check_target(target: Target, texts: int) -> None:
    if len(target.labels) != texts:
        raise ValueError(f"{target.name}: {len(target.labels)} labels for {texts} texts")
    if target.exclusive and any(len(labels) != 1 for labels in target.labels):
        raise ValueError(f"{target.name}: every text needs exactly one label")
    if len({label for labels in target.labels for label in labels}) < 2:
        raise ValueError(f"{target.name}: at least two different labels are needed to learn from")


def _matrix(vectors: Sequence[Features], features: TextFeatures) -> Any:
    from scipy import sparse

    borders = np.cumsum([0, *(len(v.ids) for v in vectors)])
    values = np.concatenate([v.values for v in vectors])
    ids = np.concatenate([v.ids for v in vectors])
    block = sparse.csr_matrix((values, ids, borders), shape=(len(vectors), features.size))
    if not features.dense_size:
        return block
    return sparse.hstack([block, sparse.csr_matrix(np.array([v.dense for v in vectors]))], format="csr")


def _fit_head(matrix: Any, target: Target, settings: FitSettings) -> Head:
    from sklearn.svm import LinearSVC

    weighting = "balanced" if settings.balanced else None
    classes = sorted({label for labels in target.labels for label in labels})
    weights = np.zeros((matrix.shape[1], len(classes)), dtype=np.float32)
    bias = np.zeros(len(classes), dtype=np.float32)
    for i, label in enumerate(classes):
        truth = [label in labels for labels in target.labels]
        if all(truth):  # nothing to tell apart
            bias[i] = 1.0
            continue
        machine = LinearSVC(C=settings.regularisation, class_weight=weighting, random_state=settings.seed)
        machine.fit(matrix, truth)
        weights[:, i], bias[i] = machine.coef_[0], machine.intercept_[0]
    ones, zeros = np.ones(len(classes), np.float32), np.zeros(len(classes), np.float32)
    return Head(target.name, classes, target.exclusive, weights, bias, ones, zeros)


def _out_of_fold(matrix: Any, target: Target, full: Head, settings: FitSettings) -> NDArray[np.float64]:
    """Return scores for every text from models that have not seen it; rare classes keep the full model's."""
    scores = np.asarray(matrix @ full.weights + full.bias, dtype=np.float64)
    for rest, fold in fold_indices(matrix.shape[0], settings.folds, settings.seed):
        labels = [target.labels[i] for i in rest]
        if len({label for one in labels for label in one}) < 2:
            continue
        head = _fit_head(matrix[rest], Target(target.name, labels, target.exclusive), settings)
        columns = [full.classes.index(label) for label in head.classes]
        scores[np.ix_(fold, np.array(columns))] = matrix[fold] @ head.weights + head.bias
    return scores


def fold_indices(count: int, folds: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return (rest, fold) index arrays of a seeded split of ``count`` items into ``folds`` parts."""
    order = np.random.default_rng(seed).permutation(count)
    return [(np.setdiff1d(order, fold), np.sort(fold)) for fold in np.array_split(order, folds)]


def _prune(features: TextFeatures, heads: Mapping[str, Head], keep: int) -> None:
    size = features.size
    if size <= keep:
        return
    strength = np.max([np.abs(head.weights[:size]).max(axis=1) for head in heads.values()], axis=0)
    kept = np.sort(np.argpartition(-strength, keep)[:keep]).astype(np.int32)
    features.keep(kept)
    for head in heads.values():
        head.weights = np.vstack([head.weights[:size][kept], head.weights[size:]])


def _quantise(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    scales = np.maximum(np.abs(weights).max(axis=0, initial=0), 1e-9) / 127
    return np.rint(weights / scales).astype(np.int8), scales.astype(np.float32)


def _strongest_spans(weights: NDArray[Any], most: int) -> list[Evidence]:
    """Return the maximal runs above the mean positive weight, strongest first."""
    positive = weights[weights > 0]
    if not len(positive):
        return []
    above = np.concatenate([[False], weights > positive.mean(), [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    starts, ends = edges[::2], edges[1::2]
    running = np.concatenate([[0.0], np.cumsum(weights)])
    strength = running[ends] - running[starts]
    order = np.argsort(-strength, kind="stable")[:most]
    return [Evidence(int(starts[i]), int(ends[i]), float(strength[i])) for i in order]

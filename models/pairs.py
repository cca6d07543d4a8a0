"""Pairs of texts: an incremental index that finds what may belong together, and a scorer that shows why.

The index is an inverted one over rare character n-grams (hashed, so that no vocabulary grows) beside
one vector a text. Document frequencies are those of the texts added so far, on top of a background.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import rjieba
from numpy.typing import NDArray

from models.artifact import Arrays
from models.ngrams import ngram_keys
from models.static import StaticEmbedding, Vector

BUCKETS = 1 << 22
SIZES = (2, 3)
LONGEST = 3_000
LEAD = 60
# An n-gram in more texts than this singles nothing out: its postings go, and it finds nobody any more.
COMMON = 1_000
RARE_GRAMS = 80
# Inverse document frequencies: n-grams add to what is shared above the first; words count as names above the second.
SHARED_FROM = 4.0
NAME_FROM = 5.5
_WORD = re.compile(r"\w")
_ASTRAL = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")
Floats = NDArray[np.float64]
Ids = NDArray[np.int32]
Mask = NDArray[np.bool_]
NOTHING: Ids = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Bag:
    """The n-gram buckets of a text, ascending, and how often (at most 255 times) each occurs."""

    ids: Ids
    counts: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the index compares it.

    ``grams`` holds the bucket of the longest n-gram at each place of ``text``; ``words`` the buckets of all
    words, ascending; ``title_words`` those of the title.
    """

    text: str
    grams: Ids
    title: Bag
    whole: Bag
    words: Ids
    title_words: Ids
    title_vector: Vector
    vector: Vector


def read_text(title: str, body: str, embedding: StaticEmbedding) -> Reading:
    """Return what is compared of a normalised text; without a title its first characters stand for one."""
    lead = _ASTRAL.sub("\ufffd", (title or body[:LEAD]).lower())
    whole = _ASTRAL.sub("\ufffd", f"{lead}\n{body.lower()}"[:LONGEST])
    title_words = rjieba.cut(lead)
    words = rjieba.cut(whole)
    return Reading(
        whole,
        _gram_buckets(whole, max(SIZES)),
        _bag(lead),
        _bag(whole),
        np.unique(_word_buckets(words)),
        np.unique(_word_buckets(title_words)),
        embedding.encode(title_words),
        embedding.encode(words),
    )


@dataclass(frozen=True, slots=True)
class Background:
    """In how many of ``texts`` texts of elsewhere each bucket occurs: what is rare before anything was read."""

    counts: Ids
    texts: int

    @classmethod
    def none(cls) -> Background:
        return cls(np.zeros(BUCKETS, dtype=np.int32), 0)

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> Background:
        """Return the counts of these texts."""
        counts = np.zeros(BUCKETS, dtype=np.int32)
        texts = 0
        for reading in readings:
            counts[reading.whole.ids] += 1
            counts[reading.words] += 1
            texts += 1
        return cls(counts, texts)

    def arrays(self) -> Arrays:
        """Return the counts of two or more, for ``models.artifact.pack_arrays``."""
        kept = np.flatnonzero(self.counts > 1)
        return {
            "steps": np.diff(kept, prepend=0).astype(np.uint32),
            "counts": np.minimum(self.counts[kept], 65_535).astype(np.uint16),
            "texts": np.array(self.texts),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Background:
        """Return the background that ``arrays`` holds."""
        counts = np.zeros(BUCKETS, dtype=np.int32)
        counts[np.cumsum(arrays["steps"].astype(np.int64))] = arrays["counts"]
        return cls(counts, int(arrays["texts"]))


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike one text is to each of several, in parallel arrays.

    ``title`` and ``whole`` are TF-IDF cosines; ``title_shared`` is the smaller share of either title's
    weight that the other text holds; ``contained`` the share of the shorter text that the longer holds;
    ``passage`` weighs the rarest passage in common, ``rare`` all rare n-grams in common (both as logarithms);
    ``meaning`` and ``title_meaning`` are cosines of vectors. ``name_least`` and ``name_most`` are the shares of
    a title's rare words that the other text has, the lower and the higher of both ways (a half without any).
    """

    title: Floats
    whole: Floats
    title_shared: Floats
    contained: Floats
    passage: Floats
    rare: Floats
    meaning: Floats
    title_meaning: Floats
    name_least: Floats
    name_most: Floats


class TextIndex:
    """Texts by number, in the order added."""

    def __init__(self, dimensions: int, background: Background) -> None:
        self._df = background.counts.copy()
        self._texts = background.texts
        self._postings: dict[int, array[int] | None] = {}
        self._readings: list[Reading] = []
        self._vectors = np.zeros((64, dimensions), dtype=np.float32)

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, reading: Reading) -> int:
        """Add a text and return its number."""
        number = len(self._readings)
        if number == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._vectors[number] = reading.vector
        # Places in the text serve only while it is the one compared.
        self._readings.append(replace(reading, text="", grams=NOTHING))
        self._df[reading.whole.ids] += 1
        self._df[reading.words] += 1
        self._texts += 1
        for bucket in reading.whole.ids.tolist():
            postings = self._postings.setdefault(bucket, array("i"))
            if postings is not None:
                postings.append(number)
                if len(postings) > COMMON:
                    self._postings[bucket] = None
        return number

    def nearest(self, reading: Reading, by_grams: int, by_vector: int) -> set[int]:
        """Return the texts that share most rare n-grams with this one, and those nearest in meaning."""
        count = len(self._readings)
        ids = reading.whole.ids
        idf = self._idf(ids)
        weights = np.zeros(count)
        used = 0
        for i in np.argsort(-idf, kind="stable").tolist():
            postings = self._postings.get(int(ids[i]))
            if postings:
                weights[np.frombuffer(postings, dtype=np.int32)] += idf[i]
                used += 1
                if used == RARE_GRAMS:
                    break
        return {*_top(weights, by_grams), *_top(self._vectors[:count] @ reading.vector, by_vector)}

    def compare(self, reading: Reading, numbers: Sequence[int]) -> Similarity:
        """Return how alike the text is to each of the numbered ones (at least one)."""
        others = [self._readings[number] for number in numbers]
        whole, owner, bounds = _join([other.whole for other in others])
        titles, title_owner, _ = _join([other.title for other in others])
        idf, title_idf = self._idf(reading.whole.ids), self._idf(reading.title.ids)
        whole_idf, titles_idf = self._idf(whole.ids), self._idf(titles.ids)

        def total(values: Floats, owners: NDArray[np.intp]) -> Floats:
            return np.bincount(owners, weights=values, minlength=len(others)).astype(np.float64)

        def cosine(own: Bag, own_idf: Floats, bag: Bag, bag_idf: Floats, owners: NDArray[np.intp]) -> Floats:
            mine, theirs = _damped(own) * own_idf, _damped(bag) * bag_idf
            at, shared = _find(own.ids, bag.ids)
            both = total(mine[at[shared]] * theirs[shared], owners[shared])
            return _ratio(both, np.linalg.norm(mine) * np.sqrt(total(theirs**2, owners)))

        _, shared = _find(reading.whole.ids, whole.ids)
        title_at, in_title = _find(reading.title.ids, whole.ids)
        _, in_whole = _find(reading.whole.ids, titles.ids)
        held = _ratio(total(title_idf[title_at[in_title]], owner[in_title]), np.full(len(others), title_idf.sum()))
        holds = _ratio(total(titles_idf[in_whole], title_owner[in_whole]), total(titles_idf, title_owner))
        smaller = np.minimum(idf.sum(), total(whole_idf, owner))
        rare = np.maximum(whole_idf - SHARED_FROM, 0)
        passages = [self._passage(reading, whole.ids[start:end])[1] for start, end in pairwise(bounds.tolist())]
        names = np.array([self._names(reading, other) for other in others])
        return Similarity(
            title=cosine(reading.title, title_idf, titles, titles_idf, title_owner),
            whole=cosine(reading.whole, idf, whole, whole_idf, owner),
            title_shared=np.minimum(held, holds),
            contained=_ratio(total(whole_idf[shared], owner[shared]), smaller),
            passage=np.log1p(passages),
            rare=np.log1p(total(rare[shared], owner[shared])),
            meaning=np.array([float(reading.vector @ other.vector) for other in others]),
            title_meaning=np.array([float(reading.title_vector @ other.title_vector) for other in others]),
            name_least=names.min(axis=1),
            name_most=names.max(axis=1),
        )

    def shared_passage(self, reading: Reading, number: int) -> str:
        """Return the rarest passage of ``reading`` that the numbered text has too."""
        return self._passage(reading, self._readings[number].whole.ids)[0].strip()

    def _passage(self, reading: Reading, ids: Ids) -> tuple[str, float]:
        """Return the rarest passage of ``reading`` whose n-grams are all in ``ids``, and its weight."""
        _, inside = _find(ids, reading.grams)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
        if not len(edges):
            return "", 0.0
        weights = np.maximum(self._idf(reading.grams) - SHARED_FROM, 0)
        sums = np.concatenate([[0.0], np.cumsum(weights)])
        starts, ends = edges[::2], edges[1::2]
        best = int(np.argmax(sums[ends] - sums[starts]))
        start, end = int(starts[best]), int(ends[best])
        return reading.text[start : end + max(SIZES) - 1], float(sums[end] - sums[start])

    def _names(self, one: Reading, other: Reading) -> tuple[float, float]:
        return self._named(one, other), self._named(other, one)

    def _named(self, one: Reading, other: Reading) -> float:
        rare = one.title_words[self._idf(one.title_words) >= NAME_FROM]
        return float(_find(other.words, rare)[1].mean()) if len(rare) else 0.5

    def _idf(self, ids: Ids) -> Floats:
        idf: Floats = np.log((self._texts + 1) / (self._df[ids] + 1.0))
        return np.maximum(idf, 0)


@dataclass(frozen=True, slots=True)
class PairScorer:
    """Log-odds that two texts belong together: a weight for each named feature, and a bias."""

    weights: Mapping[str, float]
    bias: float

    def scores(self, features: Mapping[str, Floats]) -> Floats:
        """Return one score per pair; ``features`` are parallel arrays under the names of the weights."""
        total = sum(weight * features[name] for name, weight in self.weights.items())
        return np.asarray(total + self.bias, dtype=np.float64)

    def contributions(self, features: Mapping[str, Floats], at: int) -> list[tuple[str, float]]:
        """Return what each feature adds to the score of pair ``at``, largest first; the bias is the rest of it."""
        parts = [(name, weight * float(features[name][at])) for name, weight in self.weights.items()]
        return sorted(((name, part) for name, part in parts if part), key=lambda part: -abs(part[1]))

    @classmethod
    def fit(
        cls, features: Mapping[str, Floats], together: Mask, prior: PairScorer, strength: float = 1.0
    ) -> PairScorer:
        """Learn from pairs by logistic regression that is drawn towards ``prior``, less so with more ``strength``.

        No weight crosses zero: what speaks for a pair in the prior never speaks against it. A feature that
        never varies keeps its weight.
        """
        from scipy.optimize import minimize

        names = list(prior.weights)
        design = np.column_stack([features[name] for name in names])
        spread = design.std(axis=0)
        varies = spread > 0
        scaled = ((design - design.mean(axis=0)) / np.where(varies, spread, 1))[:, varies]
        expected = np.array([prior.weights[name] for name in names])
        start = (expected * spread)[varies]
        signs = np.where(together, 1.0, -1.0)

        def loss(point: Floats) -> tuple[float, Floats]:
            margins = signs * (scaled @ point[:-1] + point[-1])
            pull = -strength * signs / (1 + np.exp(np.minimum(margins, 500)))
            away = point[:-1] - start
            value = strength * float(np.logaddexp(0, -margins).sum()) + float(away @ away) / 2
            return value, np.append(scaled.T @ pull + away, pull.sum())

        bounds = [(0, None) if weight >= 0 else (None, 0) for weight in start] + [(None, None)]
        found = minimize(loss, np.append(start, 0.0), jac=True, bounds=bounds, method="L-BFGS-B").x
        weights = expected.copy()
        weights[varies] = found[:-1] / spread[varies]
        bias = float(found[-1] - (weights * design.mean(axis=0))[varies].sum())
        return cls({name: round(float(w), 4) for name, w in zip(names, weights, strict=True)}, round(bias, 4))


def _bag(text: str) -> Bag:
    ids, counts = np.unique(np.concatenate([_gram_buckets(text, n) for n in SIZES]), return_counts=True)
    return Bag(ids, np.minimum(counts, 255).astype(np.uint8))


def _damped(bag: Bag) -> Floats:
    return 1 + np.log(bag.counts.astype(np.float64))


def _gram_buckets(text: str, n: int) -> Ids:
    mixed = (ngram_keys(text, n) + np.uint64(n)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(42)).astype(np.int32)


def _word_buckets(words: Sequence[str]) -> Ids:
    named = (word.encode("utf-8", "replace") for word in words if _WORD.search(word))
    return np.array([zlib.crc32(word) % BUCKETS for word in named], dtype=np.int32)


def _join(bags: Sequence[Bag]) -> tuple[Bag, NDArray[np.intp], NDArray[np.intp]]:
    lengths = np.array([len(bag.ids) for bag in bags])
    joined = Bag(np.concatenate([bag.ids for bag in bags]), np.concatenate([bag.counts for bag in bags]))
    return joined, np.repeat(np.arange(len(bags)), lengths), np.concatenate([[0], np.cumsum(lengths)])


def _find(ascending: Ids, ids: Ids) -> tuple[NDArray[np.intp], Mask]:
    """Return where each id stands in ``ascending``, and whether it is there at all."""
    if not len(ascending):
        return np.zeros(len(ids), dtype=np.intp), np.zeros(len(ids), dtype=np.bool_)
    place = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return place, ascending[place] == ids


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _top(values: NDArray[np.floating], count: int) -> list[int]:
    chosen = np.argpartition(-values, count)[:count] if len(values) > count else np.arange(len(values))
    return [int(i) for i in chosen if values[i] > 0]

"""Pairs of texts: an incremental index that finds what may belong together, and a scorer that shows why.

The index is an inverted one over rare character n-grams (hashed, so that no vocabulary grows) beside
one vector a text. Document frequencies are those of the texts added so far, on top of a background.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import rjieba
from numpy.typing import NDArray

from models.ngrams import ngram_keys
from models.static import StaticEmbedding, Vector

BUCKETS = 1 << 20
SIZES = (2, 3)
SPAN = 3
LONGEST = 3_000
LEAD = 60
# An n-gram in more texts than this singles nothing out: its postings are dropped and never come back.
COMMON = 1_000
RARE_GRAMS = 80
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bag:
    """The n-gram buckets of a text, ascending, and the damped count of each."""

    ids: Ints
    counts: Floats


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the index compares it; ``grams`` holds the bucket of the n-gram at each place of ``text``."""

    text: str
    title: Bag
    whole: Bag
    grams: Ints
    title_vector: Vector
    vector: Vector


def read_text(title: str, body: str, embedding: StaticEmbedding) -> Reading:
    """Return what is compared of a normalised text; without a title its first characters stand for one."""
    title = title or body[:LEAD]
    whole = f"{title}\n{body}"[:LONGEST].lower()
    lead = title.lower()
    return Reading(
        whole,
        _bag(lead),
        _bag(whole),
        _buckets(whole, SPAN),
        embedding.encode(rjieba.cut(lead)),
        embedding.encode(rjieba.cut(whole)),
    )


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike one text is to each of several, in parallel arrays.

    ``title``/``whole`` are TF-IDF cosines; ``title_in``/``title_of`` the share of either title's weight that
    the other text holds; ``contained`` the larger share of either text's weight that the other holds;
    ``span`` the weight of the rarest passage in common, ``rare`` that of all rare n-grams in common.
    """

    title: Floats
    whole: Floats
    title_in: Floats
    title_of: Floats
    contained: Floats
    span: Floats
    rare: Floats
    meaning: Floats
    title_meaning: Floats


class TextIndex:
    """Texts by number, in the order added. ``background`` counts texts of elsewhere per bucket."""

    def __init__(self, dimensions: int, background: NDArray[np.int32] | None = None, background_texts: int = 0) -> None:
        self._df = np.zeros(BUCKETS, dtype=np.int32) if background is None else background.astype(np.int32)
        self._texts = background_texts
        self._postings: defaultdict[int, list[int] | None] = defaultdict(list)
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
        self._readings.append(reading)
        self._df[reading.whole.ids] += 1
        self._texts += 1
        for bucket in reading.whole.ids.tolist():
            postings = self._postings[bucket]
            if postings is not None:
                postings.append(number)
                if len(postings) > COMMON:
                    self._postings[bucket] = None
        return number

    def nearest(self, reading: Reading, by_grams: int, by_vector: int) -> list[int]:
        """Return the texts that share most rare n-grams with this one, and those nearest in meaning."""
        count = len(self._readings)
        if not count:
            return []
        ids = reading.whole.ids
        idf = self._idf(ids)
        known = np.flatnonzero(self._df[ids] > 0)
        rarest = known[np.argsort(-idf[known] , kind="stable")]
        weights = np.zeros(count)
        used = 0
        for i in rarest.tolist():
            postings = self._postings.get(int(ids[i]))
            if postings:
                weights[postings] += idf[i]
                used += 1
                if used == RARE_GRAMS:
                    break
        near = self._vectors[:count] @ reading.vector
        found = {*_top(weights, by_grams), *_top(near, by_vector)}
        return sorted(found)

    def compare(self, reading: Reading, numbers: Sequence[int]) -> Similarity:
        """Return how alike the text is to each of the numbered ones."""
        others = [self._readings[n] for n in numbers]
        count = len(others)
        whole, owner, bounds = _join([o.whole for o in others])
        title, title_owner, _ = _join([o.title for o in others])
        idf = self._idf(reading.whole.ids)
        title_idf = self._idf(reading.title.ids)
        own_whole = reading.whole.counts * idf
        own_title = reading.title.counts * title_idf
        whole_idf = self._idf(whole.ids)
        other_whole = whole.counts * whole_idf
        other_title_idf = self._idf(title.ids)
        other_title = title.counts * other_title_idf

        def total(values: Floats, owners: Ints) -> Floats:
            return np.bincount(owners, weights=values, minlength=count).astype(np.float64)

        at, shared = _find(reading.whole.ids, whole.ids)
        title_at, title_shared = _find(reading.title.ids, title.ids)
        _, title_in_whole = _find(reading.whole.ids, title.ids)
        own_at, own_in = _find(reading.title.ids, whole.ids)
        both = total(own_whole[at[shared]] * other_whole[shared], owner[shared])
        both_titles = total(own_title[title_at[title_shared]] * other_title[title_shared], title_owner[title_shared])
        common = total(whole_idf[shared], owner[shared])
        smaller = np.minimum(idf.sum(), total(whole_idf, owner))
        rare = np.maximum(whole_idf - RARE_FROM, 0)
        return Similarity(
            title=_ratio(both_titles, np.linalg.norm(own_title) * np.sqrt(total(other_title**2, title_owner))),
            whole=_ratio(both, np.linalg.norm(own_whole) * np.sqrt(total(other_whole**2, owner))),
            title_in=_ratio(total(title_idf[own_at[own_in]], owner[own_in]), np.full(count, title_idf.sum())),
            title_of=_ratio(
                total(other_title_idf[title_in_whole], title_owner[title_in_whole]), total(other_title_idf, title_owner)
            ),
            contained=_ratio(common, smaller),
            span=self._spans(reading, whole.ids, bounds),
            rare=np.log1p(total(rare[shared], owner[shared])),
            meaning=np.array([float(reading.vector @ o.vector) for o in others]),
            title_meaning=np.array([float(reading.title_vector @ o.title_vector) for o in others]),
        )

    def _spans(self, reading: Reading, ids: Ints, bounds: Ints) -> Floats:
        weights = np.maximum(self._idf(reading.grams) - RARE_FROM, 0)
        found = np.zeros(len(bounds) - 1)
        for i, (start, end) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            _, inside = _find(ids[start:end], reading.grams)
            sums = np.concatenate([[0.0], np.cumsum(weights * inside)])
            edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
            if len(edges):
                found[i] = (sums[edges[1::2]] - sums[edges[::2]]).max()
        return np.log1p(found)

    def _idf(self, ids: Ints) -> Floats:
        return np.log((self._texts + 1) / (self._df[ids] + 1))


RARE_FROM = 4.0


def _bag(text: str) -> Bag:
    ids, counts = np.unique(np.concatenate([_buckets(text, n) for n in SIZES]), return_counts=True)
    return Bag(ids, 1 + np.log(counts))


def _buckets(text: str, n: int) -> Ints:
    keys = ngram_keys("".join(c if c < "\U00010000" else "\ufffd" for c in text), n)
    mixed = (keys + np.uint64(n)) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(44)).astype(np.int64)


def _join(bags: Sequence[Bag]) -> tuple[Bag, Ints, Ints]:
    lengths = np.array([len(bag.ids) for bag in bags])
    joined = Bag(np.concatenate([bag.ids for bag in bags]), np.concatenate([bag.counts for bag in bags]))
    return joined, np.repeat(np.arange(len(bags)), lengths), np.concatenate([[0], np.cumsum(lengths)])


def _find(ascending: Ints, ids: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return where each id stands in ``ascending``, and whether it is there at all."""
    if not len(ascending):
        return np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.bool_)
    place = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return place, ascending[place] == ids


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _top(values: NDArray[np.floating], count: int) -> list[int]:
    chosen = np.argpartition(-values, count)[:count] if len(values) > count else np.arange(len(values))
    return [int(i) for i in chosen if values[i] > 0]

"""What a linear model reads of a text: character n-grams, words and a static embedding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise, repeat
from typing import Any

import numpy as np
import rjieba
from numpy.typing import NDArray

from models.artifact import Arrays
from models.ngrams import NgramVocabulary, fold
from models.static import StaticEmbedding

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """``lead`` characters at the start count ``lead_weight`` times: writers say there what they want."""

    char_min: int = 1
    char_max: int = 3
    min_df: int = 2
    word_pairs: bool = False
    lead: int = 40
    lead_weight: float = 2.0
    embedding_weight: float = 0.5


@dataclass(frozen=True, slots=True)
class Occurrences:
    """Every known feature of one text where it stands, before weighting: parallel arrays.

    ``ids`` are features (characters' n-grams, then words), ``starts``/``ends`` their characters.
    ``word_ids`` are rows of the embedding for each word of the text, -1 where unknown.
    """

    ids: Ints
    starts: Ints
    ends: Ints
    word_ids: Ints
    word_starts: Ints
    word_ends: Ints


@dataclass(frozen=True, slots=True)
class Features:
    """One text as a vector: ``values`` at the sparse ``ids``, and the ``dense`` embedding.

    ``place`` says for each occurrence which of ``ids`` it is. ``dense`` is the sum of ``levels``, one
    row for each known word, times ``factors``.
    """

    ids: Ints
    values: Floats
    dense: Floats
    occurrences: Occurrences
    place: Ints
    levels: Floats
    factors: Floats


class TextFeatures:
    """Turns texts into Features; sparse blocks are sublinear TF-IDF of unit length each."""

    def __init__(self, settings: FeatureSettings, embedding: StaticEmbedding | None = None) -> None:
        self.settings = settings
        self.embedding = embedding

    def fit(self, texts: Sequence[str]) -> TextFeatures:
        """Learn vocabulary and document frequencies from ``texts``; returns self."""
        settings = self.settings
        folded = [fold(text) for text in texts]
        self.ngrams_ = NgramVocabulary.fit(folded, settings.char_min, settings.char_max, settings.min_df)
        seen: Counter[str] = Counter()
        for text in folded:
            seen.update(set(_words(text, settings.word_pairs)))
        words = sorted(word for word, count in seen.items() if count >= settings.min_df)
        self._set_words(words)
        df = np.zeros(self.size, dtype=np.float32)
        for text in folded:
            df[np.unique(self._occurrences(text).ids)] += 1
        self.idf_: Floats = (np.log((1 + len(texts)) / (1 + df)) + 1).astype(np.float32)
        return self

    @property
    def size(self) -> int:
        """Number of sparse features."""
        return len(self.ngrams_) + len(self.words_)

    @property
    def dense_size(self) -> int:
        return self.embedding.dimensions if self.embedding else 0

    def transform(self, text: str) -> Features:
        """Return the features of one text of any length, the empty one included."""
        found = self._occurrences(fold(text))
        ids, place = np.unique(found.ids, return_inverse=True)
        weights = np.where(found.starts < self.settings.lead, self.settings.lead_weight, 1.0)
        counts = np.bincount(place, weights=weights, minlength=len(ids))
        values = ((1 + np.log(counts)) * self.idf_[ids]).astype(np.float32)
        border = int(np.searchsorted(ids, len(self.ngrams_)))
        for block in (values[:border], values[border:]):
            norm = float(np.linalg.norm(block))
            if norm:
                block /= norm
        dense, levels, factors = self._dense(found)
        return Features(ids, values, dense, found, place.astype(np.int32), levels, factors)

    def token_weights(self, features: Features) -> Floats:
        """Return the share of its feature's value that each occurrence of a text carries."""
        counts = np.bincount(features.place, minlength=len(features.ids))
        share: Floats = (features.values / counts)[features.place].astype(np.float32)
        return share

    def _dense(self, found: Occurrences) -> tuple[Floats, Floats, Floats]:
        """Return the dense vector, and the known words' levels with the factor each has in it."""
        known = found.word_ids >= 0
        ids = found.word_ids[known]
        if self.embedding is None or not len(ids):
            none = np.zeros((0, self.dense_size), np.float32)
            return np.zeros(self.dense_size, np.float32), none, np.zeros(len(ids), np.float32)
        factors = self.embedding.factors[ids]
        factors[found.word_starts[known] < self.settings.lead] *= self.settings.lead_weight
        levels = self.embedding.levels[ids].astype(np.float32)
        total = factors @ levels
        scale = np.float32(self.settings.embedding_weight / (float(np.linalg.norm(total)) or 1.0))
        return total * scale, levels, factors * scale

    def _occurrences(self, folded: str) -> Occurrences:
        ids, starts, lengths = self.ngrams_.find(folded)
        words = rjieba.cut(folded)
        borders = np.fromiter(accumulate(map(len, words), initial=0), dtype=np.int32, count=len(words) + 1)
        offset = len(self.ngrams_)
        known_words = np.fromiter(map(self._word_index.get, words, repeat(-1)), dtype=np.int32, count=len(words))
        word_ids, rows = self._word_ids[known_words], self._word_rows[known_words]
        known = np.flatnonzero(word_ids >= 0)
        parts = [(ids, starts, starts + lengths), (word_ids[known] + offset, borders[known], borders[known + 1])]
        if self.settings.word_pairs:
            get = self._word_index.get
            pair_ids = self._word_ids[[get(a + "\t" + b, -1) for a, b in pairwise(words)]]
            pairs = np.flatnonzero(pair_ids >= 0)
            parts.append((pair_ids[pairs] + offset, borders[pairs], borders[pairs + 2]))
        joined = [np.concatenate(arrays).astype(np.int32) for arrays in zip(*parts, strict=True)]
        return Occurrences(joined[0], joined[1], joined[2], rows, borders[:-1], borders[1:])

    def _set_words(self, words: list[str]) -> None:
        """Set the known words, and one index over them and the embedding's: a word is looked up once."""
        self.words_ = words
        joined = dict.fromkeys([*words, *(self.embedding.words if self.embedding else ())])
        self._word_index = {word: i for i, word in enumerate(joined)}
        # One place more: an unknown word has index -1, the last.
        self._word_ids: Ints = np.full(len(joined) + 1, -1, dtype=np.int32)
        self._word_ids[: len(words)] = np.arange(len(words))
        self._word_rows: Ints = np.full(len(joined) + 1, -1, dtype=np.int32)
        if self.embedding:
            self._word_rows[:-1] = self.embedding.ids(list(joined))

    def keep(self, kept: Ints) -> None:
        """Forget all sparse features but the ascending ids ``kept``."""
        border = int(np.searchsorted(kept, len(self.ngrams_)))
        offset = len(self.ngrams_)
        self._set_words([self.words_[i - offset] for i in kept[border:]])
        self.ngrams_ = NgramVocabulary(self.ngrams_.keys[kept[:border]], self.ngrams_.n_min, self.ngrams_.n_max)
        self.idf_ = self.idf_[kept]

    def arrays(self) -> Arrays:
        """Return what was learnt, for ``models.artifact.pack_arrays`` (the embedding is stored apart)."""
        return {
            "ngrams": self.ngrams_.keys,
            "words": np.frombuffer("\n".join(self.words_).encode(), dtype=np.uint8),
            "idf": self.idf_.astype(np.float16),
        }

    def settings_json(self) -> dict[str, Any]:
        return asdict(self.settings)

    @classmethod
    def from_arrays(cls, settings: FeatureSettings, arrays: Arrays, embedding: StaticEmbedding | None) -> TextFeatures:
        """Return fitted features from what ``arrays`` gave."""
        features = cls(settings, embedding)
        features.ngrams_ = NgramVocabulary(arrays["ngrams"], settings.char_min, settings.char_max)
        joined = arrays["words"].tobytes().decode()
        features._set_words(joined.split("\n") if joined else [])
        features.idf_ = arrays["idf"].astype(np.float32)
        return features


def _words(folded: str, pairs: bool) -> list[str]:
    words = rjieba.cut(folded)
    found = [word for word in words if word.strip()]
    if pairs:
        found += [a + "\t" + b for a, b in pairwise(words) if a.strip() and b.strip()]
    return found

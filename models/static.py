"""Static word vectors: one small table, a text is the weighted mean of its words.

The table is distilled from a sentence encoder (`training/static_embedding.py`): each word embedded
on its own, principal components, frequency weights after Arora et al., "A Simple but Tough-to-Beat
Baseline for Sentence Embeddings" (ICLR 2017). Four bits a component.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays

Vector = NDArray[np.float32]


class StaticEmbedding:
    """Words to vectors: ``levels`` is (words, dimensions) int8 in -7..7, a row's vector is levels · scale."""

    def __init__(self, words: Sequence[str], levels: NDArray[np.int8], scales: Vector, weights: Vector) -> None:
        if not len(words) == len(levels) == len(scales) == len(weights):
            raise ValueError("words, levels, scales and weights must be of one length")
        self.words = list(words)
        self.levels = levels
        self.scales = scales
        self.weights = weights
        self._index = {word: i for i, word in enumerate(self.words)}
        self.factors: Vector = (scales * weights).astype(np.float32)

    @classmethod
    def quantise(cls, words: Sequence[str], vectors: Vector, weights: Vector) -> StaticEmbedding:
        """Return the table of ``vectors`` (words, dimensions; an even number) at four bits a component."""
        scales = np.maximum(np.abs(vectors).max(axis=1), 1e-9) / 7
        levels = np.clip(np.rint(vectors / scales[:, None]), -7, 7).astype(np.int8)
        return cls(words, levels, scales.astype(np.float32), weights.astype(np.float32))

    @property
    def dimensions(self) -> int:
        return int(self.levels.shape[1])

    def ids(self, words: Sequence[str]) -> NDArray[np.int32]:
        """Return each word's row, -1 where it has none."""
        get = self._index.get
        return np.array([get(word, -1) for word in words], dtype=np.int32)

    def rows(self, ids: NDArray[np.int32]) -> Vector:
        """Return the frequency-weighted vectors of known ids, shape (len(ids), dimensions)."""
        return self.levels[ids].astype(np.float32) * self.factors[ids, None]

    def encode(self, words: Sequence[str]) -> Vector:
        """Return the unit vector of a text given as its words; zeros if none is known."""
        ids = self.ids(words)
        total: Vector = self.rows(ids[ids >= 0]).sum(axis=0)
        norm = float(np.linalg.norm(total))
        return total / norm if norm else total

    def arrays(self) -> Arrays:
        """Return the table as arrays for ``models.artifact.pack_arrays``, two components a byte."""
        shifted = (self.levels + 8).astype(np.uint8)
        return {
            "words": np.frombuffer("\n".join(self.words).encode(), dtype=np.uint8),
            "nibbles": shifted[:, ::2] << 4 | shifted[:, 1::2],
            "scales": self.scales.astype(np.float16),
            "weights": self.weights.astype(np.float16),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> StaticEmbedding:
        """Return the table that ``arrays`` holds."""
        nibbles = arrays["nibbles"]
        levels = np.empty((nibbles.shape[0], nibbles.shape[1] * 2), dtype=np.int8)
        levels[:, ::2] = (nibbles >> 4).astype(np.int8) - 8
        levels[:, 1::2] = (nibbles & 15).astype(np.int8) - 8
        words = arrays["words"].tobytes().decode().split("\n")
        return cls(words, levels, arrays["scales"].astype(np.float32), arrays["weights"].astype(np.float32))

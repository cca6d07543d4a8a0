"""Character n-grams as integers, so that counting and look-up are array operations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

MAX_N = 4
_ASTRAL = re.compile("[^\x00-\uffff]")
_DIGIT = re.compile(r"[0-9]")

Keys = NDArray[np.uint64]
Ids = NDArray[np.int32]


def fold(text: str) -> str:
    """Return ``text`` lower-cased with every digit as 0 and rare planes as one mark, length unchanged."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text
    return _DIGIT.sub("0", _ASTRAL.sub("\ufffd", lowered))


def ngram_keys(folded: str, n: int) -> Keys:
    """Return one 64-bit key per position for the n-grams (1 ≤ n ≤ 4) of a folded text, in order."""
    codes = np.frombuffer(folded.encode("utf-16-le", "replace"), dtype=np.uint16).astype(np.uint64)
    count = len(codes) - n + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    keys = codes[:count].copy()
    for i in range(1, n):
        keys |= codes[i : i + count] << np.uint64(16 * i)
    return keys


class NgramVocabulary:
    """The n-grams that a model knows: ``keys`` ascending, an n-gram's id is its place there."""

    def __init__(self, keys: Keys, n_min: int, n_max: int) -> None:
        if not 1 <= n_min <= n_max <= MAX_N:
            raise ValueError(f"n-gram range {n_min}..{n_max} is not within 1..{MAX_N}")
        self.keys = keys
        self.n_min = n_min
        self.n_max = n_max

    @classmethod
    def fit(cls, folded: Iterable[str], n_min: int, n_max: int, min_df: int) -> NgramVocabulary:
        """Return the n-grams found in at least ``min_df`` of the folded texts."""
        seen: Counter[int] = Counter()
        for text in folded:
            for n in range(n_min, n_max + 1):
                seen.update(np.unique(ngram_keys(text, n)).tolist())
        return cls(np.array(sorted(k for k, c in seen.items() if c >= min_df), dtype=np.uint64), n_min, n_max)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, folded: str) -> tuple[Ids, Ids, Ids]:
        """Return ids, start positions and lengths of the known n-grams of a folded text."""
        ids, starts, lengths = [], [], []
        for n in range(self.n_min, self.n_max + 1):
            keys = ngram_keys(folded, n)
            place = np.searchsorted(self.keys, keys)
            place[place == len(self.keys)] = 0
            known = np.flatnonzero(self.keys[place] == keys) if len(self.keys) else np.zeros(0, dtype=np.intp)
            ids.append(place[known].astype(np.int32))
            starts.append(known.astype(np.int32))
            lengths.append(np.full(len(known), n, dtype=np.int32))
        return np.concatenate(ids), np.concatenate(starts), np.concatenate(lengths)

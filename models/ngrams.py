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
    """The n-grams that a model knows: ``keys`` ascending, an n-gram's id is its place there.

    Look-up is an open-addressing hash table in arrays: a text's n-grams are found all at once.
    """

    def __init__(self, keys: Keys, n_min: int, n_max: int) -> None:
        if not 1 <= n_min <= n_max <= MAX_N:
            raise ValueError(f"n-gram range {n_min}..{n_max} is not within 1..{MAX_N}")
        self.keys = keys
        self.n_min = n_min
        self.n_max = n_max
        self._bits = max(4, int(len(keys) * 4).bit_length())
        self._table = _hash_table(keys, self._bits)

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
        keys = [ngram_keys(folded, n) for n in range(self.n_min, self.n_max + 1)]
        sizes = [len(part) for part in keys]
        ids = self._look_up(np.concatenate(keys))
        known = np.flatnonzero(ids >= 0)
        starts = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
        lengths = np.repeat(np.arange(self.n_min, self.n_max + 1, dtype=np.int32), sizes)
        return ids[known], starts[known], lengths[known]

    def _look_up(self, keys: Keys) -> Ids:
        """Return each key's id, -1 for an unknown one."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int32)
        slots = _slots(keys, self._bits)
        ids = self._table[slots]
        open_ = np.flatnonzero((ids >= 0) & (self.keys[ids] != keys))
        while len(open_):
            slots[open_] = (slots[open_] + 1) & (len(self._table) - 1)
            ids[open_] = self._table[slots[open_]]
            open_ = open_[(ids[open_] >= 0) & (self.keys[ids[open_]] != keys[open_])]
        return ids


def _slots(keys: Keys, bits: int) -> NDArray[np.int64]:
    # Fibonacci hashing; the product wraps around.
    return ((keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)).astype(np.int64)


def _hash_table(keys: Keys, bits: int) -> Ids:
    table = np.full(1 << bits, -1, dtype=np.int32)
    waiting = np.arange(len(keys), dtype=np.int32)
    slots = _slots(keys, bits)
    while len(waiting):
        free = table[slots] < 0
        table[slots[free]] = waiting[free]
        placed = table[slots] == waiting
        waiting, slots = waiting[~placed], (slots[~placed] + 1) & (len(table) - 1)
    return table

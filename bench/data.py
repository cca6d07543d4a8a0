"""What the figures are measured on: real messages where they lie beside the repo, else our held-out texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from training.corpus_health import bundled_corpus
from training.dataset import Example, load_dataset

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "education.jsonl"


@dataclass(frozen=True, slots=True)
class Measured:
    """Texts to learn from, to set thresholds on (never learnt from), and to measure on; ``name`` says which."""

    name: str
    train: list[Example]
    validation: list[Example]
    test: list[Example]


def bench_data() -> list[Measured]:
    """Return the comparisons to run.

    With the real messages: learnt from the bundled corpus, and learnt from the real train split, both
    measured on the real dev split. Without them: learnt from nine tenths of the corpus, measured on
    the rest.
    """
    corpus = load_dataset([bundled_corpus()])
    if not REAL.is_file():
        print(f"no real messages at {REAL.parent}: measuring on the held-out part of the bundled corpus instead\n")
        rest, held = corpus.split_off()
        return [Measured("bundled corpus, 90 % learnt, 10 % held out", rest, [], held)]
    train = load_dataset([REAL], where={"split": "train"}).examples
    dev = load_dataset([REAL], where={"split": "dev"}).examples
    return [
        Measured("learnt from the bundled corpus alone, measured on real dev", corpus.examples, train, dev),
        Measured("learnt from the real train split, measured on real dev", train, [], dev),
    ]

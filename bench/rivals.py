"""Plain tools to be beaten, in the same run on the same texts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import rjieba

from training.dataset import Example, join_title

Predict = Callable[[str], str]


def text_of(example: Example) -> str:
    """Return an example as received, the same text for every rival."""
    return join_title(example.title, example.body)


def char_svm(train: Sequence[Example]) -> Predict:
    """Return scikit-learn's character 1-3-gram TF-IDF + LinearSVC, learnt from ``train``."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    pipeline = make_pipeline(vectors, LinearSVC()).fit([text_of(e) for e in train], [e.label for e in train])
    return lambda text: str(pipeline.predict([text])[0])


def fast_text(train: Sequence[Example]) -> Predict:
    """Return fastText on segmented words with word pairs, learnt from ``train`` with its own defaults for the rest."""
    import fasttext

    def line(text: str) -> str:
        return " ".join(word for word in rjieba.cut(text) if word.strip())

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        file.write_text("".join(f"__label__{e.label} {line(text_of(e))}\n" for e in train), encoding="utf-8")
        model = fasttext.train_supervised(
            str(file), epoch=50, lr=0.5, wordNgrams=2, dim=64, minCount=2, thread=1, seed=0, verbose=0
        )
    # The C++ object is called directly: the Python wrapper asks numpy 2 for what it refuses.
    return lambda text: str(model.f.predict(line(text) + "\n", 1, 0.0, "strict")[0][1]).removeprefix("__label__")

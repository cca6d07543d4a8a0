"""The health of a corpus in figures: counts, lengths, near-duplicates, how often texts open alike."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from training.dataset import join_title, load_dataset
from training.tables import Row, read_table

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
GRAM = 5
NEAR = 0.5
OPENING = 6
_NO_WORD = re.compile(r"\W")


def bundled_corpus() -> Path:
    """Return the folder of the corpus that ships with the package."""
    return Path(str(resources.files("training"))) / "corpus"


def corpus_health(paths: Sequence[Path], beside: Path | None = None) -> Iterator[str]:
    """Yield the report's lines. ``beside`` is a file of real messages whose lengths are printed next to ours."""
    dataset = load_dataset(paths)
    examples = dataset.examples
    texts = [join_title(example.title, example.body) for example in examples]
    yield from dataset.report.lines()
    yield "topics: " + _counts(example.label for example in examples)
    yield "purposes: " + _counts(example.purpose or "" for example in examples)
    yield "channels: " + _counts(str(example.fields.get("channel", "")) for example in examples)
    pairs = Counter((example.label, example.purpose or "") for example in examples)
    yield f"topic × purpose: {len(pairs)} pairs occur; fewest {min(pairs.values())}"
    yield "cues: " + _counts(kind for example in examples for kind in example.cues or ())
    yield f"several topics: {sum(len(example.topics or ()) > 1 for example in examples)}"
    yield f"unit named: {sum(example.unit is not None for example in examples)}"
    yield f"spans: {_counts(kind for example in examples for kind, _, _ in example.spans or ())}"
    yield f"length quantiles {', '.join(f'{q:.0%}' for q in QUANTILES)}: {_quantiles(texts)}"
    if beside:
        yield f"  of {beside.name}: {_quantiles(_texts(beside))}"
    near = near_duplicates(texts)
    share = len({i for pair in near for i in pair[:2]}) / len(texts)
    yield f"near-duplicates (character {GRAM}-gram Jaccard > {NEAR}): {len(near)} pairs, {share:.2%} of texts"
    yield from (f"  {examples[a].id} ~ {examples[b].id}: {value:.2f}" for a, b, value in near[:10])
    bodies = [example.body or example.title for example in examples]
    common, count = Counter(body[:OPENING] for body in bodies).most_common(1)[0]
    alike = sum(c for c in Counter(body[:OPENING] for body in bodies).values() if c > 1)
    yield f"same first {OPENING} characters: {alike / len(bodies):.2%} share an opening; commonest {common!r} {count}×"


def near_duplicates(texts: Sequence[str]) -> list[tuple[int, int, float]]:
    """Return (i, j, Jaccard) of the pairs of texts whose character 5-grams overlap by more than NEAR."""
    grams = [_grams(text) for text in texts]
    places: dict[str, list[int]] = defaultdict(list)
    found = []
    for i, mine in enumerate(grams):
        shared = Counter(j for gram in mine for j in places[gram])
        for j, count in shared.items():
            jaccard = count / (len(mine) + len(grams[j]) - count)
            if jaccard > NEAR:
                found.append((j, i, jaccard))
        for gram in mine:
            places[gram].append(i)
    return sorted(found, key=lambda pair: -pair[2])


def _grams(text: str) -> set[str]:
    plain = _NO_WORD.sub("", text)
    return {plain[i : i + GRAM] for i in range(len(plain) - GRAM + 1)}


def _counts(values: Iterator[str]) -> str:
    return ", ".join(f"{value} {count}" for value, count in Counter(values).most_common())


def _quantiles(texts: Sequence[str]) -> str:
    return ", ".join(f"{value:.0f}" for value in np.quantile([len(text) for text in texts], QUANTILES))


def _texts(path: Path) -> list[str]:
    rows = [row.fields for row in read_table(path) if isinstance(row, Row)]
    return [join_title(str(fields.get("title") or ""), str(fields.get("body") or "")) for fields in rows]

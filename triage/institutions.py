"""Institutions named in a text: where, of what kind, and which one it is about."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, log1p
from typing import Any, NamedTuple

import rjieba

from triage.institution_names import KINDS, Endings, institution_key, load_endings

__all__ = ["Endings", "Institution", "InstitutionModel", "LabelledNames", "institution_key", "load_endings"]

LONGEST_NAME = 30
_MOST_WORDS = 12
_REACH = 48
_SEPARATOR = re.compile(r"[^\u4e00-\u9fffA-Za-z0-9·“”\"#()《》-]")
# Places that a segmenter tears apart: anonymised ones ("A7县"), provinces it does not know.
_PLACE_CODE = re.compile(
    r"[A-Z]\d{0,2}[市县区省州旗镇乡]{1,2}|(?<![外跨])[^\W\da-zA-Z_我们你他全本各该外跨在到由从的为是给了请向和与及于每几哪某个节不能可据经让对]{2}省"
)
_PLACE = re.compile(r"[\u4e00-\u9fff]{2,5}[市县区镇乡]")
# What stands just before or after a name says whether it is complained of, answers, or is a landmark.
_LEADS = tuple(
    re.compile(words)
    for words in (
        "投诉|举报|反映|质疑|控告|反对|抗议|取缔|查处|严查|揭露|曝光|被",
        "关于|咨询|请问|建议|解决|想问|询问|对",
        "找|打|向|局|称|据|[^举]报",
        "请|望|呼吁",
        "[在于住读旁近离去到]|位于|小区",
    )
)
_FOLLOWS = tuple(
    re.compile(words)
    for words in (
        "乱|违|强制|强迫|收|拖欠|不|拒|老师|校长|园长|教师|霸王|克扣|虚假|无证|补课|[暑寒]假|食堂|欺",
        "^[的是]",
        "附近|旁|门口|对面|周边|毕业|读|上学|路|站",
        "[回答]复|说|领导|投诉|反映|电话|介入|管|调查|尽快|查",
    )
)


@dataclass(frozen=True, slots=True)
class Institution:
    """A name at ``start:end`` of the searched text; ``key`` is the same for the ways to write it."""

    text: str
    start: int
    end: int
    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class LabelledNames:
    """A normalised text, the spans of all names in it, and of the institution concerned, if one is named."""

    text: str
    names: Sequence[tuple[int, int]]
    concerned: tuple[int, int] | None


class InstitutionModel:
    """What was learnt of names: ``border``, the weights of what speaks for a word being part of a
    name, and ``salience``, of what speaks for a name being the one that a text is about."""

    def __init__(self, border: Mapping[str, float], salience: Sequence[float]) -> None:
        self.border = dict(border)
        self.salience = list(salience)

    @classmethod
    def fit(cls, examples: Sequence[LabelledNames], endings: Endings) -> InstitutionModel:
        """Learn from normalised texts with the spans of their names and of the one concerned."""
        from sklearn.linear_model import LogisticRegression

        model = cls(_fit_border(examples, endings), [])
        better = []
        for example in examples:
            if example.concerned is None:
                continue
            key = institution_key(example.text[slice(*example.concerned)])
            candidates = _candidates(example.text, model._mentions(example.text, endings))
            right = [features for one, features in candidates if one.key == key]
            wrong = [features for one, features in candidates if one.key != key]
            better += [[a - b for a, b in zip(x, y, strict=True)] for x in right for y in wrong]
        if better:
            rows = better + [[-value for value in row] for row in better]
            sides = [1] * len(better) + [0] * len(better)
            weights = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000).fit(rows, sides).coef_[0]
            model.salience = [round(float(w), 4) for w in weights]
        return model

    def find(self, text: str, endings: Endings) -> list[Institution]:
        """Return the institutions named in a normalised text, the one it is most about first.

        One entry a key, in its fullest form. A bare 学校 or 教育局 without place or proper name
        names nobody. Time is linear in the length.
        """
        candidates = _candidates(text, self._mentions(text, endings))
        scored = [(sum(w * f for w, f in zip(self.salience, features)), one) for one, features in candidates]
        return [one for _, one in sorted(scored, key=lambda pair: (-pair[0], pair[1].start))]

    def as_json(self) -> dict[str, Any]:
        return {"border": self.border, "salience": self.salience}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> InstitutionModel:
        """Return the model that ``as_json`` gave."""
        return cls(stored["border"], stored["salience"])

    def _mentions(self, text: str, endings: Endings) -> list[Institution]:
        found: list[Institution] = []
        for end, kind, words in _walks(text, endings):
            start = self._start(words, kind)
            while found and start < found[-1].end:
                if start > found[-1].start:
                    start = found[-1].end
                else:
                    found.pop()
            name = text[start:end]
            if len(name) > 2 and not endings.names_nobody(name):
                found.append(Institution(name, start, end, kind, institution_key(name)))
        return found

    def _start(self, words: Sequence[_Word], kind: str) -> int:
        """Return the most probable start of the name that ends with the last of ``words``."""
        inside = 0.0
        best, start = float("-inf"), words[0].start
        weights = self.border
        for here, features in _steps(words, kind):
            odds = sum(weights.get(feature, 0.0) for feature in features)
            stop = inside - log1p(exp(min(odds, 30.0)))
            if stop > best:
                best, start = stop, here
            inside -= log1p(exp(min(-odds, 30.0)))
            if inside < best:
                return start
        return words[-1].start if inside > best else start


class _Word(NamedTuple):
    start: int
    text: str
    part: str


def _walks(text: str, endings: Endings) -> Iterable[tuple[int, str, list[_Word]]]:
    """Yield the endings as (end, kind, words), words from the ending to the left as far as a name may reach."""
    tails = list(endings.find(text))
    words = _words(text, [(start, end) for start, end, _ in tails])
    starts = [word.start for word in words]
    for start, end, kind in tails:
        at = bisect_right(starts, start) - 1
        walk = [_Word(start, text[start:end], kind)]
        if starts[at] < start:
            walk.append(_Word(starts[at], text[starts[at] : start], "torn"))
        for word in reversed(words[max(0, at - _MOST_WORDS) : at]):
            if end - word.start > LONGEST_NAME or word.start + len(word.text) != walk[-1].start:
                break
            if word.text in endings.never or _SEPARATOR.search(word.text):
                break
            walk.append(word)
        yield end, kind, walk


def _words(text: str, tails: Sequence[tuple[int, int]]) -> list[_Word]:
    """Return the words where names may be, places kept whole."""
    reaches: list[list[int]] = []
    for start, end in tails:
        if reaches and start - _REACH <= reaches[-1][1]:
            reaches[-1][1] = end
        else:
            reaches.append([max(0, start - _REACH), end])
    words = []
    for at, until in reaches:
        for match in (*_PLACE_CODE.finditer(text, at, until), None):
            for word, part in rjieba.tag(text[at : match.start() if match else until]):
                words.append(_Word(at, word, "place" if _PLACE.fullmatch(word) else part))
                at += len(word)
            if match:
                words.append(_Word(at, match[0], "place"))
                at = match.end()
    return words


def _steps(words: Sequence[_Word], kind: str) -> Iterable[tuple[int, list[str]]]:
    """Yield, from the ending to the left, where the name starts without the next word, and what speaks for that word."""
    for i in range(1, len(words)):
        right, word = words[i - 1], words[i]
        left = words[i + 1].part if i + 1 < len(words) else "edge"
        text, part = word.text, word.part
        yield (
            right.start,
            [
                "",
                "w" + text,
                f"wr{text} {right.text}",
                "p" + part,
                f"p{part} {right.part}",
                f"l{left} {part}",
                f"k{kind} {part}",
                f"n{min(i, 4)} {part}",
                "r" + right.text,
                f"c{len(text)} {part}",
                "a" + text[0],
                "z" + text[-1],
            ],
        )


def _fit_border(examples: Sequence[LabelledNames], endings: Endings) -> dict[str, float]:
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    rows: list[list[str]] = []
    inside: list[bool] = []
    for example in examples:
        by_end = {end: start for start, end in example.names}
        for end, kind, words in _walks(example.text, endings):
            name_start = by_end.get(end, words[0].start)
            for start, features in _steps(words, kind):
                rows.append(features)
                inside.append(start > name_start)
                if start <= name_start:
                    break
    if len(set(inside)) < 2:
        return {}
    counts = Counter(feature for row in rows for feature in row)
    vectorizer = DictVectorizer()
    matrix = vectorizer.fit_transform([{f: 1.0 for f in row if counts[f] >= 2} for row in rows])
    weights = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000).fit(matrix, inside).coef_[0]
    names = vectorizer.get_feature_names_out()
    return {str(f): round(float(w), 2) for f, w in zip(names, weights, strict=True) if abs(w) >= 0.05}


def _candidates(text: str, found: Sequence[Institution]) -> list[tuple[Institution, list[float]]]:
    """Return one entry a key, in its fullest form, with what speaks for it as the one concerned."""
    by_key: dict[str, list[Institution]] = {}
    for one in found:
        by_key.setdefault(one.key, []).append(one)
    first_line = text.find("\n") if "\n" in text else 0
    candidates = []
    for rank, places in enumerate(by_key.values()):
        full = max(places, key=lambda one: (len(one.text), -one.start))
        first = places[0]
        lead = text[max(0, first.start - 6) : first.start]
        follow = text[first.end : first.end + 5]
        features = [
            float(first.start < first_line),
            float(first.start < 30),
            float(first.start < 80),
            first.start / max(len(text), 1),
            float(rank == 0),
            log(len(places)),
            len(places) / len(found),
            min(len(full.text), 14) / 14,
            float(full.text[0].isascii()),
            *(float(bool(pattern.search(lead))) for pattern in _LEADS),
            *(float(bool(pattern.search(follow))) for pattern in _FOLLOWS),
            *(float(full.kind == kind) for kind in KINDS),
        ]
        candidates.append((full, features))
    return candidates

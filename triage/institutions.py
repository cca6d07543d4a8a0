"""Institutions named in a text: where, of what kind, and which one it is about."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log1p
from operator import mul
from typing import Any, NamedTuple

import rjieba

from triage.institution_names import KINDS, Endings, institution_key, load_endings

__all__ = ["Endings", "Institution", "InstitutionModel", "LabelledNames", "institution_key", "load_endings"]

_LONGEST_NAME = 30
_MOST_WORDS = 10
_REACH = 40
_STOPS = frozenset(",。!?;:、 \n")
# People mark the name concerned; others in the text may be left unmarked.
_UNMARKED = 0.05
# Log-odds under which what looks like a name is passed over.
_NAMED = -2.0
_MOST_ENDINGS = 3
_NO_NAME_BEFORE = _STOPS | frozenset("的在到是了个所家各该我们把被让给向对与这那此每些某请问找去从为由有没就也都还又")
_SEPARATOR = re.compile(r"[^\u4e00-\u9fffA-Za-z0-9·“”\"#()《》-]")
# Places that a segmenter tears apart: anonymised ones ("A7县"), provinces it does not know.
_PLACE_CODE = re.compile(
    r"\([A-Z\u4e00-\u9fff][\d\u4e00-\u9fff]{0,3}[省市县区]\)|[A-Z]\d{0,2}[市县区省州旗镇乡]{1,2}"
    r"|(?<![外跨])[^\W\da-zA-Z_我们你他全本各该外跨在到由从的为是给了请向和与及于每几哪某个节不能可据经让对]{2}省"
)
# Words of one character that a segmenter glues to a name it does not know.
_GLUED = frozenset("到从因且由经请让被把给在说及即读离近但望对向跟和与现")
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
        model.border |= _fit_named(examples, endings, model)
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

        def rank(candidate: tuple[Institution, list[float]]) -> tuple[float, int]:
            # Without a salience learnt, the order of the text is left.
            return -sum(map(mul, self.salience, candidate[1])), candidate[0].start

        return [one for one, _ in sorted(_candidates(text, self._mentions(text, endings)), key=rank)]

    def as_json(self) -> dict[str, Any]:
        return {"border": self.border, "salience": self.salience}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> InstitutionModel:
        """Return the model that ``as_json`` gave."""
        return cls(stored["border"], stored["salience"])

    def _mentions(self, text: str, endings: Endings) -> list[Institution]:
        found: list[Institution] = []
        for end, kind, words in _walks(text, endings):
            start = self._start(words)
            if end - start < 3 or self._odds(_name_features(text, start, end, kind, words)) < _NAMED:
                continue
            while found and start < found[-1].end:
                if start > found[-1].start:
                    start = found[-1].end
                else:
                    found.pop()
            name = text[start:end]
            if len(name) > 2 and not endings.names_nobody(name):
                found.append(Institution(name, start, end, kind, institution_key(name)))
        return found

    def _odds(self, features: Iterable[str]) -> float:
        weights = self.border
        return sum(map(weights.__getitem__, filter(weights.__contains__, features)))

    def _start(self, words: Sequence[_Word]) -> int:
        """Return the most probable start of the name with the ending ``words[0]``; each word stays or stops."""
        inside = 0.0
        best, start = float("-inf"), words[0].start
        for here, features in _steps(words):
            odds = self._odds(features)
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
    tails = [tail for tail in endings.find(text) if not _stands_alone(text, tail[0], tail[1], endings)]
    words = _words(text, [(start, end) for start, end, _ in tails])
    starts = [word.start for word in words]
    before = (0, "")
    for i, (start, end, kind) in enumerate(tails):
        # "某中学初中", "某人民政府政府": the second adds nothing to the name.
        repeated = before == (start, kind) == (start, "school")
        before = end, kind
        if repeated:
            continue
        floor = tails[i - _MOST_ENDINGS][1] if i >= _MOST_ENDINGS else 0
        at = bisect_right(starts, start) - 1
        walk = [_Word(start, text[start:end], kind)]
        if starts[at] < start:
            walk.append(_Word(starts[at], text[starts[at] : start], "torn"))
        for word in reversed(words[max(0, at - _MOST_WORDS) : at]):
            if word.start < max(floor, end - _LONGEST_NAME) or word.start + len(word.text) != walk[-1].start:
                break
            if word.text in endings.never or _SEPARATOR.search(word.text):
                break
            walk.append(word)
        yield end, kind, walk


def _stands_alone(text: str, start: int, end: int, endings: Endings) -> bool:
    """Return whether an ending like 学校 has nothing before it that could name it: most have not."""
    return (start == 0 or text[start - 1] in _NO_NAME_BEFORE) and _names_nobody(endings, text[start:end])


@lru_cache(maxsize=4096)
def _names_nobody(endings: Endings, name: str) -> bool:
    return endings.names_nobody(name)


def _words(text: str, tails: Sequence[tuple[int, int]]) -> list[_Word]:
    """Return the words where names may be, places kept whole."""
    reaches: list[list[int]] = []
    for start, end in tails:
        at, limit = start, max(start - _REACH, reaches[-1][1] if reaches else 0)
        while at > limit and text[at - 1] not in _STOPS:
            at -= 1
        if reaches and at == reaches[-1][1]:
            reaches[-1][1] = end
        else:
            reaches.append([at, end])
    words = []
    for at, until in reaches:
        for match in (*_PLACE_CODE.finditer(text, at, until), None):
            for word, part in rjieba.tag(text[at : match.start() if match else until]):
                if word[0] in _GLUED and len(word) > 1 and not rjieba.has_word(word):
                    words.append(_Word(at, word[0], "p"))
                    at, word = at + 1, word[1:]
                words.append(_Word(at, word, "place" if 2 < len(word) < 7 and word[-1] in "市县区镇乡" else part))
                at += len(word)
            if match:
                words.append(_Word(at, match[0], "place"))
                at = match.end()
    return words


def _steps(words: Sequence[_Word]) -> Iterable[tuple[int, list[str]]]:
    """Yield, for each word left of the ending, where the name starts without it, and what speaks for it."""
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
                f"n{min(i, 4)} {part}",
                "r" + right.text,
                f"c{len(text)} {part}",
                "a" + text[0],
                "z" + text[-1],
            ],
        )


def _name_features(text: str, start: int, end: int, kind: str, words: Sequence[_Word]) -> list[str]:
    """Return what speaks for a name at ``start:end`` being one."""
    inside = [word for word in words[1:] if word.start >= start]
    first = inside[-1] if inside else _Word(start, "", "none")
    last = inside[0] if inside else first
    outer = words[len(inside) + 1].part if len(inside) + 1 < len(words) else "edge"
    return [
        "N",
        "Nk" + kind,
        "Nt" + words[0].text,
        "Nf" + first.text,
        "Np" + first.part,
        "Nl" + last.text,
        "Nq" + last.part,
        f"Nq{last.part} {first.part}",
        f"Nn{min(len(inside), 5)}",
        f"Nn{min(len(inside), 3)} {first.part}",
        f"Nc{min(end - start, 12)}",
        "No" + outer,
        "Ne" + text[end : end + 1],
    ]


def _fit_border(examples: Sequence[LabelledNames], endings: Endings) -> dict[str, float]:
    rows: list[list[str]] = []
    inside: list[bool] = []
    trust: list[float] = []
    for example in examples:
        names = sorted({example.text[start:end] for start, end in example.names}, key=len, reverse=True)
        for end, _, words in _walks(example.text, endings):
            name = next((name for name in names if example.text.endswith(name, 0, end)), None)
            name_start = words[0].start if name is None else end - len(name)
            for start, features in _steps(words):
                rows.append(features)
                inside.append(start > name_start)
                trust.append(_UNMARKED if name is None else 1.0)
                if start <= name_start:
                    break
    return _weights(rows, inside, trust)


def _fit_named(examples: Sequence[LabelledNames], endings: Endings, model: InstitutionModel) -> dict[str, float]:
    rows: list[list[str]] = []
    named: list[bool] = []
    for example in examples:
        names = {example.text[start:end] for start, end in example.names}
        for end, kind, words in _walks(example.text, endings):
            start = model._start(words)
            if start < words[0].start:
                rows.append(_name_features(example.text, start, end, kind, words))
                named.append(example.text[start:end] in names)
    return _weights(rows, named, [1.0] * len(rows))


def _weights(rows: Sequence[Sequence[str]], truth: Sequence[bool], trust: Sequence[float]) -> dict[str, float]:
    """Return the weights of a logistic regression by feature."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    if len(set(truth)) < 2:
        return {}
    counts = Counter(feature for row in rows for feature in row)
    vectorizer = DictVectorizer()
    matrix = vectorizer.fit_transform([{f: 1.0 for f in row if counts[f] >= 2} for row in rows])
    fitted = LogisticRegression(C=1.0, fit_intercept=False, max_iter=1000).fit(matrix, truth, trust)
    pairs = zip(vectorizer.get_feature_names_out(), fitted.coef_[0], strict=True)
    return {str(feature): round(float(weight), 2) for feature, weight in pairs if abs(weight) >= 0.05}


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

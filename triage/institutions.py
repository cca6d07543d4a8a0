"""Institutions named in a text: where, of what kind, and one key for the ways to write a name."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from math import log
from pathlib import Path
from typing import Any

import rjieba

from triage.configuration import Field, compile_pattern, compose

LONGEST_NAME = 30
_SEPARATOR = re.compile(r"[^\u4e00-\u9fffA-Za-z0-9·“”\"#()]")
# Anonymised places ("A7县") that a segmenter would tear apart.
_PLACE_CODE = re.compile(r"[A-Z]\d{0,2}[市县区省州旗镇乡]")
_REGION = r"(?:[A-Z]\d{0,2}|[\u4e00-\u9fff]{2,4}?)(?:自治区|自治州|省|市|地区|县|区|州|旗)"
_PLACE = re.compile(r"[A-Z]\d{0,2}[市县区省州旗镇乡]|[\u4e00-\u9fff]{2,5}[市县区镇乡]")
_REGIONS = re.compile(rf"^(?:{_REGION}){{1,3}}")
_TOWN = re.compile(r"^[\u4e00-\u9fff]{2,4}?(?:街道|镇|乡)(?=[\u4e00-\u9fff]{3})")
_NUMBERED = re.compile(r"^第?(?:[一二三四五六七八九十]{1,3}|\d{1,3})(?:中|小|幼|高|职)")
_NUMERALS = {c: str(i) for i, c in enumerate("零一二三四五六七八九十")}
_KIND_ORDER = ("kindergarten", "school", "college", "training", "company", "bureau", "other")


@dataclass(frozen=True, slots=True)
class Institution:
    """A name at ``start:end`` of the searched text; ``key`` is the same for the ways to write it."""

    text: str
    start: int
    end: int
    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How names of one kind end."""

    kind: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Endings:
    """All endings of a lexicon, and the names that name nobody."""

    kinds: tuple[Ending, ...]
    generic: re.Pattern[str]
    never: frozenset[str]
    through: frozenset[str]

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Return the endings found in ``text`` as (start, end, kind), overlapping ones merged to the longest."""
        found = sorted(
            ((m.start(), m.end(), ending.kind) for ending in self.kinds for m in ending.pattern.finditer(text)),
            key=lambda f: (f[0], -f[1]),
        )
        kept: list[tuple[int, int, str]] = []
        for start, end, kind in found:
            if kept and start < kept[-1][1]:
                first, last, known = kept[-1]
                kept[-1] = (first, max(last, end), kind if end > last else known)
            else:
                kept.append((start, end, kind))
        return kept


class InstitutionModel:
    """What was learnt of names: their left border, and which of several a text is about."""

    def __init__(self, boundary: Boundary, salience: Sequence[float]) -> None:
        self.boundary = boundary
        self.salience = list(salience)

    @classmethod
    def fit(cls, examples: Sequence[LabelledNames], endings: Endings) -> InstitutionModel:
        """Learn from normalised texts with the spans of their names and of the one concerned."""
        from sklearn.linear_model import LogisticRegression

        boundary = Boundary.fit([(e.text, e.names) for e in examples], endings)
        rows, concerned = [], []
        for example in examples:
            if example.concerned is None:
                continue
            key = institution_key(example.text[slice(*example.concerned)])
            for one, features in _candidates(example.text, _mentions(example.text, endings, boundary)):
                rows.append(features)
                concerned.append(one.key == key)
        if not any(concerned):
            return cls(boundary, [])
        weights = LogisticRegression(C=1.0, max_iter=500).fit(rows, concerned).coef_[0]
        return cls(boundary, [round(float(w), 4) for w in weights])

    def find(self, text: str, endings: Endings) -> list[Institution]:
        """Return the institutions named in a normalised text, the one it is most about first.

        One entry a key, in its fullest form. A bare 学校 or 教育局 without place or proper name
        names nobody. Time is linear in the length.
        """
        candidates = _candidates(text, _mentions(text, endings, self.boundary))
        weights = self.salience or [0.0] * len(candidates[0][1]) if candidates else []
        scored = [(sum(w * f for w, f in zip(weights, features, strict=True)), one) for one, features in candidates]
        return [one for _, one in sorted(scored, key=lambda pair: (-pair[0], pair[1].start))]

    def as_json(self) -> dict[str, Any]:
        return {"words": self.boundary.words, "parts": self.boundary.parts, "salience": self.salience}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> InstitutionModel:
        """Return the model that ``as_json`` gave."""
        words = {word: (int(a), int(b)) for word, (a, b) in stored["words"].items()}
        parts = {part: (int(a), int(b)) for part, (a, b) in stored["parts"].items()}
        return cls(Boundary(words, parts), stored["salience"])


@dataclass(frozen=True, slots=True)
class LabelledNames:
    """A normalised text, the spans of all names in it, and of the institution concerned, if one is named."""

    text: str
    names: Sequence[tuple[int, int]]
    concerned: tuple[int, int] | None


class Boundary:
    """Learned left borders of names: how often a word stood inside a name, and how often before one."""

    def __init__(self, words: dict[str, tuple[int, int]], parts: dict[str, tuple[int, int]]) -> None:
        self.words = words
        self.parts = parts

    @classmethod
    def fit(cls, examples: Iterable[tuple[str, Sequence[tuple[int, int]]]], endings: Endings) -> Boundary:
        """Learn from normalised texts and the spans of the names in them."""
        inside: Counter[str] = Counter()
        before: Counter[str] = Counter()
        part_of: dict[str, str] = {}
        for text, spans in examples:
            tokens = _tokens(text)
            starts = [start for start, _, _ in tokens]
            by_end = {end: start for start, end in spans}
            for tail_start, tail_end, _ in endings.find(text):
                name_start = by_end.get(tail_end, tail_start)
                at = bisect_right(starts, tail_start) - 1
                for start, word, part in reversed(tokens[max(0, at - 12) : at]):
                    if _SEPARATOR.search(word) or tail_end - start > LONGEST_NAME:
                        break
                    part_of[word] = part
                    if start < name_start:
                        before[word] += 1
                        break
                    inside[word] += 1
        words = {w: (inside[w], before[w]) for w in sorted(inside | before) if inside[w] + before[w] >= 2}
        # What words met once turned out to be says what to expect of a word never met.
        once = [w for w in part_of if inside[w] + before[w] == 1]
        parts_inside = Counter(part_of[w] for w in once if inside[w])
        parts_before = Counter(part_of[w] for w in once if before[w])
        parts = {p: (parts_inside[p], parts_before[p]) for p in sorted(parts_inside | parts_before)}
        return cls(words, parts)

    def belongs(self, word: str, part: str) -> float:
        """Return the log-odds that ``word`` (with its part of speech) before an ending is part of the name."""
        if _PLACE.fullmatch(word):
            return 3.0
        part_in, part_before = self.parts.get(part, (1, 1))
        prior = (part_in + 1) / (part_in + part_before + 2)
        word_in, word_before = self.words.get(word, (0, 0))
        share = (word_in + 2 * prior) / (word_in + word_before + 2)
        return log(share / (1 - share))


def load_endings(path: Path | None = None) -> Endings:
    """Return the endings of a lexicon file, the bundled one without ``path``. Raises ConfigurationError."""
    source = path or resources.files("triage") / "lexicon" / "institutions.yaml"
    root = compose(source.read_bytes(), str(path or "lexicon/institutions.yaml")).mapping(
        "words", "endings", "generic", "never", "through"
    )
    words = {name: f"(?:{field.text()})" for name, field in root["words"].entries().items()}
    kinds = tuple(_ending(item, words) for item in root["endings"].items())
    return Endings(kinds, compile_pattern(root["generic"], words), _word_set(root["never"]), _word_set(root["through"]))


def _mentions(text: str, endings: Endings, boundary: Boundary) -> list[Institution]:
    tails = endings.find(text)
    if not tails:
        return []
    tokens = _tokens(text)
    starts = [start for start, _, _ in tokens]
    found = []
    floor = 0
    for tail_start, tail_end, kind in tails:
        start = _name_start(text, tokens, starts, tail_start, tail_end, boundary, endings, floor)
        name = text[start:tail_end]
        if tail_end - start > 2 and not _names_nobody(name, tail_start - start, endings):
            found.append(Institution(name, start, tail_end, kind, institution_key(name)))
        floor = tail_end
    return found


def institution_key(name: str) -> str:
    """Return one key for the ways to write an institution's name.

    Regions before a proper name go ("A7县泉塘中学" = "泉塘中学"); before a number or a bureau the
    nearest stays ("A7县一中", "K9县教育局"). 第三小学 = 三小, 教体局 = 教育局, company forms go.
    """
    name = re.sub(r"[“”\"\s·()]", "", name)
    region = _REGIONS.match(name)
    rest = name[region.end() :] if region else name
    nearest = re.findall(_REGION, region[0])[-1] if region else ""
    rest = re.sub(r"(?:股份|责任|有限){1,3}(?=公司)", "", rest)
    rest = re.sub(r"教育和体育局|教育体育局|教体局|教育文化局|教育科技局|文教局|教育委员会|教委", "教育局", rest)
    rest = re.sub(r"第?([一二三四五六七八九十]{1,3}|\d{1,3})(小学|中学|幼儿园|高级中学|高中|小|中|幼|高)(?![\u4e00-\u9fff]{0,1}心)", _numbered, rest)
    bureau = re.search(r"(?:局|厅|委|部|办|政府|院|所|队)$", rest)
    specific = len(re.sub(r"(?:第?\d+)?(?:小学|中学|学校|幼儿园|学院|大学|高中|初中|公司|中心)$", "", rest)) >= 2
    if bureau or not specific:
        return nearest + rest
    town = _TOWN.match(rest)
    return rest[town.end() :] if town else rest


def _numbered(match: re.Match[str]) -> str:
    digits = match[1]
    if not digits.isdigit():
        if digits == "十":
            digits = "10"
        elif digits.startswith("十"):
            digits = "1" + _NUMERALS.get(digits[1], "")
        elif "十" in digits:
            tens, ones = digits.split("十", 1)
            digits = _NUMERALS.get(tens, "") + (_NUMERALS.get(ones, "0") if ones else "0")
        else:
            digits = "".join(_NUMERALS[d] for d in digits)
    kinds = {"小": "小学", "中": "中学", "幼": "幼儿园", "高": "中学", "高级中学": "中学", "高中": "中学"}
    return digits + kinds.get(match[2], match[2])


def _word_set(field: Field) -> frozenset[str]:
    return frozenset(field.text().split())


def _ending(item: Field, words: dict[str, str]) -> Ending:
    fields = item.mapping("kind", "pattern")
    kind = fields["kind"].scalar("str", "|".join(_KIND_ORDER), f"one of {', '.join(_KIND_ORDER)}", "school")
    return Ending(kind, compile_pattern(fields["pattern"], words))


def _tokens(text: str) -> list[tuple[int, str, str]]:
    """Return (start, word, part of speech) of the text's words, anonymised places kept whole."""
    tokens = []
    at = 0
    for match in (*_PLACE_CODE.finditer(text), None):
        until = match.start() if match else len(text)
        for word, part in rjieba.tag(text[at:until]):
            tokens.append((at, word, part))
            at += len(word)
        if match:
            tokens.append((at, match[0], "ns"))
            at = match.end()
    return tokens


def _name_start(
    text: str,
    tokens: Sequence[tuple[int, str, str]],
    starts: Sequence[int],
    tail_start: int,
    tail_end: int,
    boundary: Boundary,
    endings: Endings,
    floor: int,
) -> int:
    """Return where the name before an ending most probably starts: the best running sum of log-odds."""
    at = bisect_right(starts, tail_start) - 1
    best_start = min(tail_start, starts[at]) if starts[at] >= floor else tail_start
    total = best = 0.0
    for start, word, part in reversed(tokens[max(0, at - 12) : at]):
        if start < floor or tail_end - start > LONGEST_NAME or _SEPARATOR.search(word) or word in endings.never:
            break
        total += 0.0 if word in endings.through else boundary.belongs(word, part)
        if total > best:
            best, best_start = total, start
        elif total < best - 4:
            break
    # A preposition that the segmenter glued to a proper name.
    return best_start + (tail_start - best_start > 2 and text[best_start] in "到从因且由经请让被把给在说及即")


def _names_nobody(name: str, before: int, endings: Endings) -> bool:
    proper = name[:before]
    if not proper:
        return not _NUMBERED.match(name)
    region = _REGIONS.match(proper)
    return bool(endings.generic.fullmatch(name) or endings.generic.fullmatch(name[region.end() if region else 0 :]))


def _candidates(text: str, found: Sequence[Institution]) -> list[tuple[Institution, list[float]]]:
    """Return one entry a key, in its fullest form, with what speaks for it as the one concerned."""
    fullest: dict[str, Institution] = {}
    for one in sorted(found, key=lambda one: (-len(one.text), one.start)):
        fullest.setdefault(one.key, one)
    candidates = []
    for key, full in fullest.items():
        places = [one for one in found if one.key == key]
        first = min(one.start for one in places)
        lead = text[max(0, first - 6) : first]
        features = [
            float(first < 30),
            float(first < 80),
            first / max(len(text), 1),
            log(len(places)),
            len(places) / len(found),
            min(len(full.text), 14) / 14,
            float(bool(_REGIONS.match(full.text))),
            float(any(word in lead for word in ("投诉", "举报", "反映", "质疑", "关于", "咨询", "建议", "解决"))),
            float(any(word in lead for word in ("找", "打", "向", "局", "称", "据"))),
            *(float(full.kind == kind) for kind in _KIND_ORDER),
        ]
        candidates.append((full, features))
    return candidates

"""How institutions are named: the endings of their names, and one key for the ways to write one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from triage.configuration import Field, compile_pattern, compose

KINDS = ("kindergarten", "school", "college", "training", "company", "bureau", "other")
_REGION = (
    r"(?:[A-Z]\d{0,2}|(?:(?![镇乡])[\u4e00-\u9fff]){2,4}?)(?:自治区|自治州|省|市|地区|县|(?<![小社校园学片])区|州|旗)"
)
_REGIONS = re.compile(rf"(?:{_REGION}){{1,3}}")
_DOUBLED = re.compile(r"([市县区])\1")
_TOWN = re.compile(r"[\u4e00-\u9fff]{2,4}?(?:街道|镇|乡)(?=[\u4e00-\u9fff]{3})")
_NUMBERED = re.compile(r"第?(?:[一二三四五六七八九十]{1,3}|\d{1,3})(?:中|小|幼|高|职)")
_NUMERALS = {c: str(i) for i, c in enumerate("零一二三四五六七八九十")}
_ORDINAL = re.compile(r"第?([一二三四五六七八九十]{1,3}|\d{1,3})(小学|中学|幼儿园|高级中学|高中|小|中|幼|高)(?!.?心)")
_FULL = {"小": "小学", "中": "中学", "幼": "幼儿园", "高": "中学", "高级中学": "中学", "高中": "中学"}
_BUREAU = re.compile(r"教育和体育局|教育体育局|教体局|教育文化局|教育科技局|文教局|教育委员会|教委")
_AUTHORITY = re.compile(r"(?:局|厅|委|部|办|政府|院|所|队)$")
_PLAIN_END = re.compile(r"(?:第?\d+)?(?:小学|中学|学校|幼儿园|学院|大学|高中|初中|公司|中心)$")


@dataclass(frozen=True, slots=True)
class Ending:
    """How names of one kind end."""

    kind: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Endings:
    """All endings of a lexicon, and the names that name nobody.

    ``generic`` names nobody even with a place before it, ``bare`` nobody without one; at a word of
    ``never`` no name starts or passes.
    """

    kinds: tuple[Ending, ...]
    any_kind: re.Pattern[str]
    generic: re.Pattern[str]
    bare: re.Pattern[str]
    never: frozenset[str]

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield the endings in ``text`` as (start, end, kind), in order and not overlapping."""
        for match in self.any_kind.finditer(text):
            start, end = match.span()
            yield start, end, next(ending.kind for ending in self.kinds if ending.pattern.match(text, start))

    def names_nobody(self, name: str) -> bool:
        """Return whether a name lacks what tells one institution from another: 民办学校, A市幼儿园, 教育局."""
        name = _DOUBLED.sub(r"\1", name)
        region = _REGIONS.match(name)
        rest = name[region.end() :] if region else name
        if self.generic.fullmatch(name) or self.generic.fullmatch(rest):
            return True
        return not region and not _NUMBERED.match(name) and self.bare.fullmatch(name) is not None


def load_endings(path: Path | None = None) -> Endings:
    """Return the endings of a lexicon file, the bundled one without ``path``. Raises ConfigurationError."""
    source = path or resources.files("triage") / "lexicon" / "institutions.yaml"
    root = compose(source.read_bytes(), str(path or "lexicon/institutions.yaml")).mapping(
        "words", "endings", "generic", "bare", "never"
    )
    words: dict[str, str] = {}
    for name, field in root["words"].entries().items():
        words[name] = f"(?:{compile_pattern(field, words).pattern})"
    kinds = tuple(_ending(item, words) for item in root["endings"].items())
    words["ending"] = f"(?:{'|'.join(ending.pattern.pattern for ending in kinds)})"
    # Most characters of a text occur in no ending: passing over them first more than halves the time.
    known = "".join(sorted(set(re.findall(r"[A-Za-z\u4e00-\u9fff]", words["ending"]))))
    any_kind = re.compile(rf"(?=[{known}\d]){words['ending']}")
    never = frozenset(root["never"].text().split())
    return Endings(
        kinds, any_kind, compile_pattern(root["generic"], words), compile_pattern(root["bare"], words), never
    )


def institution_key(name: str) -> str:
    """Return one key for the ways to write an institution's name.

    Regions before a proper name go ("A7县泉塘中学" = "泉塘中学"); before a number or a bureau the
    nearest stays ("A7县一中", "K9县教育局"). 第三小学 = 三小, 教体局 = 教育局, company forms go.
    """
    name = re.sub(r"[“”\"\s·()]", "", name)
    name = _DOUBLED.sub(r"\1", name)
    region = _REGIONS.match(name)
    rest = name[region.end() :] if region else name
    nearest = re.findall(_REGION, region[0])[-1] if region else ""
    rest = re.sub(r"(?:股份|责任|有限){1,3}(?=公司)", "", rest)
    rest = _ORDINAL.sub(_numbered, _BUREAU.sub("教育局", rest))
    if _AUTHORITY.search(rest) or len(_PLAIN_END.sub("", rest)) < 2:
        return nearest + rest
    town = _TOWN.match(rest)
    return rest[town.end() :] if town else rest


def _numbered(match: re.Match[str]) -> str:
    digits = match[1]
    if not digits.isdigit():
        tens, ten, ones = digits.rpartition("十")
        digits = (_NUMERALS.get(tens, "1") if ten else "") + ("".join(map(_NUMERALS.__getitem__, ones)) or "0")
    return digits + _FULL.get(match[2], match[2])


def _ending(item: Field, words: dict[str, str]) -> Ending:
    fields = item.mapping("kind", "pattern")
    kind = fields["kind"].scalar("str", "|".join(KINDS), f"one of {', '.join(KINDS)}", "school")
    return Ending(kind, compile_pattern(fields["pattern"], words))

"""Normalisation with a way back: every step keeps, for each character, where it came from.

Offsets are Unicode code points into the text as received, half-open ``[start, end)``.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

MAX_CHARACTERS = 20_000


class TextError(ValueError):
    """A text that cannot be processed; the message names field, value and remedy."""


@dataclass(frozen=True, slots=True)
class MappedText:
    """A derived text and, for each of its characters, the span of the source it stands for.

    ``starts`` and ``ends`` are None while the text still equals its source character by character.
    """

    text: str
    starts: tuple[int, ...] | None = None
    ends: tuple[int, ...] | None = None

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span in the source text that ``text[start:end]`` was derived from.

        Raises ValueError for an empty span or one outside the text.
        """
        if not 0 <= start < end <= len(self.text):
            raise ValueError(f"span {start}:{end} is outside a text of {len(self.text)} characters")
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]

    def same_length(self, text: str) -> MappedText:
        """Return the mapping with ``text`` in place of this text, character for character."""
        if len(text) != len(self.text):
            raise ValueError("a character-for-character replacement must keep the length")
        return MappedText(text, self.starts, self.ends)

    def replace(self, edits: list[tuple[int, int, str]]) -> MappedText:
        """Return a text with each ``(start, end, replacement)`` applied; edits ascend and do not overlap.

        Every character of a replacement maps to the whole span it replaces.
        """
        if not edits:
            return self
        starts = range(len(self.text)) if self.starts is None else self.starts
        ends = range(1, len(self.text) + 1) if self.ends is None else self.ends
        pieces: list[str] = []
        new_starts: list[int] = []
        new_ends: list[int] = []
        at = 0
        for start, end, replacement in edits:
            pieces += (self.text[at:start], replacement)
            new_starts += starts[at:start]
            new_ends += ends[at:start]
            new_starts += [starts[start]] * len(replacement)
            new_ends += [ends[end - 1]] * len(replacement)
            at = end
        pieces.append(self.text[at:])
        new_starts += starts[at:]
        new_ends += ends[at:]
        return MappedText("".join(pieces), tuple(new_starts), tuple(new_ends))

    def sub(self, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> MappedText:
        """Return the text with each match of ``pattern`` replaced by ``replacement(match)``."""
        return self.replace([(m.start(), m.end(), replacement(m)) for m in pattern.finditer(self.text)])


# Invisible or undecodable: C0/C1 controls except tab and newlines, format characters, lone surrogates.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_TAG = re.compile(r"<[A-Za-z/!][^<>]{0,300}>")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8}\d{0,2});")
# What opens like a tag but is none; set apart, so that nothing taken out later makes it one.
_TAG_OPENING = re.compile(r"<(?=[A-Za-z/!])")
_REPEATED_PUNCTUATION = re.compile(r"([!?,.;:。、~…—\-_=·])\1+")
_SPACE = re.compile(r"[ \t\r\n\u0085\u2028\u2029\u1680]+")
_EDGE_SPACE = re.compile(r"\A[ \n]+|[ \n]+\Z")


def normalise(text: str) -> MappedText:
    """Return ``text`` in the one form that the matching steps read, mapped back to ``text``.

    NFKC; traditional characters as simplified ones; HTML tags and entities, control and zero-width
    characters removed; runs of one punctuation mark or of white space as one (a run with a line
    break becomes a line break). The result is stable: normalising it again changes nothing.
    Time is linear in the length.
    """
    mapped = MappedText(text)
    mapped = mapped.sub(_INVISIBLE, lambda _: "")
    mapped = _nfkc(mapped)
    mapped = mapped.sub(_TAG, lambda _: " ")
    mapped = mapped.sub(_TAG_OPENING, lambda _: "< ")
    mapped = mapped.sub(_ENTITY, _entity_character)
    mapped = _nfkc(mapped)
    pattern, table = _simplified()
    mapped = mapped.same_length(pattern.sub(lambda match: table[match[0]], mapped.text))
    mapped = mapped.sub(_REPEATED_PUNCTUATION, lambda m: m[1])
    mapped = mapped.replace(list(_space_edits(mapped.text)))
    return mapped.sub(_EDGE_SPACE, lambda _: "")


def check_text(text: object, field: str = "text") -> str:
    """Return ``text`` if it is a string of 1 to 20,000 characters with something in it to read.

    Raises TextError naming ``field`` and the remedy.
    """
    if not isinstance(text, str):
        raise TextError(f"{field}: must be a string, got {type(text).__name__}; send the text as a JSON string")
    if len(text) > MAX_CHARACTERS:
        raise TextError(
            f"{field}: {len(text):,} characters; at most {MAX_CHARACTERS:,} are read, so shorten or split it"
        )
    visible = _TAG.sub("", _INVISIBLE.sub("", text))
    if not _ENTITY.sub(_entity_character, visible).strip():
        raise TextError(f"{field}: empty; send at least one readable character")
    return text


def _space_edits(text: str) -> Iterator[tuple[int, int, str]]:
    for match in _SPACE.finditer(text):
        run = match[0]
        one = " " if run.strip(" \t\u1680") == "" else "\n"
        if run != one:
            yield match.start(), match.end(), one


def _entity_character(match: re.Match[str]) -> str:
    """Decode one HTML entity to a character that cannot become new markup, else to a space."""
    decoded = html.unescape(match[0])
    if len(decoded) == 1 and ("\u3400" <= decoded <= "\u9fff" or decoded in "\"'“”‘’、。·—…《》【】"):
        return decoded
    return " "


def _nfkc(mapped: MappedText) -> MappedText:
    if unicodedata.is_normalized("NFKC", mapped.text):
        return _without_stacks(mapped)
    # Before, because reordering a long stack is quadratic; after, because one mark can become two.
    mapped = _without_stacks(mapped)
    pattern, table = _compatibility()
    text = pattern.sub(lambda match: table[match[0]], mapped.text)
    mapped = mapped.same_length(text)
    if unicodedata.is_normalized("NFKC", text):
        return mapped
    edits = []
    for start, end in _clusters(text):
        piece = text[start:end]
        composed = unicodedata.normalize("NFKC", piece)
        if composed != piece:
            edits.append((start, end, composed))
    return _without_stacks(mapped.replace(edits))


def _without_stacks(mapped: MappedText) -> MappedText:
    """Drop the marks past the eighth on one character, which show nothing."""
    return mapped.replace([(stack.start() + 8, stack.end(), "") for stack in _stack().finditer(mapped.text)])


@lru_cache(maxsize=1)
def _stack() -> re.Pattern[str]:
    # The first plane alone: a pattern of more is several times slower, and rarer marks do not stack.
    marks = "".join(chr(code) for code in range(0x300, 0x10000) if unicodedata.combining(chr(code)))
    return re.compile(f"[{marks}]{{9,}}")


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield spans that NFKC can treat apart: a starter and what may combine with it."""
    start = 0
    for i in range(1, len(text)):
        here = text[i]
        if here < "\u0300" or ("\u2e80" <= here <= "\ua4ff" and here not in "\u3099\u309a"):
            joins = "\u302a" <= here <= "\u302f"
        else:
            joins = unicodedata.combining(here) != 0 or not _starts_cluster(here)
        if not joins:
            yield start, i
            start = i
    if text:
        yield start, len(text)


@lru_cache(maxsize=4096)
def _starts_cluster(character: str) -> bool:
    decomposed = unicodedata.normalize("NFKD", character)
    first = decomposed[0]
    if unicodedata.combining(first) or unicodedata.category(first) in ("Mn", "Mc"):
        return False
    return not "\u1160" <= first <= "\u11ff"


_Replacements = tuple[re.Pattern[str], dict[str, str]]


def _replacements(table: dict[str, str]) -> _Replacements:
    """Return one-to-one replacements with a pattern of what they replace (quicker than str.translate on most texts)."""
    return re.compile(f"[{re.escape(''.join(table))}]"), table


@lru_cache(maxsize=1)
def _compatibility() -> _Replacements:
    """One-to-one NFKC replacements of the characters common in Chinese text (full-width forms)."""
    table = {}
    for code in (*range(0x2000, 0x2E80), *range(0x2E80, 0x3400), *range(0xF900, 0xFB00), *range(0xFE30, 0xFFEF), 0xA0):
        character = chr(code)
        composed = unicodedata.normalize("NFKC", character)
        if composed != character and len(composed) == 1 and not unicodedata.combining(composed):
            table[character] = composed
    return _replacements(table)


@lru_cache(maxsize=1)
def _simplified() -> _Replacements:
    """Traditional to simplified, character by character, from OpenCC's t2s tables, followed to a fixed point."""
    from opencc import OpenCC

    convert = OpenCC("t2s").convert
    characters = [chr(code) for code in (*range(0x3400, 0x4DC0), *range(0x4E00, 0xA000))]
    converted = convert("\n".join(characters)).split("\n")
    pairs = {a: b for a, b in zip(characters, converted, strict=True) if a != b and len(b) == 1}
    table = {}
    for source, target in pairs.items():
        for _ in range(3):
            target = pairs.get(target, target)
        if unicodedata.is_normalized("NFKC", target):
            table[source] = target
    return _replacements(table)

"""Cues: words that show a repeat, a group, escalation or danger, each a span with what found it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from triage.configuration import Field, compile_pattern, compose
from triage.prefilter import guarded, needed_words

KINDS = ("repeat", "collective", "escalation", "danger")


@dataclass(frozen=True, slots=True)
class Cue:
    """Characters ``start:end`` of the text searched show ``kind``; ``source`` is the rule or model that says so."""

    kind: str
    start: int
    end: int
    source: str


@dataclass(frozen=True, slots=True)
class CueRule:
    """One pattern of the lexicon and what makes it void within the same sentence."""

    id: str
    kind: str
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None
    needs: frozenset[str] = frozenset()

    def find(self, text: str) -> Iterator[Cue]:
        """Yield the rule's cues in ``text``."""
        if self.needs and not any(word in text for word in self.needs):
            return
        for match in self.pattern.finditer(text):
            if self.unless is None or not self.unless.search(text, *_sentence(text, match.start(), match.end())):
                yield Cue(self.kind, match.start(), match.end(), self.id)


def load_cue_rules(path: Path | None = None) -> tuple[CueRule, ...]:
    """Return the rules of a lexicon file, the bundled one without ``path``.

    Raises ConfigurationError with file, line and reason for anything it cannot use.
    """
    source = path or resources.files("triage") / "lexicon" / "cues.yaml"
    root = compose(source.read_bytes(), str(path or "lexicon/cues.yaml")).mapping("words", "rules")
    words = {name: f"(?:{field.text()})" for name, field in root["words"].entries().items()}
    rules: dict[str, CueRule] = {}
    for item in root["rules"].items():
        rule = _rule(item, words)
        if rule.id in rules:
            raise item.error(f"the id {rule.id} is already used", "give each rule its own id")
        rules[rule.id] = rule
    return tuple(rules.values())


def _rule(item: Field, words: dict[str, str]) -> CueRule:
    fields = item.mapping("id", "kind", "pattern", optional=("unless",))
    kind = fields["kind"].scalar("str", "|".join(KINDS), f"one of {', '.join(KINDS)}", "repeat")
    unless = compile_pattern(fields["unless"], words) if "unless" in fields else None
    source = compile_pattern(fields["pattern"], words).pattern
    return CueRule(fields["id"].text(), kind, guarded(source), unless, needed_words(source))


def find_cues(text: str, rules: Sequence[CueRule]) -> list[Cue]:
    """Return the cues that ``rules`` find in a normalised text, in order, none within another of its kind."""
    return merge_cues(cue for rule in rules for cue in rule.find(text))


def merge_cues(cues: Iterator[Cue] | Sequence[Cue]) -> list[Cue]:
    """Return cues in order of place; of overlapping cues of one kind the first and longest stays."""
    kept: list[Cue] = []
    ends = dict.fromkeys(KINDS, 0)
    for cue in sorted(cues, key=lambda c: (c.start, -c.end, c.kind)):
        if cue.start >= ends[cue.kind]:
            kept.append(cue)
            ends[cue.kind] = cue.end
    return kept


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the sentence around ``start:end``, at most 24 characters to either side."""
    left = max((text.rfind(mark, max(0, start - 24), start) for mark in "。!?;\n"), default=-1)
    rights = [place for mark in "。!?;\n" if (place := text.find(mark, end, end + 24)) >= 0]
    return max(left + 1, start - 24, 0), min(rights, default=min(len(text), end + 24))

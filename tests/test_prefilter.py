"""Words that a pattern needs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.cues import load_cue_rules
from triage.prefilter import needed_words


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("自杀|轻生", {"自杀", "轻生"}),
        ("(?:多|一再)[^,]{0,8}(?:反映|投诉)", {"反映", "投诉"}),
        ("[打拉]横幅", {"横幅"}),
        ("(?:很)?生气", {"生气"}),
        ("[^,]{1,5}", set()),
        ("自杀|[^,]", set()),
        (r"\d人", {"人"}),
    ],
)
def test_needed_words_are_named(pattern: str, words: set[str]) -> None:
    assert needed_words(pattern) == words


@given(
    st.lists(st.from_regex(re.compile(r"[自杀轻生多次反映]{1,3}(?:\?)?"), fullmatch=True), min_size=1, max_size=4),
    st.data(),
)
def test_every_match_holds_a_needed_word(parts: list[str], data: st.DataObject) -> None:
    pattern = "|".join(f"(?:{part}){{1,2}}[^。]{{0,3}}" for part in parts)
    match = data.draw(st.from_regex(re.compile(pattern), fullmatch=True))
    needs = needed_words(pattern)
    assert not needs or any(word in match for word in needs)


def test_every_bundled_rule_names_words_it_needs() -> None:
    assert [rule.id for rule in load_cue_rules() if not rule.needs] == []

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from triage.cues import find_cues, load_cue_rules
from triage.headcount import headcount
from triage.redact import redact
from triage.text import MAX_CHARACTERS, MappedText, TextError, check_text, normalise

# What texts from forms, chats, scans and attackers are made of; mixed, they meet each other's leftovers.
PIECES = [
    "投诉", "學校亂收費", "老师", "a", "<", ">", "<b>", "</p>", "<a", "<!--", "!", "!!", "。。", "…", "——", ";", "&",
    "#", "&#", "&#20013;", "&#x4e2d", "&nbsp;", "&amp;", "&lt;", "&quot;", "&hellip;", "&#38;#38;", "lt;", "1",
    "１３８", "．", "，", "＜", "＞", "＆", " ", "  ", "\t", "\n", "\r\n", "\u3000", "\u0085", "\u2028", "\u1680",
    "\xa0", "\x00", "\x1b", "\u200b", "\u200d", "\ufeff", "\u202e", "\u200f", "\u2066", "\ud800", "\udfff", "\u0301",
    "\u0338", "\u0344", "\u0327", "\u05b0", "\u0591", "\u3099", "か", "\u0301" * 9, "\u1100", "\u1161", "\u11a8",
    "가", "ㄱ", "ㅏ", "㈀", "ﾊ", "ﾞ", "①", "㎡", "ﬁ", "Å", "𝟙", "👨‍👩‍👧", "🇨🇳", "豈", "﷽", "=", "~", "x" * 150,
    "\u0130", "ß", "ﹰ", "\u09c7", "\u09be", "\u2800", "*", "[电话]",
]  # fmt: skip
mixtures = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
anything = st.text(st.characters(exclude_categories=()), max_size=60)
texts = st.one_of(mixtures, anything, st.lists(st.one_of(mixtures, anything), max_size=3).map("".join))


@settings(max_examples=400)
@given(texts)
@example("<a<b>c>")
@example("\u0301" * 8 + "\u200b\u0301")
@example("<a" + "!" * 400 + ">")
@example("a" + "\u0344" * 8)
@example("&am<b>p;&#\u200b65;")
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise(text).text

    assert normalise(once).text == once


@given(texts)
def test_every_character_maps_to_a_span_inside_the_source_and_the_spans_ascend(text: str) -> None:
    mapped = normalise(text)

    spans = [mapped.source_span(i, i + 1) for i in range(len(mapped.text))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    if spans:
        assert mapped.source_span(0, len(mapped.text)) == (spans[0][0], spans[-1][1])


@given(
    st.lists(
        st.sampled_from(["某校", "收费", "abc", "2024年", "<br>", "\u200b", "  ", "&nbsp;", "\x00", "！！！", "é"])
    ).map("".join)
)
def test_a_character_that_normalising_keeps_maps_to_itself(text: str) -> None:
    mapped = normalise(text)

    for i, character in enumerate(mapped.text):
        if character in "某校收费abc2024年é":
            start, end = mapped.source_span(i, i + 1)
            assert text[start:end] == character


@pytest.mark.parametrize(
    ("received", "read"),
    [
        ("學校亂收費", "学校乱收费"),
        ("１３８，ＡＢＣ！", "138,ABC!"),
        ("<p>老师&nbsp;&ldquo;打人&rdquo;</p>", "老师 “打人”"),
        ("学\u200b校\x00\u202e收费", "学校收费"),
        ("求求你们！！！！   \n\n\n 谢谢。。。", "求求你们!\n谢谢。"),
        ("&#25237;诉", "投诉"),
        ("3<5且a<b", "3<5且a< b"),
    ],
)
def test_one_form_for_many_ways_to_write(received: str, read: str) -> None:
    assert normalise(received).text == read


def test_an_outline_of_markup_never_swallows_the_text_between() -> None:
    text = "人数<300" + "很多话" * 200 + ">结束"

    assert normalise(text).text == text


def test_spans_outside_the_text_are_refused() -> None:
    for start, end in ((0, 0), (-1, 1), (0, 3), (2, 1)):
        with pytest.raises(ValueError, match="outside a text of 2 characters"):
            MappedText("投诉").source_span(start, end)


@pytest.mark.parametrize("text", ["诉", "1", "诉" * MAX_CHARACTERS, "\u200b诉", "&#20013;"])
def test_a_text_with_something_to_read_is_accepted(text: str) -> None:
    assert check_text(text) == text


@pytest.mark.parametrize(
    ("value", "wrong", "remedy"),
    [
        ("", "empty", "send at least one readable character"),
        (" \n\u3000", "empty", "send at least one readable character"),
        ("\u200b\ufeff\x00", "empty", "send at least one readable character"),
        ("<p>&nbsp;<br/></p>", "empty", "send at least one readable character"),
        ("诉" * (MAX_CHARACTERS + 1), "20,001 characters", "shorten or split it"),
        (None, "got NoneType", "send the text as a JSON string"),
        (12345, "got int", "send the text as a JSON string"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_field_value_and_remedy(
    value: object, wrong: str, remedy: str
) -> None:
    with pytest.raises(TextError) as caught:
        check_text(value, "body")

    assert str(caught.value).startswith("body: ")
    assert wrong in str(caught.value)
    assert str(caught.value).endswith(remedy)


HOSTILE = {
    "one word": "投诉",
    "accents": "\u0301",
    "mixed marks": "\u05b0\u0591",
    "jamo": "\u1100\u1161",
    "tags": "<a",
    "nested tags": "<a<b>",
    "entities": "&#1",
    "digits": "1",
    "spaced digits": "1 ",
    "area codes": "0731-",
    "spoken digits": "幺三八",
    "names": "我叫",
    "names at length": "我叫李",
    "addresses": "3栋1单元",
    "mail": "a@",
    "emoji": "👨‍👩‍👧",
    "right to left": "\u202eא",
    "nothing": "\x00",
    "punctuation": "!?",
    "groups": "联名3人",
    "told": "多次反映至今",
    "or else": "否则",
    "full width": "１３",
    "spaces": " \n",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_twice_the_text_takes_about_twice_the_time(piece: str) -> None:
    rules = load_cue_rules()

    def read(length: int) -> None:
        text = (piece * length)[:length]
        cues = find_cues(redact(normalise(text)).text, rules)
        headcount(text, [(cue.start, cue.end) for cue in cues if cue.kind == "collective"])

    read(100)
    assert any(_scales(read) for _ in range(4)), "time grows faster than the text"


def _scales(read: Callable[[int], None]) -> bool:
    half, whole = _seconds(read, MAX_CHARACTERS // 2), _seconds(read, MAX_CHARACTERS)
    return whole <= 3.2 * half + 0.02


def _seconds(read: Callable[[int], None], length: int) -> float:
    start = time.process_time()
    read(length)
    return time.process_time() - start

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.dataset import load_dataset
from triage.configuration import ConfigurationError
from triage.institutions import InstitutionModel, LabelledNames, institution_key, load_endings

CORPUS = Path(__file__).parents[1] / "training" / "corpus" / "texts-01.jsonl"
ENDINGS = load_endings()
MODEL = InstitutionModel.fit([example.names() for example in load_dataset([CORPUS]).examples], ENDINGS)
TINY = """\
words: {number: "[一二三]"}
endings:
  - {kind: school, pattern: "小学|第{number}中学"}
generic: "某小学"
bare: "{ending}"
never: "在 到"
"""
PIECES = ["A7县", "西地省", "青禾", "泉塘", "第二", "三", "小学", "中学校", "二中学校", "幼儿园", "教育局", "培训机构"]
PIECES += ["的", "在", "读", "(", ")", ",", "\n", " ", "”", "举报", "公司", "x", "1", "😀", "校区", "配套", "和"]


def names(text: str) -> list[str]:
    return [one.text for one in MODEL.find(text, ENDINGS)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A7县泉塘中学", "泉塘中学"),
        ("A7县县泉塘中学", "泉塘中学"),
        ("青禾县泉塘镇柳河小学", "柳河小学"),
        ("泉塘第三小学", "泉塘三小"),
        ("B2区第十二中学", "B2区12中"),
        ("B2区第二十中学", "B2区二十中"),
        ("A7县教体局", "A7县教育局"),
        ("“小太阳”幼儿园", "小太阳幼儿园"),
        ("蓝天置业有限责任公司", "蓝天置业公司"),
    ],
)
def test_ways_to_write_a_name_have_one_key(one: str, other: str) -> None:
    assert institution_key(one) == institution_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A7县一中", "B2区一中"),
        ("A7县教育局", "B2区教育局"),
        ("泉塘二小", "泉塘三小"),
        ("泉塘小学", "泉塘中学"),
        ("A7县实验小学", "A7县实验中学"),
    ],
)
def test_different_institutions_have_different_keys(one: str, other: str) -> None:
    assert institution_key(one) != institution_key(other)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("举报青禾县泉塘中学违规补课", "青禾县泉塘中学"),
        ("我家孩子在A7县第二小学读三年级,学校强制订餐。", "A7县第二小学"),
        ("西地省柳河职业技术学院拖欠工资", "西地省柳河职业技术学院"),
        ("青禾师范大学附属幼儿园涨价", "青禾师范大学附属幼儿园"),
        ("投诉A7县蓝湾小区配套幼儿园迟迟不开园", "A7县蓝湾小区配套幼儿园"),
    ],
)
def test_a_name_is_found_whole_and_without_the_words_before_it(text: str, name: str) -> None:
    assert names(text) == [name]


@pytest.mark.parametrize(
    "text", ["学校不给说法", "找过教育局没有结果", "希望多建公办幼儿园", "小学升初中怎么报名", "接受义务教育的权利", ""]
)
def test_a_text_that_names_nobody_yields_nothing(text: str) -> None:
    assert names(text) == []


def test_the_one_complained_of_comes_before_the_authority_that_was_asked() -> None:
    text = "投诉A7县小太阳幼儿园乱收费\n多次打电话给A7县教育局,都没有结果。小太阳幼儿园还在收费。"
    found = MODEL.find(text, ENDINGS)
    assert [(one.text, one.kind) for one in found] == [("A7县小太阳幼儿园", "kindergarten"), ("A7县教育局", "bureau")]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_spans_point_at_the_named_text_and_do_not_overlap(text: str) -> None:
    found = sorted(MODEL.find(text, ENDINGS), key=lambda one: one.start)
    assert all(text[one.start : one.end] == one.text and one.text for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert len({one.key for one in found}) == len(found)


@pytest.mark.parametrize("piece", ["学校", "中", "A1市", "A1市中学", "1小", "公司"])
def test_hostile_texts_take_linear_time(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        start = time.process_time()
        MODEL.find(text, ENDINGS)
        return time.process_time() - start

    assert min(seconds(20_000) for _ in range(2)) < 8 * max(seconds(5_000), 0.02)


def test_a_stored_model_finds_the_same() -> None:
    text = "请A7县教育局查一查青禾县泉塘中学,校长说是县教育局同意的。"
    assert InstitutionModel.from_json(MODEL.as_json()).find(text, ENDINGS) == MODEL.find(text, ENDINGS)


def test_nothing_to_learn_from_still_gives_a_model() -> None:
    model = InstitutionModel.fit([LabelledNames("没有名字的来信", [], None)], ENDINGS)
    assert model.find("学校不给说法", ENDINGS) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("kind: school", "kind: shop", 3, "shop is not one of"),
        ("小学|第", "小(学", 3, "not a regular expression"),
        ("小学|第", "小学+|第", 3, "unbounded repetition"),
        ("{number}中学", "{digit}中学", 3, "unknown word list"),
        ('never: "在 到"', "", 1, "missing"),
    ],
)
def test_a_bad_lexicon_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, reason: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(TINY.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"own\.yaml:{line}: .*{re.escape(reason)}"):
        load_endings(path)


def test_a_lexicon_of_ones_own_replaces_the_bundled_one(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(TINY, encoding="utf-8")
    assert list(load_endings(path).find("柳河小学和第二中学、幼儿园")) == [(2, 4, "school"), (5, 9, "school")]

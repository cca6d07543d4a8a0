from __future__ import annotations

import cn2an
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.headcount import headcount


def near(text: str) -> int | None:
    """The head count with the whole text as the collective cue."""
    return headcount(text, [(0, len(text))])


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("近1000名家长联名", 1000),
        ("近1000家长联名反映", 1000),
        ("我们五十多名家长", 50),
        ("全班共计128人签名", 128),
        ("一百二十名家长联名", 120),
        ("两千余人请愿", 2000),
        ("全村二百三十余位村民联名", 230),
        ("我们30个一线教师", 30),
        ("三十多个家长一起到教育局", 30),
        ("1,200名业主签字", 1200),
        ("1.2万人联名", 12000),
        ("3万多名代课教师", 30000),
        ("一万两千名考生", 12000),
        ("十几名家长", 10),
        ("300余学生家长", 300),
        ("13名脱贫户学生家长", 13),
        ("36位老师联名", 36),
        ("我们12人来访,代表全校58名教师", 58),
        ("100人以上联名", 100),
    ],
)
def test_the_number_of_people_is_read_in_digits_and_in_words(text: str, people: int) -> None:
    assert near(text) == people


@pytest.mark.parametrize(
    "text",
    [
        "几十名家长联名",
        "数百名业主",
        "好几百人",
        "3户",
        "300户业主联名",
        "848户业主",
        "小区1500余户家庭联名",
        "第3名的家长",
        "前10名学生",
        "每班50人",
        "考了80分的学生",
        "3个月没发工资的教师",
        "2023年毕业的学生联名",
        "5人以上集体上访",
        "三中学生家长联名",
        "六年级学生家长联名",
        "第十中学全体教师联名",
        "3次反映,家长联名",
        "20名额",
        "300人次",
        "人均200",
        "1名家长",
        "60岁以上老人联名",
        "两三百人",
        "七八个家长",
        "我们3个要求",
        "",
    ],
)
def test_what_counts_no_people_gives_none(text: str) -> None:
    assert near(text) is None


def test_only_counts_beside_a_group_are_taken() -> None:
    text = "学校有3000名学生。" + "校舍很旧。" * 6 + "我们42名家长联名要求维修。"

    at = text.index("联名")
    assert headcount(text, [(at, at + 2)]) == 42
    assert headcount(text, []) is None


@given(st.integers(2, 99_999), st.sampled_from(["", "多", "余"]), st.sampled_from(["人", "名家长", "位村民"]))
def test_digits_and_chinese_numerals_say_the_same(number: int, more: str, unit: str) -> None:
    assert near(f"我们{number}{more}{unit}联名") == number
    assert near(f"我们{cn2an.an2cn(number)}{more}{unit}联名") == number


@given(st.text("联名近几数第12十百千万零,.多余人名位户年家长", max_size=30))
def test_any_text_gives_a_plausible_count_or_none(text: str) -> None:
    count = near(text)

    assert count is None or 2 <= count <= 100_000

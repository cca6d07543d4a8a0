from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.cn import ric

from triage.redact import PLACEHOLDERS, redact, redact_source
from triage.text import normalise

# Made-up numbers: valid in form and checksum, given to nobody known to us.
RESIDENT_ID = "11010519491231002X"
CARD = "6222021234567890128"


def found(text: str) -> list[tuple[str, str]]:
    """Kind and words, as received, of what redaction finds."""
    return [(item.kind, text[item.start : item.end]) for item in redact(normalise(text)).found]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("请打13800138000联系", "phone", "13800138000"),
        ("电话１３８００１３８０００。", "phone", "１３８００１３８０００"),
        ("电话138 0013 8000。", "phone", "138 0013 8000"),
        ("电话138-0013-8000。", "phone", "138-0013-8000"),
        ("电话138\u200b0013\u200b8000。", "phone", "138\u200b0013\u200b8000"),
        ("加我1 3 8 0 0 1 3 8 0 0 0吧", "phone", "1 3 8 0 0 1 3 8 0 0 0"),
        ("电话+8613800138000。", "phone", "8613800138000"),
        ("我的手机是幺三八零零幺三八零零零", "phone", "幺三八零零幺三八零零零"),
        ("手机一三八〇〇一三八〇〇〇", "phone", "一三八〇〇一三八〇〇〇"),
        ("联系电话138****1234", "phone", "138****1234"),
        ("联系电话1380013xxxx", "phone", "1380013xxxx"),
        ("打0731-88881234没人接", "phone", "0731-88881234"),
        ("座机：(010)66881234转805", "phone", "(010)66881234"),
        ("联系电话：88881234。", "phone", "88881234"),
        (f"身份证{RESIDENT_ID}", "resident_id", RESIDENT_ID),
        (f"身份证{RESIDENT_ID.lower()}，男", "resident_id", RESIDENT_ID.lower()),
        ("身份证110105 19491231 002X", "resident_id", "110105 19491231 002X"),
        ("身份证110105********002X", "resident_id", "110105********002X"),
        (f"卡号{CARD}", "bank_card", CARD),
        ("卡号6222 0212 3456 7890 128", "bank_card", "6222 0212 3456 7890 128"),
        ("邮箱li.lei@example.com，", "email", "li.lei@example.com"),
        ("QQ：123456789", "qq", "123456789"),
        ("扣扣号是1234567", "qq", "1234567"),
        ("微信：abc_12345", "wechat", "abc_12345"),
        ("加我vx:lilei2024", "wechat", "lilei2024"),
        ("车牌湘A·12345停在校门口", "plate", "湘A·12345"),
        ("京AD12345堵门", "plate", "京AD12345"),
        ("我住阳光小区3栋2单元502室，", "address", "3栋2单元502室"),
        ("住幸福里12栋402", "address", "12栋402"),
        ("我叫王小明，孩子读三年级", "name", "王小明"),
        ("信访人：欧阳锋 电话", "name", "欧阳锋"),
        ("来访人赵某等5人", "name", "赵某"),
        ("我是李雷，来反映", "name", "李雷"),
        ("望领导处理。\n此致\n敬礼\n\n王小明\n2024年5月1日", "name", "王小明"),
        ("我叫方丽，", "name", "方丽"),
    ],
)
def test_personal_data_is_found_where_it_stands_in_the_text_as_received(text: str, kind: str, words: str) -> None:
    assert found(text) == [(kind, words)]
    assert PLACEHOLDERS[kind] in redact(normalise(text)).text


@pytest.mark.parametrize(
    "text",
    [
        "打过12345和12355、110、12315，没人管",
        "2024年3月15日交了3800元，共计1380000元",
        "工单编号20240315001234",
        "湘江一中高一(3)班，第80中学，88中",
        "收费标准[2023]138号文件，学号20230115",
        "共有住宅16栋，2238户，2019年12月交付",
        "教学楼两栋，一栋1991年建，六号院1987年建",
        "村民要经一座1974年的吊桥",
        "3号楼302教室的空调坏了，412寝室的插座冒火花",
        "机构在世贸中心B座12楼，一号楼三楼",
        "来电反映收费2345678元",
        "电话费2000000元",
        "我是一名家长，我叫不出名字",
        "本人在读高三，本人毕业于师范，本人强烈要求，本人应聘的岗位",
        "我是班主任，我是高三，我是成都人，我是单亲，我是车主",
        "来访人陈述：来访人曾于10月反映，来电人于去年冬天投诉，信访人和家人同来",
        "请先保护家长，谢谢。希望尽快。\n此致\n敬礼",
        "标注姓名和班级，备注姓名班级",
        "联系人数较多，投诉人员很多",
        "今年语文一二三四五六单元不考",
        "支付微信100元，微信群里说的",
    ],
)
def test_what_is_nobodys_personal_data_stays(text: str) -> None:
    assert found(text) == []


mobiles = st.builds("1{}{}".format, st.integers(3, 9), st.text("0123456789", min_size=9, max_size=9))


@st.composite
def resident_ids(draw: st.DrawFn) -> str:
    region = draw(st.sampled_from(["110105", "430102", "440305", "510104", "610113", "310104"]))
    born = draw(st.dates().filter(lambda day: 1900 <= day.year <= 2025))
    body = f"{region}{born:%Y%m%d}{draw(st.integers(0, 999)):03d}"
    return body + ric.calc_check_digit(body + "0")


digits = st.text("0123456789", max_size=12)
chinese = st.text(st.sampled_from("我叫王小明老师的电话号是，。身份证3栋微信QQ:年元- \n校住[]*京A.@"), max_size=12)
ascii_text = st.text(st.characters(codec="ascii"), max_size=12)
around = st.one_of(chinese, digits, ascii_text, st.sampled_from([*PLACEHOLDERS.values()]))
numbers = st.one_of(mobiles, resident_ids(), st.just(CARD), st.just("12345"), st.just("li@example.com"))
letters = st.lists(st.one_of(around, numbers), max_size=9).map("".join)


def numbers_left(text: str) -> list[str]:
    """Valid mobile numbers and resident IDs anywhere in the runs of ASCII digits."""
    mobiles_left = re.findall(r"1[3-9][0-9]{9}", text)
    dated = r"(?=([1-9]\d{5}(?:19|20)\d\d(?:0[1-9]|1[012])(?:0[1-9]|[12]\d|3[01])\d{3}[\dX]))"
    ids = re.findall(dated, text.upper(), re.ASCII)
    return mobiles_left + [number for number in ids if ric.calc_check_digit(number) == number[-1]]


@given(around, st.one_of(mobiles, resident_ids()), around)
def test_no_valid_number_survives_whatever_stands_around_it(before: str, number: str, after: str) -> None:
    text = before + number + after
    redacted = redact(normalise(text))

    assert numbers_left(number)
    assert numbers_left(redacted.text) == []
    assert numbers_left(redact_source(text, redacted.found)) == []


@settings(max_examples=250)
@given(letters)
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redact(normalise(text)).text

    again = redact(normalise(once))
    assert (again.text, again.found) == (once, ())


@given(letters)
def test_findings_ascend_apart_and_the_rest_of_the_text_stays(text: str) -> None:
    redacted = redact(normalise(text))

    ends = [0, *(item.end for item in redacted.found)]
    assert all(end <= item.start < item.end <= len(text) for end, item in zip(ends, redacted.found, strict=False))
    if not redacted.found:
        assert redacted.text == normalise(text).text


def test_the_text_as_received_can_be_redacted_in_its_own_form() -> None:
    text = "<b>我叫王小明</b>，　電話１３８００１３８０００！！"

    assert redact_source(text, redact(normalise(text)).found) == "<b>我叫[姓名]</b>，　電話[电话]！！"


def test_digits_that_the_checksum_library_trips_over_are_read() -> None:
    # python-stdnum 2.x raises KeyError on the region 340135.
    assert redact(normalise("3401356222021234567")).text == "[电话]"


def test_a_number_that_holds_personal_data_goes_whole() -> None:
    assert redact(normalise(f"编号99{RESIDENT_ID}")).text == "编号[身份证号]"
    assert redact(normalise("13800138000139001390001")).text == "[电话]"
    assert luhn.is_valid(CARD)


def test_words_beside_a_placeholder_keep_their_place() -> None:
    text = "我叫王小明，电话13800138000，请查收费"
    mapped = redact(normalise(text)).mapped

    at = mapped.text.index("收费")
    start, end = mapped.source_span(at, at + 2)
    assert text[start:end] == "收费"
    at = mapped.text.index("[电话]")
    start, end = mapped.source_span(at + 1, at + 2)
    assert text[start:end] == "13800138000"

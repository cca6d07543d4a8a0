from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.configuration import ConfigurationError
from triage.cues import KINDS, Cue, CueRule, find_cues, load_cue_rules, merge_cues
from triage.text import normalise

RULES = load_cue_rules()

# Own sentences that each rule must find; a rule without one is refused by the test below.
EXAMPLES = {
    "repeat.many_times": ["我多次向教育局反映,没有人管", "三番五次找过街道和教体局"],
    "repeat.told_and_failed": ["已经投诉到12345,至今没有答复", "向信访局反映后石沉大海"],
    "repeat.told_before": ["上个月我已经打电话投诉过", "去年曾向教育局反映过此事"],
    "repeat.again": ["今天再次来信反映食堂问题", "这是第三次投诉"],
    "repeat.hotline": ["打了12345,回复说不归他们管", "找过教育局,一直踢皮球"],
    "repeat.reply": ["教育局的回复是正在研究", "贵局答复称手续齐全"],
    "repeat.reply_disputed": ["对贵局的答复意见不服", "针对上次的处理结果提出异议"],
    "repeat.ticket": ["工单编号:20240315001234", "请看上一封信件"],
    "collective.together": ["我们联名要求公开账目", "准备集体上访", "大家一起去教育局"],
    "collective.spokesperson": ["我是家长代表", "本人受全班家长委托", "我代表全体业主反映"],
    "collective.all_of_us": ["全体家长强烈要求换掉食堂", "众多业主急盼学校动工"],
    "collective.we_are": ["我们是某小学三年级的学生家长", "我们都是代课多年的民师"],
    "collective.we_people": ["我们家长坚决不同意搬迁", "我们这些代课老师怎么办"],
    "collective.group_of": ["一群无助的家长恳求", "36名教师联合签名", "来了等20人到局里"],
    "collective.people_act": ["家长们自发组织到教育局", "业主已经维权两年"],
    "escalation.petition": ["不解决就去省里上访", "越级反映也在所不惜"],
    "escalation.media": ["我们会找记者曝光", "将在网上发帖"],
    "escalation.lawsuit": ["只能向法院提起诉讼", "保留起诉的权利"],
    "escalation.action": ["家长准备在校门口拉横幅", "老师们扬言罢课", "有人堵校门"],
    "escalation.higher": ["我将继续向省教育厅举报", "一直告到中央"],
    "escalation.or_else": ["如果还没有结果就上访", "否则我们只能找媒体"],
    "danger.suicide": [
        "孩子说不想活了",
        "女儿昨晚爬上六楼天台",
        "她吞了半瓶安眠药",
        "儿子在本子上写活着没意思",
        "再逼我我就从楼上跳下去",
        "我怕她做傻事",
        "留下遗书离家",
        "死给你们看,不如死在学校",
        "他们把我逼上绝路",
    ],
    "danger.self_harm": ["孩子用刀划自己的手臂", "胳膊上有七八道口子", "他已经不吃不喝三天"],
    "danger.sexual": [
        "女儿被老师猥亵",
        "班主任摸女生胸部",
        "他把手伸进她的睡衣里",
        "教练性骚扰学生",
        "疑遭邻居侵害",
        "逼孩子脱光衣服",
    ],
    "danger.violence": [
        "儿子被同学打得住院",
        "孩子长期被霸凌",
        "三个人轮流打他",
        "老师用牙签扎孩子",
        "被打断两根肋骨",
        "他们用皮带抽他",
        "孩子遍体鳞伤",
        "现在还在打人,他天天打孩子",
    ],
    "danger.weapon": [
        "有人拿刀威胁学生",
        "家长扬言要杀老师",
        "一名男子持刀闯进校园",
        "他捅伤了同学",
        "说要把他从楼上扔下去",
    ],
    "danger.missing": [
        "孩子昨天放学后失踪了",
        "女儿离家出走两天",
        "学生被锁在工地上",
        "被人贩子拐走,小区里有人诱拐女童",
        "妈妈,救我",
    ],
    "danger.poisoning": [
        "三十多名学生呕吐",
        "孩子食物中毒住进医院",
        "全班上吐下泻",
        "老师给孩子喂药,吃后吐白沫",
        "隔壁化工厂氯气泄漏",
    ],
    "danger.critical": [
        "孩子现在还在抢救",
        "人仍在ICU没有脱离危险",
        "女儿昏迷不醒",
        "医院下了病危通知",
        "目前在手术中",
    ],
    "danger.building": [
        "教室的墙随时可能倒塌",
        "围墙突然坍塌",
        "裂缝还在变宽",
        "险些砸到学生",
        "再不管要出人命",
        "D级危房里还在上课",
    ],
    "danger.drowning": ["有学生掉进河里", "弟弟刚刚溺水", "军训时一个同学晕倒"],
}


def kinds(text: str) -> set[str]:
    return {cue.kind for cue in find_cues(normalise(text).text, RULES)}


def test_every_bundled_rule_has_its_own_examples() -> None:
    assert set(EXAMPLES) == {rule.id for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_each_rule_finds_its_examples(rule: CueRule) -> None:
    assert [text for text in EXAMPLES[rule.id] if not list(rule.find(normalise(text).text))] == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("repeat", "没有再次发生类似的事"),
        ("repeat", "再次感谢领导的关心"),
        ("repeat", "我多次向学校反映,校长不理"),
        ("repeat", "跟班主任沟通过,没有结果"),
        ("repeat", "请问学校什么时候开学"),
        ("repeat", "希望早日得到回复"),
        ("repeat", "教育部门多次强调不准补课"),
        ("collective", "很多家长敢怒不敢言"),
        ("collective", "我们一家都很着急"),
        ("collective", "我们夫妻是外地户口"),
        ("collective", "孩子参加了人民代表大会的参观"),
        ("collective", "村里的集体经济收入"),
        ("collective", "有家长在群里问过"),
        ("escalation", "他家是有名的上访户"),
        ("escalation", "多媒体教室没有空调"),
        ("escalation", "校门口车辆拥堵严重"),
        ("escalation", "孩子想报新媒体专业"),
        ("escalation", "法院家属区的孩子读哪所学校"),
        ("escalation", "我不想上访"),
        ("escalation", "请依法查处"),
        ("danger", "学校开展防溺水宣传"),
        ("danger", "请加强预防自杀的心理课程"),
        ("danger", "消防演练安排在周五"),
        ("danger", "存在安全隐患,请派人检查"),
        ("danger", "孩子没有想死的念头,只是累"),
        ("danger", "希望避免食物中毒再次发生"),
        ("danger", "治理校园欺凌,拒绝霸凌"),
        ("danger", "只会死读书没有用"),
        ("danger", "我们被道德绑架"),
        ("danger", "防止溺水,请修栏杆"),
        ("danger", "抢救性保护老校舍"),
        ("danger", "一棍子打死所有老师不公平"),
        ("danger", "上体育课摔了一跤骨折了,已经出院"),
        ("danger", "作业多得要笑死人"),
        ("danger", "不会自杀,请放心"),
        ("danger", "加强性侵教育讲座"),
        ("danger", "家长会上被校长打断发言"),
        ("danger", "机构老板失联,退不了费"),
        ("danger", "学费太高,压力大得很"),
    ],
)
def test_words_that_only_look_like_a_cue_are_left_alone(kind: str, text: str) -> None:
    assert kind not in kinds(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("escalation", "如果再不解决我们就上访"),
        ("escalation", "我们准备去法院起诉学校"),
        ("collective", "全班家长联名反对"),
        ("collective", "我是业主代表,受大家委托"),
        ("repeat", "已经向12345反映过三次,没有下文"),
        ("danger", "老师不重视,孩子说她不想活了,还说要跳楼"),
        ("danger", "救救孩子,她在厕所里被五个人扇耳光,现在昏迷了"),
        ("danger", "他说要砍死我全家"),
        ("danger", "学生被老师性侵,至今没有人管"),
    ],
)
def test_what_an_officer_must_see_is_found(kind: str, text: str) -> None:
    assert kind in kinds(text)


def test_a_sentence_that_voids_a_cue_does_not_void_the_next_sentence() -> None:
    text = "学校办过预防自杀讲座。女儿昨晚自杀未遂。"

    assert [text[cue.start : cue.end] for cue in find_cues(text, RULES) if cue.kind == "danger"] == ["自杀"]
    assert find_cues(text, RULES)[0].start > text.index("。")


@given(st.lists(st.sampled_from([text for texts in EXAMPLES.values() for text in texts]), min_size=1, max_size=6))
def test_spans_stand_in_order_on_words_their_rule_matches(sentences: list[str]) -> None:
    text = normalise("。".join(sentences)).text
    by_id = {rule.id: rule for rule in RULES}

    cues = find_cues(text, RULES)
    assert cues
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    for cue in cues:
        rule = by_id[cue.source]
        assert rule.kind == cue.kind
        match = rule.pattern.search(text, cue.start)
        assert match
        assert match.span() == (cue.start, cue.end)


def test_of_overlapping_cues_of_one_kind_the_first_and_longest_stays() -> None:
    cues = [Cue("repeat", 3, 5, "b"), Cue("repeat", 1, 4, "a"), Cue("danger", 2, 3, "c"), Cue("repeat", 1, 2, "d")]

    assert merge_cues(cues) == [Cue("repeat", 1, 4, "a"), Cue("danger", 2, 3, "c")]


GOOD = """\
words:
  who: "家长|老师"
rules:
  - id: own.one
    kind: repeat
    pattern: "(?:{who})又来"
    unless: "没有"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_bureau_can_use_rules_of_its_own(tmp_path: Path) -> None:
    rules = load_cue_rules(written(tmp_path, GOOD))

    assert find_cues("老师又来了", rules) == [Cue("repeat", 0, 4, "own.one")]
    assert find_cues("没有家长又来", rules) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "problem", "remedy"),
    [
        ("kind: repeat", "kind: rumour", 5, "rumour is not one of", KINDS[0]),
        ("又来", "又.*来", 6, "unbounded repetition", "{0,20}"),
        ("又来", "又.{1,}来", 6, "unbounded repetition", "{0,20}"),
        ("又来", "又.{0,20000}来", 6, "unbounded repetition", "{0,20}"),
        ("又来", "又\\\\\\\\*", 6, "unbounded repetition", "{0,20}"),
        ("又来", "(又来", 6, "not a regular expression", "correct the pattern"),
        ("{who}", "{whom}", 6, "unknown word list {whom}", "define it under words"),
        ("{who}", "{who_else}", 6, "unknown word list {who_else}", "define it under words"),
        ("(?:{who})又来", "(?:又来)?", 6, "matches where nothing stands", "at least one character"),
        ('    pattern: "(?:{who})又来"\n', "", 4, "missing", "add this key"),
        ("    kind: repeat\n", "    kind: repeat\n    colour: red\n", 6, "unknown key", "use only"),
        ("rules:\n", 'rules:\n  - {id: own.one, kind: danger, pattern: "火"}\n', 5, "already used", "its own id"),
        ('"没有"', '"没有', 7, "not valid YAML", "correct this line"),
        ("rules:", "rule:", 3, "unknown key", "use only words, rules"),
    ],
)
def test_a_bad_lexicon_is_refused_with_file_line_and_remedy(
    tmp_path: Path, old: str, new: str, line: int, problem: str, remedy: str
) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))

    with pytest.raises(ConfigurationError) as caught:
        load_cue_rules(path)

    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert problem in message
    assert remedy in message


def test_a_literal_star_and_a_bounded_gap_are_allowed(tmp_path: Path) -> None:
    rules = load_cue_rules(written(tmp_path, GOOD.replace("又来", "[*+]\\\\*又.{0,20}来")))

    assert find_cues("家长+*又叫人来", rules)

"""Personal data out of a text: typed placeholders in, spans kept.

Recognisers look at the normalised text, so full-width digits or zero-width characters hide nothing.
Checksums come from python-stdnum (resident ID: GB 11643, bank card: Luhn, ISO/IEC 7812).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from stdnum import luhn
from stdnum.cn import ric

from triage.prefilter import guarded, needed_words
from triage.text import MappedText

PLACEHOLDERS = {
    "resident_id": "[身份证号]",
    "bank_card": "[银行卡号]",
    "phone": "[电话]",
    "email": "[邮箱]",
    "qq": "[QQ号]",
    "wechat": "[微信号]",
    "plate": "[车牌号]",
    "address": "[住址]",
    "name": "[姓名]",
}


_ANY_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS.values())))


@dataclass(frozen=True, slots=True, order=True)
class PersonalData:
    """One finding: ``kind`` is a key of PLACEHOLDERS, ``start``/``end`` count in the text as received."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without personal data, mapped back to the text as received, and what was taken out."""

    mapped: MappedText
    found: tuple[PersonalData, ...]

    @property
    def text(self) -> str:
        return self.mapped.text


_Finding = tuple[int, int, str]

_CHINESE_DIGITS = str.maketrans("零〇○幺一二两三四五六七八九", "00011223456789")
_NUMBER = re.compile(r"[0-9]{11,}[Xx]?")
_GROUPED_NUMBER = guarded(
    r"(?<![0-9])(?:1[3-9][0-9][ \-.·]{1,2}[0-9]{4}[ \-.·]{1,2}[0-9]{4}|[0-9]{6}[ \-][0-9]{8}[ \-][0-9]{3}[0-9Xx]"
    r"|[0-9]{4}(?:[ \-][0-9]{4}){3}(?:[ \-][0-9]{1,3})?|(?:[0-9][ \-.·,]){10,}[0-9Xx])(?![0-9])"
)
_SPOKEN = "[零〇○幺一二两三四五六七八九]"
_SPOKEN_NUMBER = guarded(rf"{_SPOKEN}(?:[ \-,]?{_SPOKEN}){{6,}}")
# At every place, so that digits before an ID do not hide it; the region is not looked up, as regions change.
_RESIDENT_ID = re.compile(r"(?=([1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dX]))")
_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_MASKED_PHONE = guarded(r"(?<!\d)(?:1[3-9]\d[ \-]?[*xX×]{3,5}[ \-]?\d{3,4}|1[3-9]\d{5}[*xX×]{4})(?!\d)")
_MASKED_ID = guarded(r"(?<!\d)\d{3,10}[*xX×]{4,12}\d{3}[\dXx](?!\d)")
_LANDLINE = guarded(r"(?<![\d.])\(?0\d{2,3}\)?[ \-]{0,2}[2-9]\d{6,7}(?:-\d{1,6})?(?!\d)")
_CONTACT_NUMBER = guarded(
    r"(?:电话|手机|联系方式|座机|(?<!学)号码|致电|来电|拨打)[^0-9\n\0]{0,8}?"
    r"(?!20[0-3]\d[01]\d[0-3]\d)([2-9]\d{2}[ \-]?\d{4,5})"
    r"(?![ ]?[\d元万块名人户]|\.\d)"
)
# Several may stand without a gap.
_EMAIL = re.compile(r"(?<![\w.+\-])(?:[\w.+\-]++@[A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,4})++", re.ASCII)
_QQ = guarded(
    r"(?:(?<![A-Za-z])[Qq]{1,2}号?|扣扣|企鹅)(?:群|号码?)?[^0-9A-Za-z\n\0\u4e00-\u9fff]{0,3}(?:是|为)?[: ]?"
    r"([1-9]\d{4,11})(?!\d)"
)
_WECHAT = guarded(
    r"(?:微信|威信|薇信|[Vv][Xx]|wechat|WeChat|WX|wx)(?:号码?|ID|id)?[^0-9A-Za-z\n\0\u4e00-\u9fff]{0,3}(?:是|为)?[: ]?"
    r"([A-Za-z][A-Za-z0-9_\-]{5,19}|\d{6,12})(?![A-Za-z0-9_])"
)
_PLATE = guarded(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]"
    r"[A-HJ-NP-Z][ ·•]?[A-HJ-NP-Z0-9]{4,5}[A-HJ-NP-Z0-9挂学警港澳]"
    r"(?![A-Za-z0-9])"
)
# Room and flat only; the road, estate or building before it says where the problem is and stays.
_ROOM = r"\d{3,4}[A-Da-d]?(?:室|房|号)?(?!\d|[年月日元人名个平多余米套]|[教办寝宿班户]|,\d|\.\d)"
_HOUSE = guarded(
    r"(?:\d{1,4}|[A-Za-z]\d{0,3}|[一二三四五六七八九十]{1,3})(?:号楼|栋|幢|座|号院)"
    rf"(?:[ ,]?(?:\d{{1,2}}|[一二三四五六七八九十甲乙丙丁东西])(?:单元|门洞|梯)[ ,]?|[ \-]?){_ROOM}"
    rf"|(?:\d{{1,2}}|[一二三四五六七八九十])单元[ ,\-]?{_ROOM}"
    r"|(?<=[路街巷弄道里村组])\d{1,5}(?:弄\d{1,4})?号(?:之[一二三四五六七八九十]|附\d{1,3}号)?(?:\d{1,4}(?:室|房))"
    r"|(?<=[村组屯寨])(?:第?\d{1,3}|[一二三四五六七八九十]{1,3})(?:组|社|队)\d{1,4}号"
    r"|(?:(?<=住)|(?<=住在))\d{3,4}室"
)
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金"
    "石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章"
    "鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解"
    "牟艾尤阳穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂佟应臧闵苟邬卞姬师仇栾隋商刁沙荣巫寇桑"
    "郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈匡鞠惠荆乐冀郁胥南班储原栗燕楚鄢劳谌奚皮粟冼蔺楼盘满闻厉伊仝区郜阚花权强帅屠豆"
    "朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬扈晁芮普阙浦戈伏鹿薄邸雍辜羊阿乌母裘亓修邰赫杭况宿鲜印逯隆茹诺"
)
# Words that a surname opens but that name nobody.
_NO_NAME = re.sub(
    r"\s+",
    "|",
    r"""高[中三二一考校级龄] 小学 学生 师[范德] 成[年绩都立为员人长] 向[上您你领贵教有市县区省学校各班] 任[课教职何]
    国[家企内外] 应[届该当聘邀] 平[时台] 时间 明[年天确] 方[便式] 安[全置排徽保] 关[于注] 路[过人] 连[续日夜]
    严[重正] 强[烈制迫] 万[分般元] 金[额融] 于[是去今明前本昨上下近当同此其每\d] 居[民住] 查[处实询] 单[位亲身独]
    荣[获幸] 计划 解[决除释答] 管理 车[主辆祸] 房[主东产屋] 党[员龄] 官网 商[户家] 原[是在来本先任] 云南 广[东西]
    贵[州局校办] 江[苏西] 宁[夏波愿] 湘西 项目 文[化员] 武汉 常[年住] 满[意怀] 相[关信] 初[中三二一] 门[口卫]
    幸[福好] 农[民村] 古镇 祖[籍辈孙父母] 支[持教付出] 容易 包[括含工里车] 华侨 尚[未不在] 施工 温[馨饱]
    申[请报诉领] 景区 普[通惠] 游[客泳戏] 汤圆 沙场 练[车习] 索[赔要] 司[机法] 牛奶 宣[传称] 谈[话到] 修路 阳[光性]
    班[级主里上干委长费] 敬[礼上请启爱] 谢[谢您你] 曾[于在向多经到因以被对与和打拨找咨投反去通就有是任为用] 陈述
    毕业 权[益利] 费用 许多 顾虑 终身 喻[为指] 白天 郑重 封[闭校] 史[上无] 凌晨 毛病 段[时长] 章程 易燃 符合 范围
    马[上路] 何[时人种处去必以为况] 周[边末日围] 余[额下款] 程[序度] 家长 业主 教师 老师 邻居 尤其""",
)
_NAME = (
    rf"(?!{_NO_NAME})(?:欧阳|上官|司马|诸葛|皇甫|尉迟|公孙|慕容|令狐|夏侯|[{_SURNAMES}])"
    r"(?![\u4e00-\u9fff](?:人|员|县|市|省|区|镇|村|校|级))(?:(?!等|联系|电话|手机|身份)[\u4e00-\u9fff·]){1,2}"
)
_NAME_END = r"(?=[,。;:!?、\n\](（) ]|$|[男女系是现在今于家住原来年从的等]|身份|电话|手机|联系|[0-9])"
_STATED_NAME = guarded(
    r"(?:我叫做?|我的名字(?:是|叫)|我名叫?|本人(?:姓名|叫|名叫|是)?[,:]?|姓名(?:是|为)?[: ]?"
    r"|(?:联系|投诉|举报|信访|反映|来访|来电|申请|上访|签名|具名|署名|落款|申诉|控告|求助|诉求)人"
    rf"(?:姓名)?(?:是|为)?[: ]?|名字[:叫是]|署名[: ]|签名[: ])({_NAME}){_NAME_END}"
)
_SELF_NAME = guarded(rf"(?:^|[,。;!?\n ])我是({_NAME})(?=[,。;!\n]|$)")
# "我是梧桐小学三年级学生家长王小明,": a name after what the writer is, up to a mark.
_ROLE_NAME = guarded(
    rf"我是[^,。;!?\n]{{1,24}}?(?:家长|家属|父亲|母亲|爸爸|妈妈|爷爷|奶奶|教师|老师|业主|村民|职工|学生)({_NAME})(?=[,;:(、]|电话|手机)"
)
_SIGNATURE = guarded(
    r"(?:此致|敬礼|敬上|谢谢|盼复|感谢|恳请人|具信人|写信人|家长)[!。,: \n]{1,4}"
    rf"({_NAME})(?:敬上|呈上|呈|上)?[ ,。]?(?=\n|$|\d|[ ,]?(?:电话|手机|20\d\d))"
)
# What an earlier redaction left: no part of any finding, nor what makes its neighbours one.
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS.values())))


def redact(normalised: MappedText) -> Redacted:
    """Return the text with personal data replaced by typed placeholders.

    ``normalised`` comes from ``triage.text.normalise``. Found: mobile and landline numbers (also
    spoken, 幺三八…, and masked), resident IDs with a valid checksum, bank cards that pass Luhn,
    e-mail, QQ and WeChat, plates, room and flat numbers, and a writer's own name as stated.
    Redacting again changes nothing. Time is linear in the length.
    """
    text = _PLACEHOLDER.sub(lambda m: "\0" * len(m[0]), normalised.text)
    chosen = _without_overlap(finding for find in _RECOGNISERS for finding in find(text))
    found = tuple(PersonalData(*normalised.source_span(start, end), kind) for start, end, kind in chosen)
    return Redacted(normalised.replace([(start, end, PLACEHOLDERS[kind]) for start, end, kind in chosen]), found)


def placeholder_spans(redacted: str) -> list[tuple[int, int]]:
    """Return where placeholders stand in a redacted text; what maps back to them is personal data."""
    return [match.span() for match in _ANY_PLACEHOLDER.finditer(redacted)]


def redact_source(text: str, found: tuple[PersonalData, ...]) -> str:
    """Return the text as received with each finding replaced by its placeholder."""
    return MappedText(text).replace([(f.start, f.end, PLACEHOLDERS[f.kind]) for f in sorted(found)]).text


def _numbers(text: str) -> Iterator[_Finding]:
    for pattern in (_NUMBER, _GROUPED_NUMBER):
        for match in pattern.finditer(text):
            kind = _number_kind(match[0])
            if kind:
                yield match.start(), match.end(), kind
    for match in _SPOKEN_NUMBER.finditer(text):
        kind = _number_kind(match[0].translate(_CHINESE_DIGITS))
        if kind:
            yield match.start(), match.end(), kind


def _number_kind(run: str) -> str | None:
    """Name what a run of digits (with separators) holds; the whole run goes if any part of it is personal."""
    digits = re.sub(r"[^0-9Xx]", "", run).upper()
    if any(ric.calc_check_digit(match[1]) == match[1][-1] for match in _RESIDENT_ID.finditer(digits)):
        return "resident_id"
    if 16 <= len(digits) <= 19 and digits.isdigit() and luhn.is_valid(digits):
        return "bank_card"
    if _MOBILE.search(digits):
        return "phone"
    return None


def _pattern(pattern: re.Pattern[str], kind: str, group: int = 0) -> Callable[[str], Iterator[_Finding]]:
    needs = needed_words(pattern.pattern)

    def find(text: str) -> Iterator[_Finding]:
        if not needs or any(word in text for word in needs):
            for match in pattern.finditer(text):
                yield match.start(group), match.end(group), kind

    return find


_RECOGNISERS: tuple[Callable[[str], Iterator[_Finding]], ...] = (
    _numbers,
    _pattern(_MASKED_PHONE, "phone"),
    _pattern(_MASKED_ID, "resident_id"),
    _pattern(_LANDLINE, "phone"),
    _pattern(_CONTACT_NUMBER, "phone", 1),
    _pattern(_EMAIL, "email"),
    _pattern(_QQ, "qq", 1),
    _pattern(_WECHAT, "wechat", 1),
    _pattern(_PLATE, "plate"),
    _pattern(_HOUSE, "address"),
    _pattern(_STATED_NAME, "name", 1),
    _pattern(_SELF_NAME, "name", 1),
    _pattern(_ROLE_NAME, "name", 1),
    _pattern(_SIGNATURE, "name", 1),
)


def _without_overlap(findings: Iterator[_Finding]) -> list[_Finding]:
    """Keep findings in order, joining those that overlap under the kind of the longest."""
    joined: list[_Finding] = []
    for start, end, kind in sorted(findings, key=lambda f: (f[0], -f[1])):
        if joined and start < joined[-1][1]:
            first, last, known = joined[-1]
            joined[-1] = (first, max(last, end), kind if end - start > last - first else known)
        else:
            joined.append((start, end, kind))
    assert all(a[1] <= b[0] for a, b in pairwise(joined))
    return joined

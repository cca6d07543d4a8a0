"""How many people a group says it is: digits and Chinese numerals, households never counted as people."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

import cn2an

_NUMBER = r"(?P<number>\d{1,3}(?:,\d{3}){1,2}|\d{1,6}(?:\.\d{1,2})?万?|[一二两三四五六七八九十百千万零]{1,12})"
_MEMBER = (
    r"(?:家长|业主|老师|教师|学生|同学|村民|居民|住户|职工|员工|学员|考生|毕业生|群众|工人|幼师|孩子"
    r"|代课|民师|教职工|群体)"
)
_LEGAL = r"(?!以[上下](?:的)?(?:集体|群体|走访|上访|来访))"
_UNIT = (
    rf"(?:人(?!次|均|数|行|民|大|事|口|工|员|才|生|家|们|份|为){_LEGAL}"
    r"|[名位](?!额|单|称|校(?![聘医内])|数|次|列|字|置|于)"
    rf"|个[^,。;!?\n0-9户月年班]{{0,6}}?(?:{_MEMBER}|人(?!次|均|数|口|工|才|家|民|大|事){_LEGAL})|(?:多|余)?{_MEMBER})"
)
# Not within a longer number, an ordinal or a rate.
_COUNT = re.compile(
    r"(?<![\d.第前每几数均号一二两三四五六七八九十百千万零])(?<!每班)(?<!每校)"
    rf"{_NUMBER}(?:多|余|来|几)?万?(?P<unit>{_UNIT})"
)
_REACH = 16


def headcount(text: str, spans: list[tuple[int, int]]) -> int | None:
    """Return the number of people stated within or beside the collective cues at ``spans``.

    近1000 gives 1000, 五十多名 gives 50; 几十名 and 300户 give None. The largest count within 16
    characters of a cue is taken; None without one of 2 to 100,000. Time is linear in the length.
    """
    ordered = sorted(spans)
    starts = [start for start, _ in ordered]
    last_end = list(accumulate((end for _, end in ordered), max))
    counts = []
    for match in _COUNT.finditer(text):
        before = bisect_right(starts, match.end() + _REACH - 1)
        if before and last_end[before - 1] > match.start() - _REACH:
            value = _value(match[0][: match.start("unit") - match.start()])
            if value is not None and 2 <= value <= 100_000:
                counts.append(value)
    return max(counts, default=None)


def _value(number: str) -> int | None:
    """Return what the number before the unit says without its vague end: 五十多 is 50, 3万余 30,000."""
    plain = re.sub("[多余来几,]", "", number)
    try:
        if plain[0].isdigit():
            return round(float(plain.rstrip("万")) * (10_000 if plain.endswith("万") else 1))
        if len(plain) > 1 and not re.search("[十百千万]", plain):  # 七八 is seven or eight
            return None
        return int(cn2an.cn2an(plain, "smart"))
    except ValueError:
        return None

"""How many people a group says it is: digits and Chinese numerals, households never counted as people."""

from __future__ import annotations

import re

import cn2an

_NUMBER = r"(?P<number>\d{1,6}|[一二两三四五六七八九十百千万]{1,8})"
_PEOPLE = (
    r"(?:人(?!次|均|数|行|民|大|事|口|工|员|才|生|家|们)|[名位个](?![月年班小级校问学单方月天多字电人])|[名位个]?[^,。;!?\n0-9户]{0,8}?"
    r"(?:家长|业主|老师|教师|学生|同学|村民|居民|住户|职工|员工|学员|考生|毕业生|群众|工人|幼师|孩子|代课教师|民办教师|人))"
)
_COUNT = re.compile(rf"(?P<about>近|约|大约|超过?|逾)?{_NUMBER}(?P<more>多|余|来|几)?(?P<unit>{_PEOPLE})")
_VAGUE = re.compile(r"[几数]")


def headcount(text: str, spans: list[tuple[int, int]]) -> int | None:
    """Return the number of people stated within or beside the collective cues at ``spans``.

    近1000 gives 1000, 五十多名 gives 50; 几十名 and 300户 give None. The largest count within 16
    characters of a cue is taken; None without one of 2 to 100,000.
    """
    counts = []
    for match in _COUNT.finditer(text):
        near = any(match.start() < end + 16 and match.end() > start - 16 for start, end in spans)
        if not near or _VAGUE.search(text[max(0, match.start() - 1) : match.start()]):
            continue
        value = _value(match["number"])
        if value is not None and 2 <= value <= 100_000:
            counts.append(value)
    return max(counts, default=None)


def _value(number: str) -> int | None:
    try:
        return int(number) if number.isdigit() else int(cn2an.cn2an(number, "smart"))
    except ValueError:
        return None

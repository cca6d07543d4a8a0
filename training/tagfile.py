"""Tag whole files: a table in, the same rows with their tags out, bad rows reported and passed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.dataset import get_field
from training.tables import BadRow, Row
from triage.tagging import Tagger, Tags
from triage.text import TextError

COLUMNS = (
    "topic",
    "topic_name",
    "topic_probability",
    "other_topics",
    "purpose",
    "purpose_name",
    "needs_review",
    "cues",
    "headcount",
    "institutions",
    "confidential",
    "danger",
    "model",
)
_BODY_FIELDS = ("body", "text", "content", "正文", "内容", "反映内容", "诉求内容", "留言详情")
_TITLE_FIELDS = ("title", "标题", "主题", "留言主题")
_ID_FIELDS = ("id", "编号", "留言编号", "工单编号", "信件编号")


@dataclass(slots=True)
class TagFileReport:
    """How many rows were tagged, and those that were not."""

    tagged: int = 0
    bad: list[BadRow] = field(default_factory=list)


def tag_rows(
    rows: Iterable[Row | BadRow], tagger: Tagger, report: TagFileReport, progress: Callable[[], None] = lambda: None
) -> Iterator[tuple[Row, str, Tags]]:
    """Yield each readable row with its id and tags; unreadable ones go to ``report``."""
    for row in rows:
        progress()
        if isinstance(row, BadRow):
            report.bad.append(row)
            continue
        title, text = _first(row, _TITLE_FIELDS), _first(row, _BODY_FIELDS)
        if text is None and title is None:
            report.bad.append(BadRow(row.line, f"no text; give a field named {', '.join(_BODY_FIELDS[:3])} or title"))
            continue
        try:
            tags = tagger.tag(text, title or None) if text else tagger.tag(title or "")
        except TextError as error:
            report.bad.append(BadRow(row.line, str(error)))
            continue
        report.tagged += 1
        yield row, str(_first(row, _ID_FIELDS) or row.line), tags


def json_row(identity: str, tags: Tags) -> dict[str, Any]:
    """Return one line of the jsonl output."""
    return {"id": identity, **tags.as_dict()}


def table_row(row: Row, tags: Tags, tagger: Tagger) -> dict[str, Any]:
    """Return the row as it came with the tag columns added, for a spreadsheet."""
    names = {topic.code: topic.name for topic in tagger.taxonomy.topics}
    purposes = {purpose.code: purpose.name for purpose in tagger.taxonomy.purposes}
    return {
        **row.fields,
        **{
            column_name(column, row.fields): value
            for column, value in {
                "topic": tags.topic,
                "topic_name": names.get(tags.topic, tags.topic),
                "topic_probability": tags.topics[0].probability,
                "other_topics": ";".join(topic.code for topic in tags.topics[1:]),
                "purpose": tags.purpose.code,
                "purpose_name": purposes.get(tags.purpose.code, tags.purpose.code),
                "needs_review": tags.needs_review,
                "cues": ";".join(f"{cue.kind}:{cue.text}" for cue in tags.cues),
                "headcount": tags.headcount,
                "institutions": ";".join(one.text for one in tags.institutions),
                "confidential": tags.confidential,
                "danger": tags.danger,
                "model": tags.model,
            }.items()
        },
    }


def column_name(column: str, fields: Mapping[str, Any]) -> str:
    """Return the name of a tag column, out of the way of a column that the table already has."""
    return f"tag_{column}" if column in fields else column


def table_columns(header: Sequence[str]) -> list[str]:
    """Return the columns of the output table: those of the input, then the tags."""
    fields = dict.fromkeys(header)
    return [*header, *(column_name(column, fields) for column in COLUMNS)]


def _first(row: Row, names: Sequence[str]) -> str | None:
    for name in names:
        value = get_field(row.fields, name)
        if value is not None and str(value).strip():
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return None

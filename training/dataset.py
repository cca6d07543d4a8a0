"""Labelled complaints: read, checked, reported on, split."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.tables import BadRow, Row, read_table
from triage.institutions import LabelledNames
from triage.redact import redact
from triage.text import MappedText, TextError, check_text, normalise

RARE = 10
CUE_FIELDS = {
    "repeat": "repeat_cue",
    "collective": "collective_cue",
    "escalation": "escalation_cue",
    "danger": "urgent_safety",
}
_NO = ("0", "", "False", "false", "None")
INSTITUTION_KINDS = ("unit", "institution")


class DatasetError(ValueError):
    """Data that nothing can be learnt from; says which and what to do."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled complaint; ``title`` and ``body`` as received, ``read`` as the models read it.

    ``topics`` (the primary included), ``purpose``, ``cues``, ``spans`` and ``unit`` are None where
    the data does not say. Spans are (kind, start, end) in ``read.text``.
    """

    id: str
    title: str
    body: str
    label: str
    read: MappedText
    topics: frozenset[str] | None = None
    purpose: str | None = None
    cues: frozenset[str] | None = None
    spans: tuple[tuple[str, int, int], ...] | None = None
    unit: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.read.text

    def names(self) -> LabelledNames:
        """Return the institutions marked in the text, for learning to find them."""
        spans = [(start, end) for kind, start, end in self.spans or () if kind in INSTITUTION_KINDS]
        concerned = next(((start, end) for kind, start, end in self.spans or () if kind == "unit"), None)
        return LabelledNames(self.text, spans, concerned)


@dataclass(slots=True)
class DatasetReport:
    """What was found in the data: counts, and what a person should look at."""

    rows: int = 0
    bad: list[BadRow] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    conflicts: list[tuple[str, str, str, str]] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)

    @property
    def rare(self) -> dict[str, int]:
        """Labels with fewer than RARE texts: learnt, but not to be relied on."""
        return {label: count for label, count in sorted(self.labels.items()) if count < RARE}

    def lines(self) -> list[str]:
        """Return the report for people, one fact a line."""
        lines = [f"{self.rows} texts, {len(self.labels)} labels, {len(self.bad)} unreadable rows"]
        lines += [f"  line {row.line}: {row.reason}" for row in self.bad[:20]]
        lines += [f"duplicate: {a} = {b} (kept once)" for a, b in self.duplicates[:10]]
        if len(self.duplicates) > 10:
            lines.append(f"  and {len(self.duplicates) - 10} more duplicates (kept once)")
        lines += [f"conflict: {a} says {la}, {b} says {lb} of the same text" for a, la, b, lb in self.conflicts[:10]]
        lines += [
            f"rare label: {label} has {count} texts, fewer than {RARE}: learnt, but its figures mean little"
            for label, count in self.rare.items()
        ]
        return lines


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples in the order of the data, and the report on them."""

    examples: list[Example]
    report: DatasetReport
    fingerprint: str

    def split_off(self, share: float = 0.1) -> tuple[list[Example], list[Example]]:
        """Return (rest, held-out): an example's id alone decides, so that the split never moves."""
        held: list[Example] = []
        rest: list[Example] = []
        for example in self.examples:
            place = int(hashlib.sha256(example.id.encode()).hexdigest()[:8], 16) / 16**8
            (held if place < share else rest).append(example)
        return rest, held


def load_dataset(
    paths: Sequence[Path],
    text: Sequence[str] = ("title", "body"),
    label: str = "labels.topic",
    where: Mapping[str, str] | None = None,
) -> Dataset:
    """Read labelled complaints from jsonl, csv or xlsx files, or folders of jsonl files.

    ``text`` names one or two fields (with two, the first is the title); ``label`` the field to learn,
    dotted for nested ones. Where the label's neighbours follow our own scheme (topics, purpose,
    repeat_cue …, spans) they are read too. ``where`` keeps rows whose fields have these values.
    Raises DatasetError when nothing is left to learn from.
    """
    report = DatasetReport()
    examples: list[Example] = []
    seen: dict[str, Example] = {}
    digest = hashlib.sha256()
    files = _files(paths)
    for path in files:
        digest.update(path.read_bytes())
        for row in read_table(path):
            if isinstance(row, Row) and any(str(get_field(row.fields, k)) != v for k, v in (where or {}).items()):
                continue
            example = row if isinstance(row, BadRow) else _example(row, text, label)
            if isinstance(example, BadRow):
                reason = example.reason if len(files) == 1 else f"{path.name}: {example.reason}"
                report.bad.append(BadRow(example.line, reason))
                continue
            same = seen.setdefault(example.text, example)
            if same is not example:
                _report_same(report, same, example)
                continue
            report.labels[example.label] += 1
            examples.append(example)
    report.rows = len(examples)
    if len(report.labels) < 2:
        raise DatasetError(
            f"{len(examples)} texts with {len(report.labels)} different labels in {label!r}; at least two are needed. "
            f"Check --text and --label. {report.bad[0].reason if report.bad else ''}".strip()
        )
    return Dataset(examples, report, "sha256:" + digest.hexdigest())


def get_field(fields: Mapping[str, Any], path: str) -> Any:
    """Return a field by its dotted path, or by its plain name where a column is named so; None if absent."""
    if path in fields:
        return fields[path]
    value: Any = fields
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def join_title(title: str, body: str) -> str:
    """Return title and body as one text, as the Tagger joins them."""
    return f"{title}\n{body}" if title else body


def _files(paths: Iterable[Path]) -> list[Path]:
    files = [file for path in paths for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
    if not files:
        raise DatasetError(f"no data in {', '.join(map(str, paths))}; name jsonl, csv or xlsx files")
    return files


def _example(row: Row, text: Sequence[str], label: str) -> Example | BadRow:
    parts = [str(get_field(row.fields, name) or "") for name in text]
    title, body = ("", parts[0]) if len(parts) == 1 else (parts[0], "\n".join(part for part in parts[1:] if part))
    whole = join_title(title, body) if body else title
    value = get_field(row.fields, label)
    if value is None or not str(value).strip():
        return BadRow(row.line, f"{label}: empty; give every row its label")
    try:
        read = redact(normalise(check_text(whole, " and ".join(text)))).mapped
    except TextError as error:
        return BadRow(row.line, str(error))
    identity = str(row.fields.get("id") or f"line {row.line}")
    beside = get_field(row.fields, label.rpartition(".")[0]) if "." in label else row.fields
    try:
        own = _own_labels(beside, row.fields, read) if isinstance(beside, Mapping) else {}
    except (KeyError, TypeError):
        return BadRow(row.line, "spans: not a list of {kind, start, end}; give numbers or leave the field out")
    return Example(identity, title, body, str(value).strip(), read, fields=row.fields, **own)


def _own_labels(labels: Mapping[str, Any], fields: Mapping[str, Any], read: MappedText) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if isinstance(labels.get("topics"), list):
        own["topics"] = frozenset(map(str, labels["topics"]))
    if labels.get("purpose"):
        own["purpose"] = str(labels["purpose"])
    if all(name in labels for name in CUE_FIELDS.values()):
        own["cues"] = frozenset(kind for kind, name in CUE_FIELDS.items() if str(labels[name]) not in _NO)
    if "unit" in labels:
        own["unit"] = str(labels["unit"]) if labels["unit"] else None
    if isinstance(fields.get("spans"), list):
        own["spans"] = tuple(_read_spans(fields["spans"], read))
    return own


def _read_spans(spans: Iterable[Mapping[str, Any]], read: MappedText) -> Iterable[tuple[str, int, int]]:
    """Yield spans given in the received text as spans of the text read; what redaction removed is left out."""
    length = len(read.text)
    starts = range(length) if read.starts is None else read.starts
    ends = range(1, length + 1) if read.ends is None else read.ends
    by_place: dict[int, list[int]] = defaultdict(list)
    for i, place in enumerate(starts):
        by_place[place].append(i)
    for span in spans:
        inside = [i for place in range(span["start"], span["end"]) for i in by_place[place] if ends[i] <= span["end"]]
        if inside:
            yield str(span["kind"]), inside[0], inside[-1] + 1


def _report_same(report: DatasetReport, first: Example, second: Example) -> None:
    if first.label == second.label:
        report.duplicates.append((first.id, second.id))
    else:
        report.conflicts.append((first.id, first.label, second.id, second.label))

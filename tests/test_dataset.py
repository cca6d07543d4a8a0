from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.dataset import Dataset, DatasetError, get_field, load_dataset
from training.tables import write_table
from triage.institutions import LabelledNames

TWO = [("a", "学校乱收费", "fees"), ("b", "孩子想转学", "admissions")]


def record(number: str, body: str, topic: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "title": "", "body": body, "labels": {"topic": topic}, **more}


def load(folder: Path, records: list[Any], **options: Any) -> Dataset:
    path = folder / "data.jsonl"
    path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in records), encoding="utf-8")
    return load_dataset([path], **options)


def two(*more: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(record(*one) for one in TWO), *more]


def test_nested_and_flat_labels_give_the_same_examples(tmp_path: Path) -> None:
    flat = tmp_path / "flat.csv"
    write_table(flat, ("id", "title", "body", "topic"), [{"id": i, "body": b, "topic": t} for i, b, t in TWO])

    nested = load(tmp_path, two()).examples
    assert [(one.id, one.text, one.label) for one in nested] == TWO
    assert [(one.id, one.text, one.label) for one in load_dataset([flat], label="topic").examples] == TWO


def test_a_column_named_with_a_dot_is_found_too() -> None:
    assert get_field({"labels.topic": "fees"}, "labels.topic") == "fees"
    assert get_field({"labels": {"topic": "fees"}}, "labels.topic") == "fees"
    assert get_field({"labels": "fees"}, "labels.topic") is None


def test_the_labels_beside_are_read_and_absent_ones_are_none(tmp_path: Path) -> None:
    labels = {
        "topic": "safety",
        "topics": ["safety", "conduct"],
        "purpose": "accuse",
        "repeat_cue": 1,
        "collective_cue": 0,
        "escalation_cue": "0",
        "urgent_safety": None,
        "unit": "某小学",
    }
    rows = [{"id": "a", "body": "某小学出事", "labels": labels}, record("b", "转学", "fees")]
    full, bare = load(tmp_path, rows).examples

    assert (full.topics, full.purpose, full.unit) == (frozenset({"safety", "conduct"}), "accuse", "某小学")
    assert full.cues == frozenset({"repeat"})
    assert (bare.topics, bare.purpose, bare.cues, bare.spans, bare.unit) == (None,) * 5


def test_texts_given_twice_are_kept_once_and_named(tmp_path: Path) -> None:
    data = load(tmp_path, two(record("c", "<p>孩子想轉學</p>", "admissions")))

    assert [one.id for one in data.examples] == ["a", "b"]
    assert data.report.duplicates == [("b", "c")]
    assert "duplicate: b = c (kept once)" in data.report.lines()


def test_one_text_under_two_labels_is_a_conflict_and_the_first_stays(tmp_path: Path) -> None:
    data = load(tmp_path, two(record("c", "學校亂收費", "safety")))

    assert data.report.conflicts == [("a", "fees", "c", "safety")]
    assert [one.label for one in data.examples] == ["fees", "admissions"]
    assert "conflict: a says fees, c says safety of the same text" in data.report.lines()


def test_rare_labels_are_reported_and_learnt_all_the_same(tmp_path: Path) -> None:
    many = [record(f"m{i}", f"第{i}封信说收费", "fees") for i in range(12)]
    data = load(tmp_path, [*many, record("r", "孩子实习", "internship")])

    assert data.report.rare == {"internship": 1}
    assert "internship" in {one.label for one in data.examples}
    assert any(line.startswith("rare label: internship has 1 texts") for line in data.report.lines())


def test_rows_without_label_or_text_are_reported_with_their_line(tmp_path: Path) -> None:
    spans = [{"kind": "unit", "start": 0}]
    bad = [record("c", "没有标签", ""), record("d", " ", "fees"), [1], record("e", "坏的位置", "fees", spans=spans)]
    data = load(tmp_path, [*two(), *bad])

    assert [(row.line, row.reason.split(";")[0]) for row in data.report.bad] == [
        (3, "labels.topic: empty"),
        (4, "title and body: empty"),
        (5, "a JSON list, not an object"),
        (6, "spans: not a list of {kind, start, end}"),
    ]
    assert len(data.examples) == 2


def test_with_several_files_a_bad_row_names_its_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rows = [record(name + i, f"{name}{body}", topic) for i, body, topic in TWO]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*lines, "{"]), encoding="utf-8")

    data = load_dataset([tmp_path])
    assert [(row.line, row.reason[:10]) for row in data.report.bad] == [(3, "one.jsonl:"), (3, "two.jsonl:")]
    assert len(data.examples) == 4


def test_rows_can_be_chosen_by_a_field(tmp_path: Path) -> None:
    rows = [
        record(f"{split}{i}", f"{split}{body}", topic, split=split)
        for split in ("dev", "test")
        for i, body, topic in TWO
    ]

    assert [one.id for one in load(tmp_path, rows, where={"split": "test"}).examples] == ["testa", "testb"]


def test_data_with_nothing_to_learn_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(DatasetError, match=r"at least two are needed.*Check --text and --label"):
        load(tmp_path, [record("a", "收费", "fees"), record("b", "又收费", "fees")])
    with pytest.raises(DatasetError, match="nolabel: empty"):
        load(tmp_path, two(), label="nolabel")
    with pytest.raises(DatasetError, match="name jsonl, csv or xlsx files"):
        load_dataset([folder])


def test_an_example_stays_on_its_side_of_the_split_whatever_else_is_in_the_data(tmp_path: Path) -> None:
    records = [record(f"id{i}", f"第{i}封信", "fees" if i % 2 else "safety") for i in range(400)]
    rest, held = load(tmp_path, records).split_off(0.1)
    _, fewer = load(tmp_path, list(reversed(records[:200]))).split_off(0.1)
    _, more = load(tmp_path, records).split_off(0.3)

    assert len(rest) + len(held) == 400
    assert 20 <= len(held) <= 60
    assert {one.id for one in fewer} == {one.id for one in held} & {f"id{i}" for i in range(200)}
    assert {one.id for one in held} <= {one.id for one in more}


def test_the_fingerprint_follows_the_data(tmp_path: Path) -> None:
    first = load(tmp_path, two()).fingerprint

    assert load(tmp_path, two()).fingerprint == first
    assert load(tmp_path, two(record("c", "别的", "fees"))).fingerprint != first


PIECES = ["投诉", "  ", "<br>", "\u200b", "！！！", "13800138000", "我叫王小明，", "亂收費", "\n"]


@given(st.lists(st.sampled_from(PIECES)))
def test_spans_of_the_text_as_received_point_at_the_same_words_in_the_text_read(pieces: list[str]) -> None:
    before = "".join(pieces)
    body = f"{before}某某小學乱收费{before}"
    start = len("标题\n") + len(before)
    spans = [{"kind": "unit", "start": start, "end": start + 4}]
    with tempfile.TemporaryDirectory() as folder:
        row = {"id": "a", "title": "标题", "body": body, "labels": {"topic": "fees"}, "spans": spans}
        example = load(Path(folder), [row, record("b", "转学", "admissions")]).examples[0]

    assert example.spans is not None
    ((kind, first, last),) = example.spans
    assert (kind, example.text[first:last]) == ("unit", "某某小学")
    assert example.names() == LabelledNames(example.text, [(first, last)], (first, last))


def test_a_span_that_redaction_took_out_is_left_out(tmp_path: Path) -> None:
    body = "电话13800138000，学校乱收费"
    spans = [{"kind": "repeat", "start": 4, "end": 6}, {"kind": "unit", "start": 14, "end": 16}]
    example = load(tmp_path, two(record("c", body, "fees", spans=spans))).examples[2]

    assert [(kind, example.text[a:b]) for kind, a, b in example.spans or ()] == [("unit", "学校")]

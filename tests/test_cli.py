"""The command line as people use it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest

TEXTS = [
    ("投诉云栖区梧桐小学乱收费", "学校强制每人交三百元校服费,去年就向教育局反映过,至今没人管,我们全体家长要求退费。"),
    ("", "请问外地户口的孩子今年怎么报名上公办幼儿园?"),
]


def triage(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_jsonl_file_is_tagged_line_by_line_and_bad_rows_are_reported(tmp_path: Path) -> None:
    file = write_jsonl(
        tmp_path / "in.jsonl", [{"id": f"r{i}", "title": t, "body": b} for i, (t, b) in enumerate(TEXTS)]
    )
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"id": "broken"\n{"id": "empty", "body": " "}\n')
    done = triage("tag", file)
    assert done.returncode == 3
    rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [row["id"] for row in rows] == ["r0", "r1"]
    first = rows[0]
    assert first["topic"] == "fees"
    assert {"repeat", "collective"} <= {cue["kind"] for cue in first["cues"]}
    whole = "\n".join(TEXTS[0])
    for span in (*first["cues"], *first["institutions"], *first["topics"][0]["evidence"]):
        assert whole[span["start"] : span["end"]] == span["text"]
    assert first["institutions"][0]["text"] == "云栖区梧桐小学"
    errors = done.stderr.decode()
    assert "line 3: not valid JSON" in errors
    assert "line 4:" in errors


def test_standard_input_is_read_and_gb18030_recognised(tmp_path: Path) -> None:
    line = json.dumps({"id": 1, "text": TEXTS[1][1]}, ensure_ascii=False).encode("gb18030")
    done = triage("tag", "-", stdin=line)
    assert done.returncode == 0
    assert json.loads(done.stdout)["purpose"]["code"] == "consult"


def test_a_spreadsheet_comes_back_with_tag_columns_beside_its_own(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["编号", "标题", "正文", "topic"])
    for i, (title, body) in enumerate(TEXTS):
        workbook.active.append([i, title, body, "=1+1"])
    workbook.save(tmp_path / "in.xlsx")
    done = triage("tag", tmp_path / "in.xlsx", "--out", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr.decode()
    data = (tmp_path / "out.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
    assert rows[0]["tag_topic"] == "fees"
    assert rows[0]["topic_name"] == "教育收费"
    assert rows[1]["编号"] == "1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tag", "missing.jsonl"), "missing.jsonl"),
        (("tag", "letter.docx"), "use .jsonl, .csv or .xlsx"),
        (("tag", "-", "--model", "nowhere"), "no model.json"),
        (("train", "missing.csv", "--out", "m", "--backend", "magic"), "use linear"),
        (("link", "missing.csv", "--out", "m"), "missing.csv"),
        (("backtest", "h.csv", "--from", "May", "--to", "2026-06-01", "--out", "o"), "not a day"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    done = triage(*arguments, stdin=b"")
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_a_bureau_trains_on_its_own_labels_and_tags_with_the_model(tmp_path: Path) -> None:
    rows = []
    for i in range(12):
        rows.append({"编号": i, "正文": f"食堂饭菜价格第{i}次上涨,一份素菜都要十元", "分类": "食堂"})
        rows.append({"编号": 100 + i, "正文": f"校车第{i}趟超载,孩子站在过道里很危险", "分类": "校车"})
    rows.append({"编号": 200, "正文": "图书馆闭馆太早", "分类": "图书馆"})
    rows.append({"编号": 201, "正文": rows[0]["正文"], "分类": "校车"})
    data = write_jsonl(tmp_path / "past.jsonl", rows)
    model = tmp_path / "model"
    done = triage("train", data, "--text", "正文", "--label", "分类", "--out", model)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stderr.decode()
    assert "conflict" in said
    assert "rare label: 图书馆 has 1" in said
    tagged = json.loads(triage("tag", "-", "--model", model, stdin='{"text": "校车超载站满了人"}'.encode()).stdout)
    assert tagged["topic"] == "校车"
    assert tagged["purpose"]["code"] in ("request", "accuse", "suggest", "consult")
    report = tmp_path / "report"
    done = triage("evaluate", data, "--text", "正文", "--label", "分类", "--model", model, "--out", report)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads((report / "figures.json").read_text())["topic"]["accuracy"] > 0.9
    assert "混淆矩阵" in (report / "report.html").read_text()
    again = triage("train", data, "--text", "正文", "--label", "分类", "--out", model)
    assert again.returncode == 2
    assert "never overwritten" in again.stderr.decode()

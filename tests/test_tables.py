from __future__ import annotations

import io
import re
import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tables import BadRow, Row, TableError, read_table, table_format, write_table

COLUMNS = ("id", "body")


def rows(data: bytes, kind: str = "csv") -> list[Row | BadRow]:
    return list(read_table(io.BytesIO(data), kind))


def workbook(*lines: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    for line in lines:
        book.worksheets[0].append(line)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_offices_export_is_read_whatever_encoding_and_delimiter(encoding: str, delimiter: str) -> None:
    text = f"编号{delimiter}内容\r\n1{delimiter}学校乱收费\r\n"

    assert rows(text.encode(encoding)) == [Row(2, {"编号": "1", "内容": "学校乱收费"})]


def test_a_quoted_cell_may_hold_line_breaks_and_the_next_row_keeps_its_line() -> None:
    data = 'id,body\n1,"第一行\n第二行,""引""\n"\n\n2,好\n'.encode()

    assert rows(data) == [Row(2, {"id": "1", "body": '第一行\n第二行,"引"\n'}), Row(6, {"id": "2", "body": "好"})]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("2,b,c", "3 cells under 2 columns"), ('2,"b"c', "not valid CSV"), ('2,"never closed', "not valid CSV")],
)
def test_a_bad_line_is_reported_and_the_rest_is_read(bad: str, reason: str) -> None:
    first, wrong, last = rows(f"id,body\n1,a\n{bad}\n3,c\n".encode())

    assert (first, last) == (Row(2, {"id": "1", "body": "a"}), Row(4, {"id": "3", "body": "c"}))
    assert isinstance(wrong, BadRow)
    assert wrong.line == 3
    assert reason in wrong.reason


def test_bad_json_lines_are_reported_and_the_rest_is_read() -> None:
    deep = "[" * 100_000
    found = rows(('{"id": 1}\n\n{"id": \n[1]\n' + deep + '\n{"id": "甲\u2028乙"}\n').encode(), "jsonl")

    assert [row.line for row in found] == [1, 3, 4, 5, 6]
    assert [type(row) for row in found] == [Row, BadRow, BadRow, BadRow, Row]
    assert found[-1] == Row(6, {"id": "甲\u2028乙"})
    assert all("one object a line" in row.reason for row in found if isinstance(row, BadRow))


def test_a_workbook_gives_text_for_numbers_and_dates_and_skips_blank_rows() -> None:
    data = workbook(
        ["id", "body", "at", "on", "ok", None],
        [7, "收费", datetime(2024, 5, 1, 8, 30), date(2024, 5, 1), True, None],
        [None, " ", None, None, None, None],
        [8.0, 1.5, None, None, False, None],
    )

    assert rows(data, "xlsx") == [
        Row(2, {"id": "7", "body": "收费", "at": "2024-05-01 08:30:00", "on": "2024-05-01", "ok": "1"}),
        Row(4, {"id": "8", "body": "1.5", "at": "", "on": "", "ok": "0"}),
    ]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_what_is_written_reads_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    row = {"id": 3, "body": '第一行\n"引",二', "topics": ["fees", "safety"], "score": 0.5, "none": None, "yes": True}

    assert write_table(path, tuple(row), [row]) == 1
    assert list(read_table(path)) == [
        Row(
            2,
            {
                "id": "3",
                "body": row["body"],
                "topics": '["fees", "safety"]',
                "score": "0.5",
                "none": "",
                "yes": "1",
            },
        )
    ]


def test_a_csv_opens_with_a_bom_so_that_excel_shows_chinese(tmp_path: Path) -> None:
    write_table(tmp_path / "out.csv", COLUMNS, [])

    assert (tmp_path / "out.csv").read_bytes() == b"\xef\xbb\xbfid,body\r\n"


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+cmd|' /C calc'!A0",
        "-2+3+cmd|'/C x'!A0",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "－1",
        "-",
        "-a",
    ],
)
def test_nothing_a_spreadsheet_would_run_is_written(tmp_path: Path, kind: str, text: str) -> None:
    path = tmp_path / f"out.{kind}"
    write_table(path, COLUMNS, [{"id": text, "body": [text]}])

    (row,) = read_table(path)
    assert isinstance(row, Row)
    assert row.fields["id"].startswith("'")
    assert row.fields["id"].replace("\r", "").replace("\n", "") == ("'" + text).replace("\r", "").replace("\n", "")


@pytest.mark.parametrize("text", ["-5", "-0.25", "收费", "1+1", "a=b"])
def test_plain_numbers_and_words_are_not_marked(tmp_path: Path, text: str) -> None:
    write_table(tmp_path / "out.csv", COLUMNS, [{"id": text}])

    assert list(read_table(tmp_path / "out.csv")) == [Row(2, {"id": text, "body": ""})]


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", "csv", "empty; the first line must name the columns"),
        (b"\n1,2\n", "csv", "add a header line"),
        (b",,\n1,2,3\n", "csv", "add a header line"),
        ("编号,编号\n1,2\n".encode(), "csv", "column '编号' stands twice"),
        (b'"id\n1,2\n', "csv", "first line is not valid CSV"),
        (b"\x81\xff\xff", "csv", "save the file as UTF-8"),
        (b"no workbook", "xlsx", "save it anew"),
        (workbook(["id", "id"]), "xlsx", "column 'id' stands twice"),
        (workbook([None]), "xlsx", "add a header line"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_the_remedy(data: bytes, kind: str, message: str) -> None:
    with pytest.raises(TableError, match=re.escape(message)):
        rows(data, kind)


def test_a_missing_file_and_an_unknown_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="check the path"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(TableError, match=r"use \.jsonl, \.csv or \.xlsx"):
        table_format("letters.docx")
    assert [table_format(name) for name in ("a.TSV", "a.ndjson", "a.XLSX")] == ["csv", "jsonl", "xlsx"]


cells = st.text(st.one_of(st.characters(exclude_categories=()), st.sampled_from(",;\t\n\r\"'=+-@ 诉")), max_size=12)
tables = st.lists(st.fixed_dictionaries({"id": st.text("ab1", min_size=1), "body": cells}), max_size=6)


def through(name: str, table: list[dict[str, str]]) -> list[Row | BadRow]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write_table(path, COLUMNS, table)
        return list(read_table(path))


@given(tables)
def test_any_rows_come_back_from_json_lines_unchanged(table: list[dict[str, str]]) -> None:
    assert through("t.jsonl", table) == [Row(i, row) for i, row in enumerate(table, start=1)]


@given(tables)
def test_any_rows_come_back_from_csv_without_controls_and_with_formulas_marked(table: list[dict[str, str]]) -> None:
    found = through("t.csv", table)

    assert len(found) == len(table)
    for row, source in zip(found, table, strict=True):
        assert isinstance(row, Row)
        kept = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "", source["body"])
        assert row.fields["id"] == source["id"]
        assert row.fields["body"] in (kept, "'" + kept)
        assert not re.match(r"[=+@\t\r\n]", row.fields["body"])

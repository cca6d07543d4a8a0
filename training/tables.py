"""Tables in and out: JSON lines, CSV and Excel as records, with the line of every row that cannot be read."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

FORMATS = ("jsonl", "csv", "xlsx")
# What Excel may write into a cell at most.
_CELL = 32_767
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# What a spreadsheet may run; full-width signs count in Chinese ones. A plain negative number is none.
_FORMULA = re.compile(r"[=+@＝＋＠－\t\r\n]|-(?!\d{1,15}(?:\.\d{1,15})?\Z)")


class TableError(ValueError):
    """A file that cannot be read as a table at all; says which and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record and the line (1 is the first of the file) where it stands."""

    line: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that holds no record, and why."""

    line: int
    reason: str


def table_format(name: str) -> str:
    """Return the format that a file name's ending says. Raises TableError for another ending."""
    ending = Path(name).suffix.lower().lstrip(".")
    known = {"jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl", "csv": "csv", "tsv": "csv", "xlsx": "xlsx"}
    if ending not in known:
        raise TableError(f"{name}: unknown kind of file {ending or '(no ending)'!r}; use .jsonl, .csv or .xlsx")
    return known[ending]


def read_table(source: Path | BinaryIO, kind: str | None = None) -> Iterator[Row | BadRow]:
    """Yield the rows of a table in order; a row that cannot be read is yielded as a BadRow.

    ``kind`` is one of FORMATS, by default what the file's name says. Text may be UTF-8 (with or
    without BOM), UTF-16 with BOM or GB18030. Raises TableError when nothing can be read.
    """
    name = str(source) if isinstance(source, Path) else "standard input"
    kind = kind or table_format(name)
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
    except OSError as error:
        raise TableError(f"{name}: {error.strerror or error}; check the path and the rights") from None
    if kind == "xlsx":
        return _read_xlsx(io.BytesIO(data), name)
    text = decode(data, name)
    return _read_jsonl(text) if kind == "jsonl" else _read_csv(text, name)


def decode(data: bytes, name: str = "the file") -> str:
    """Return ``data`` as text: UTF-16 by its BOM, else UTF-8, else GB18030. Raises TableError for neither."""
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ["utf-16"] if marked else ["utf-8-sig", "gb18030"]:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise TableError(f"{name}: neither UTF-8 nor GB18030; save the file as UTF-8 and try again")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], kind: str | None = None) -> int:
    """Write rows as a table that Excel and WPS open cleanly; returns how many were written.

    CSV gets a UTF-8 BOM. Lists and mappings become JSON text. A value that a spreadsheet would run
    as a formula is written as text.
    """
    kind = kind or table_format(path.name)
    if kind == "jsonl":
        return _write_jsonl(path, rows)
    return _write_csv(path, columns, rows) if kind == "csv" else _write_xlsx(path, columns, rows)


def _read_jsonl(text: str) -> Iterator[Row | BadRow]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            yield BadRow(line, f"not valid JSON ({error}); write one object a line")
            continue
        if isinstance(record, dict):
            yield Row(line, record)
        else:
            yield BadRow(line, f"a JSON {type(record).__name__}, not an object; write one object a line")


def _read_csv(text: str, name: str) -> Iterator[Row | BadRow]:
    csv.field_size_limit(10_000_000)
    lines = io.StringIO(text.replace("\x00", ""), newline="").readlines()
    delimiter = max(",\t;", key=(lines[0] if lines else "").count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in next(reader)]
    except StopIteration:
        raise TableError(f"{name}: empty; the first line must name the columns") from None
    except csv.Error as error:
        raise TableError(f"{name}: the first line is not valid CSV ({error}); check its quotes") from None
    return _csv_rows(lines, reader.line_num, delimiter, _checked_header(header, name))


def _csv_rows(lines: list[str], at: int, delimiter: str, header: list[str]) -> Iterator[Row | BadRow]:
    """Yield the rows from ``lines[at:]``; after a row with broken quotes reading goes on with its next line."""
    while at < len(lines):
        start = at
        reader = csv.reader(islice(lines, start, None), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                line, at = at + 1, start + reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) > len(header):
                    reason = f"{len(cells)} cells under {len(header)} columns; quote cells that hold a comma"
                    yield BadRow(line, reason)
                else:
                    yield Row(line, dict(zip(header, cells, strict=False)))
        except csv.Error as error:
            yield BadRow(at + 1, f"not valid CSV ({error}); check the quotes")
            at += 1


def _read_xlsx(stream: BinaryIO, name: str) -> Iterator[Row | BadRow]:
    import openpyxl

    try:
        sheet = openpyxl.load_workbook(stream, read_only=True, data_only=True).worksheets[0]
        rows = sheet.iter_rows(values_only=True)
        header = ["" if cell is None else str(cell).strip() for cell in next(rows, ())]
    except Exception as error:  # openpyxl raises many kinds for a broken file
        raise TableError(f"{name}: not a readable .xlsx workbook ({type(error).__name__}); save it anew") from None
    while header and not header[-1]:
        header.pop()
    header = _checked_header(header, name)
    return _xlsx_rows(rows, header, name)


def _xlsx_rows(rows: Iterator[tuple[Any, ...]], header: list[str], name: str) -> Iterator[Row | BadRow]:
    line = 1
    while True:
        line += 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except Exception as error:  # a workbook cut off or damaged further down
            yield BadRow(line, f"the workbook {name} breaks off here ({type(error).__name__}); save it anew")
            return
        if any(cell is not None and str(cell).strip() for cell in cells):
            yield Row(line, {key: _cell(cell) for key, cell in zip(header, cells, strict=False)})


def _checked_header(header: list[str], name: str) -> list[str]:
    if not any(header):
        raise TableError(f"{name}: the first line names no columns; add a header line")
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise TableError(f"{name}: column {twice[0]!r} stands twice in the header; rename one")
    return header


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _flat(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return value if math.isfinite(value) else ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = _UNWRITABLE.sub("", text)
    return "'" + text if _FORMULA.match(text) else text


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False)
            # A lone surrogate is no UTF-8; only its JSON escape can carry it.
            file.write((line if line.isascii() or _encodes(line) else json.dumps(row)) + "\n")
            count += 1
    return count


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(_flat, columns))
        for row in rows:
            writer.writerow([_flat(row.get(column)) for column in columns])
            count += 1
    return count


def _write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    import openpyxl

    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet("triage")
    sheet.append([_flat(column) for column in columns])
    count = 0
    for row in rows:
        values = [_flat(row.get(column)) for column in columns]
        sheet.append([value[:_CELL] if isinstance(value, str) else value for value in values])
        count += 1
    workbook.save(path)
    return count

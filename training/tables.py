"""Tables in and out: JSON lines, CSV and Excel as records, with the line of every row that cannot be read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

FORMATS = ("jsonl", "csv", "xlsx")
# What Excel may write into a cell at most.
_CELL = 32_767


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
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
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
    head = text[:4096].split("\n", 1)[0]
    delimiter = max(",\t;", key=head.count)
    reader = csv.reader(io.StringIO(text.replace("\x00", ""), newline=""), delimiter=delimiter)
    try:
        header = [column.strip() for column in next(reader)]
    except StopIteration:
        raise TableError(f"{name}: empty; the first line must name the columns") from None
    return _csv_rows(reader, _checked_header(header, name))


def _csv_rows(reader: Any, header: list[str]) -> Iterator[Row | BadRow]:
    before = reader.line_num
    while True:
        line = before + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            before = reader.line_num
            yield BadRow(line, f"not valid CSV ({error}); check the quotes")
            continue
        before = reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            yield BadRow(line, f"{len(cells)} cells under {len(header)} columns; quote cells that hold a comma")
            continue
        yield Row(line, dict(zip(header, cells, strict=False)))


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
    return (
        Row(line, {key: _cell(cell) for key, cell in zip(header, cells, strict=False)})
        for line, cells in enumerate(rows, start=2)
        if any(cell is not None and str(cell).strip() for cell in cells)
    )


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
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _flat(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff"))
    return "'" + text if text[:1] in ("=", "+", "@") or (text[:1] == "-" and not text[1:2].isdigit()) else text


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_flat(row.get(column)) for column in columns])
            count += 1
    return count


def _write_xlsx(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    import openpyxl

    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet("triage")
    sheet.append(list(columns))
    count = 0
    for row in rows:
        values = [_flat(row.get(column)) for column in columns]
        sheet.append([value[:_CELL] if isinstance(value, str) else value for value in values])
        count += 1
    workbook.save(path)
    return count

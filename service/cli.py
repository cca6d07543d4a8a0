"""The command ``triage``: tag files, train and evaluate models, serve."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli_history import history_commands
from service.console import SOME_ROWS_BAD, bar, explained, fail, spinner, stderr

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(history_commands)


Data = Annotated[list[Path], typer.Argument(help="Labelled jsonl, csv or xlsx files, or folders of jsonl files.")]
Text = Annotated[str, typer.Option(help="Field with the text; two with a comma are title and body.")]
Label = Annotated[str, typer.Option(help="Field to learn; dotted for nested ones.")]
Where = Annotated[list[str] | None, typer.Option(help="Keep rows whose field has this value: FIELD=VALUE.")]


@app.command()
def tag(
    file: Annotated[str, typer.Argument(help="jsonl, csv or xlsx file; - reads standard input.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; jsonl to standard output by default.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; the bundled one by default.")] = None,
    input_format: Annotated[str | None, typer.Option("--format", help="jsonl, csv or xlsx.")] = None,
) -> None:
    """Tag every complaint of a file.

    Rows need a text (body, text, content or 正文 …), may have a title and an id. Rows that cannot be
    read are reported with their line; the rest goes on. Exit status 3 says that some rows were bad.
    """
    from training.tables import Row, read_table, table_format, write_table
    from training.tagfile import TagFileReport, json_row, table_columns, table_row, tag_rows

    with explained():
        kind = input_format or ("jsonl" if file == "-" else table_format(file))
        target = table_format(out.name) if out else "jsonl"
        source = BytesIO(sys.stdin.buffer.read()) if file == "-" else Path(file)
        tagger = _tagger(model)
        rows = list(read_table(source, kind))
        report = TagFileReport()
        with bar("tag", len(rows)) as advance:
            tagged = tag_rows(rows, tagger, report, advance)
            if target == "jsonl":
                records: Iterator[dict[str, Any]] = (json_row(identity, tags) for _, identity, tags in tagged)
            else:
                records = (table_row(row, tags, tagger) for row, _, tags in tagged)
            if out:
                header = list(dict.fromkeys(key for row in rows if isinstance(row, Row) for key in row.fields))
                write_table(out, table_columns(header), records, target)
            else:
                _print_jsonl(records)
    for bad in report.bad:
        stderr.print(f"line {bad.line}: {bad.reason}", markup=False)
    stderr.print(f"{report.tagged} tagged, {len(report.bad)} bad rows")
    if report.bad:
        raise typer.Exit(SOME_ROWS_BAD)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="New folder for the model.")],
    text: Text = "title,body",
    label: Label = "labels.topic",
    where: Where = None,
    validate: Annotated[list[Path] | None, typer.Option(help="Labelled data that only sets thresholds.")] = None,
    validate_where: Where = None,
    backend: Annotated[str, typer.Option(help="linear")] = "linear",
    seed: Annotated[int, typer.Option(help="The same seed and data give the same model.")] = 0,
) -> None:
    """Train a model on labelled complaints, ours or a bureau's own labels."""
    from training.train import BACKENDS, TrainingRequest
    from training.train import train as run

    if backend not in BACKENDS:
        fail(f"--backend {backend}: not known; use {', '.join(BACKENDS)}")
    with explained(), spinner() as progress:
        request = TrainingRequest(
            data=data,
            out=out,
            text=_fields(text),
            label=label,
            where=_conditions(where),
            validate=validate or (),
            validate_where=_conditions(validate_where),
            backend=backend,
            seed=seed,
        )
        run(request, lambda line: stderr.print(line, markup=False), progress)


@app.command()
def evaluate(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for report.html and figures.json.")],
    model: Annotated[Path | None, typer.Option(help="Model folder; the bundled one by default.")] = None,
    text: Text = "title,body",
    label: Label = "labels.topic",
    where: Where = None,
) -> None:
    """Measure a model on labelled complaints: figures to compare and a report to look at."""
    from training.dataset import load_dataset
    from training.evaluate import evaluate as measure
    from training.evaluate import judge, worst_errors
    from training.report import write_report

    with explained():
        dataset = load_dataset(data, _fields(text), label, _conditions(where))
        for line in dataset.report.lines():
            stderr.print(line, markup=False)
        tagger = _tagger(model)
        with bar("tag", len(dataset.examples)) as advance:
            judged = judge(dataset.examples, tagger, lambda _: advance())
        figures = {**measure(judged), "data": dataset.fingerprint}
        write_report(out, figures, worst_errors(judged))
    topic, review = figures["topic"], figures["needs_review"]
    print(f"{figures['texts']} texts, model {figures['model']}")
    print(f"topic: macro-F1 {topic['macro_f1']} {topic['macro_f1_interval']}, accuracy {topic['accuracy']}")
    print(f"calibration error {figures['calibration']['ece']}")
    print(f"needs no review: {review['coverage']} of texts, right {review['precision']}")
    if figures["purpose"]:
        print(f"purpose: macro-F1 {figures['purpose']['macro_f1']}")
    for kind, cue in (figures["cues"] or {}).items():
        print(f"cue {kind}: F1 {cue['f1']}, precision {cue['precision']}, recall {cue['recall']}, n={cue['texts']}")
    if figures["institution"]:
        print(f"institution: first {figures['institution']['first']}, named at all {figures['institution']['any']}")
    print(f"report: {out / 'report.html'}")


@app.command()
def corpus(
    data: Annotated[list[Path] | None, typer.Argument(help="Files or folders; the bundled corpus by default.")] = None,
    beside: Annotated[Path | None, typer.Option(help="Real messages (jsonl) whose lengths to print beside.")] = None,
) -> None:
    """Report the health of a corpus: counts, lengths, near-duplicates, openings."""
    from training.corpus_health import bundled_corpus, corpus_health

    with explained():
        for line in corpus_health(data or [bundled_corpus()], beside):
            print(line)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    model: Annotated[Path | None, typer.Option(help="Model folder; the bundled one by default.")] = None,
) -> None:
    """Serve the HTTP API; every setting is also a variable TRIAGE_… (docs/operations.md)."""
    from service.server import serve as run
    from service.settings import load_settings

    given = {"host": host, "port": port, "workers": workers, "model": model}
    with explained():
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        stderr.print(f"http://{settings.host}:{settings.port}  (/readyz, /openapi.json)", markup=False)
        run(settings)


def main() -> None:
    """Run the command line."""
    app()


def _tagger(model: Path | None) -> Any:
    from triage.tagging import Tagger

    return Tagger.load(model)


def _fields(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _conditions(values: list[str] | None) -> dict[str, str]:
    conditions = {}
    for value in values or []:
        name, equals, wanted = value.partition("=")
        if not equals:
            fail(f"{value}: not a condition; write FIELD=VALUE, for example split=train")
        conditions[name] = wanted
    return conditions


def _print_jsonl(records: Iterator[dict[str, Any]]) -> None:
    import json

    for record in records:
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

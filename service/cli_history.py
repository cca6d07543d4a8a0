"""The commands over a bureau's history: link it, learn risk from it, look back how good the ranking was."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from service.console import bar, explained, fail, spinner, stderr

history_commands = typer.Typer()


@history_commands.command()
def link(
    history: Annotated[
        Path, typer.Argument(help="jsonl, csv or xlsx: id, received_at, title, body, submitter?, matter?")
    ],
    out: Annotated[Path, typer.Option(help="Where to write one jsonl line a complaint.")],
    model: Annotated[Path | None, typer.Option(help="Linker folder; the hand-set weights by default.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Where the history names matters: measure from this day on.")
    ] = None,
) -> None:
    """Replay a history in time order and say which matter each complaint joins, and why."""
    from training.linking import default_linker, link_history, load_linker, replay_figures
    from training.tables import write_table

    with explained():
        rows = _history(history)
        texts = [(str(row.get("title") or ""), str(row.get("body") or "")) for row in rows]
        linker = load_linker(model) if model else default_linker(texts)
        with bar("link", len(rows)) as advance:
            linked = link_history(rows, linker, lambda _done, _of: advance())
            count = write_table(out, (), linked, "jsonl")
        stderr.print(f"{count} complaints linked")
        if since:
            for name, value in replay_figures(rows, linker, _day(since).isoformat()).as_dict().items():
                print(f"{name}: {value}")


@history_commands.command("train-risk")
def train_risk(
    history: Annotated[
        Path, typer.Argument(help="jsonl, csv or xlsx: id, received_at, title, body, matter, headcount?")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the risk model.")],
    until: Annotated[str, typer.Option(help="Learn from what was known up to the end of this day.")],
) -> None:
    """Learn the risk of matters from a bureau's own outcomes."""
    from training.risk import train_risk as learn

    with explained():
        rows = _with_matters(_history(history))
        _day(until)
    with explained(), spinner() as progress:
        progress("learn")
        model = learn(rows, _day(until))
        version = f"risk-{until}"
        card = f"# Risk model {version}\n\nLearnt from {len(rows)} complaints. Risk belongs to matters, never people.\n"
        model.save(out, {"version": version}, card)
    stderr.print(f"written: {out}")


@history_commands.command()
def backtest(
    history: Annotated[
        Path, typer.Argument(help="jsonl, csv or xlsx: id, received_at, title, body, matter, headcount?")
    ],
    start: Annotated[str, typer.Option("--from", help="First meeting day.")],
    end: Annotated[str, typer.Option("--to", help="Last day.")],
    out: Annotated[Path, typer.Option(help="Where to write each day's full ranking, one jsonl line a matter.")],
    every: Annotated[str, typer.Option(help="Days between meetings.")] = "14d",
    horizon: Annotated[str, typer.Option(help="Days within which a matter must come back: 30d or 90d.")] = "30d",
    top: Annotated[int, typer.Option(help="Matters the meeting looks at.")] = 20,
    model: Annotated[Path | None, typer.Option(help="Risk model folder; the scorecard by default.")] = None,
) -> None:
    """Rank a history's matters on past meeting days and measure who was right, beside plain baselines."""
    from datetime import timedelta

    from training.backtest import backtest as run
    from training.tables import write_table
    from triage.risk import RiskModel

    with explained():
        learned = RiskModel.load(model) if model else None
        first, last = _day(start), _day(end)
        rows = _with_matters(_history(history))
    with explained(), spinner() as progress:
        progress("rank")
        result = run(rows, first, last, timedelta(days=_days(every)), _days(horizon), top, learned)
        write_table(out, (), result.rankings, "jsonl")
    for line in result.lines():
        print(line)


def _history(path: Path) -> list[dict[str, Any]]:
    from training.tables import BadRow, read_table

    rows = list(read_table(path))
    for row in rows:
        if isinstance(row, BadRow):
            stderr.print(f"line {row.line}: {row.reason} (left out)", markup=False)
    return [row.fields for row in rows if not isinstance(row, BadRow)]


def _with_matters(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, linked first where they do not all name their matter."""
    from training.linking import default_linker, link_history

    if all(row.get("matter") for row in rows):
        return rows
    stderr.print("not every row names its matter: linking the history first")
    linker = default_linker([(str(row.get("title") or ""), str(row.get("body") or "")) for row in rows])
    with bar("link", len(rows)) as advance:
        matters = {one["id"]: one["matter"] for one in link_history(rows, linker, lambda _done, _of: advance())}
    return [{**row, "matter": matters[str(row["id"])]} for row in rows]


def _day(value: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        fail(f"{value}: not a day; write it as 2026-05-31")


def _days(value: str) -> int:
    number = value.strip().removesuffix("d")
    if not number.isdigit() or not int(number):
        fail(f"{value}: not a number of days; write it as 14d")
    return int(number)

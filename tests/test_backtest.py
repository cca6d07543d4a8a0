from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from training.backtest import backtest

Row = dict[str, Any]


def row(matter: str, received_at: str) -> Row:
    return {
        "id": f"{matter}{received_at}",
        "received_at": received_at,
        "matter": matter,
        "title": "",
        "body": "食堂饭菜",
    }


HISTORY = [
    *(row("often", f"2031-01-0{day} 10:00:00") for day in (1, 3, 5)),
    *(row("twice", f"2031-01-{day} 10:00:00") for day in ("02", "10")),
    row("fresh", "2031-01-19 10:00:00"),
    row("quiet", "2031-01-04 10:00:00"),
    # Day 20 begins at midnight: what comes then is the future.
    row("twice", "2031-01-20 00:00:00"),
    row("new", "2031-01-21 10:00:00"),
    row("often", "2031-01-29 23:59:59"),
    row("fresh", "2031-01-30 00:00:00"),
]
DAY = date(2031, 1, 20)


def test_a_days_figures_are_those_worked_out_by_hand() -> None:
    found = backtest(HISTORY, DAY, DAY, horizon=10, top=2)
    assert [(one["rank"], one["day"]) for one in found.rankings] == [(n, "2031-01-20") for n in (1, 2, 3, 4)]
    assert {one["matter"] for one in found.rankings} == {"often", "twice", "fresh", "quiet"}
    assert set(found.rankings[0]) == {"day", "matter", "rank", "probability", "level", "reasons"}
    # Hits are often and twice. By number: often, twice, fresh, quiet; by recency: fresh, twice, often, quiet.
    figures = found.figures
    assert (figures["cases"], figures["hits"], figures["days"]) == (4, 2, ["2031-01-20"])
    plain = {"auc": 1.0, "average_precision": 1.0, "precision": 1.0, "recall": 1.0}
    assert figures["most_complaints"] == {**plain, "ece": None, "ece_equal_parts": None}
    recent = {"auc": 0.5, "average_precision": pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-4), "precision": 0.5}
    assert figures["most_recent"] == {**recent, "recall": 0.5, "ece": None, "ece_equal_parts": None}
    assert 0 < figures["risk"]["ece"] < 1
    assert found.lines()[-1].startswith("most_recent")


def test_figures_agree_with_scikit_learn() -> None:
    times = [datetime(2031, 1, 1) + timedelta(hours=37 * n * n % 1100) for n in range(90)]
    rows = [row(f"m{n * 7 % 31}", str(at)) for n, at in enumerate(times)]
    found = backtest(rows, DAY, DAY, horizon=9, top=5)
    until = datetime(2031, 1, 29)
    hits = {one["matter"] for one in rows if str(datetime(2031, 1, 20)) <= one["received_at"] < str(until)}
    truth = [one["matter"] in hits for one in found.rankings]
    scores = [-one["rank"] for one in found.rankings]
    assert found.figures["risk"]["auc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-4)
    assert found.figures["risk"]["average_precision"] == pytest.approx(average_precision_score(truth, scores), abs=1e-4)
    assert found.figures["risk"]["precision"] == sum(truth[:5]) / 5


def test_a_day_that_outlasts_the_history_is_ranked_but_not_measured() -> None:
    found = backtest(HISTORY, DAY, DAY + timedelta(days=7), timedelta(days=7), horizon=10)
    assert {one["day"] for one in found.rankings} == {"2031-01-20", "2031-01-27"}
    assert (found.figures["days"], found.figures["not_measured"]) == (["2031-01-20"], ["2031-01-27"])
    assert "2031-01-27" in found.lines()[1]


def test_a_ranking_does_not_know_what_comes_after_its_day() -> None:
    before = [one for one in HISTORY if one["received_at"] < "2031-01-20"]
    later = [row("often", "2031-02-20 08:00:00")]
    assert backtest(HISTORY, DAY, DAY).rankings == backtest(before + later, DAY, DAY).rankings


def test_a_period_without_days_is_refused() -> None:
    with pytest.raises(ValueError, match="no day in it"):
        backtest(HISTORY, DAY, DAY - timedelta(days=1))

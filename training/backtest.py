"""What the meeting would have read on past days, and how right it was, beside two plain rankings.

A matter is a hit on a day when it gets another complaint within the horizon. Each day knows what came before its
midnight; every matter with a complaint so far is ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import expected_calibration_error
from training.risk import PastComplaint, came_within, day_start, read_history, snapshots
from triage.risk import Assessment, RiskModel, scorecard
from triage.risk_features import Snapshot

BASELINES = ("most_complaints", "most_recent")
_PARTS = 10


@dataclass(frozen=True, slots=True)
class Backtest:
    """``rankings`` holds a dict a day and matter, ``figures`` those of the model and the baselines."""

    rankings: list[dict[str, Any]]
    figures: dict[str, Any]

    def lines(self) -> list[str]:
        """Return the figures for people, one ranking a line."""
        head = self.figures
        days, top = head["days"], head["top"]
        lines = [
            f"{len(days)} days, {head['cases']} matter-days, {head['hits']} came back within {head['horizon']} days",
            *(
                [f"not measured, the history ends too soon: {', '.join(late)}"]
                if (late := head["not_measured"])
                else []
            ),
            f"{'ranking':<16} {'AUC':>6} {'AP':>6} {f'P@{top}':>6} {f'R@{top}':>6} {'ECE':>6} {'ECE10':>6}",
        ]
        names = (*("auc", "average_precision", "precision", "recall"), *("ece", "ece_equal_parts"))
        for ranking in ("risk", *BASELINES):
            shown = [head[ranking][name] for name in names]
            lines.append(f"{ranking:<16} " + " ".join(f"{'-' if v is None else format(v, '.4f'):>6}" for v in shown))
        return lines


def backtest(
    rows: Iterable[Mapping[str, Any]],
    start: date,
    end: date,
    every: timedelta = timedelta(days=14),
    horizon: int = 30,
    top: int = 20,
    model: RiskModel | None = None,
) -> Backtest:
    """Return what ``model`` (the scorecard if None) would have ranked from ``start`` to ``end``, and how right it was.

    Figures are means over the days, calibration that of all days' matters together. A day whose horizon
    outlasts the history is ranked but not measured. Raises ValueError when no day lies in the period.
    """
    if every < timedelta(days=1) or start > end:
        raise ValueError(f"from {start} to {end} every {every}: no day in it; give days in order, a day or more apart")
    past = read_history(rows)
    model = model or scorecard()
    days = [start + n * every for n in range((end - start) // every + 1)]
    times: dict[str, list[Any]] = {}
    for one in past:
        times.setdefault(one.matter, []).append(one.complaint.at)
    rankings: list[dict[str, Any]] = []
    measured: list[str] = []
    results: list[dict[str, dict[str, float]]] = []
    said: list[float] = []
    true: list[bool] = []
    for day, snapshot in zip(days, snapshots(past, map(day_start, days)), strict=True):
        ranked = model.assess(snapshot, "repeat", horizon)
        rankings += [_row(day, rank, one) for rank, one in enumerate(ranked, 1)]
        until = snapshot.now + timedelta(days=horizon)
        if not ranked or not _covers(past, until):
            continue
        measured.append(day.isoformat())
        hits = {one.matter: came_within(times[one.matter], snapshot.now, until) for one in ranked}
        said += [one.probability for one in ranked]
        true += [hits[one.matter] for one in ranked]
        orders = {"risk": [one.matter for one in ranked], **_plain(snapshot)}
        results.append({name: _measure([hits[m] for m in order], top) for name, order in orders.items()})
    figures: dict[str, Any] = {
        "horizon": horizon,
        "top": top,
        "days": measured,
        "cases": len(true),
        "hits": sum(true),
        "not_measured": [day.isoformat() for day in days if day.isoformat() not in measured],
        **{name: _mean([one[name] for one in results]) for name in ("risk", *BASELINES)},
    }
    figures["risk"] |= _calibration(np.array(said), np.array(true, dtype=np.bool_))
    return Backtest(rankings, figures)


def _row(day: date, rank: int, one: Assessment) -> dict[str, Any]:
    return {
        "day": day.isoformat(),
        "matter": one.matter,
        "rank": rank,
        "probability": round(one.probability, 6),
        "level": one.level,
        "reasons": [reason.as_json() for reason in one.reasons],
    }


def _covers(past: Sequence[PastComplaint], until: Any) -> bool:
    """Return whether the history goes on to ``until``, a day's grace for one on which nothing came."""
    return bool(past) and past[-1].complaint.at >= until - timedelta(days=1)


def _plain(snapshot: Snapshot) -> dict[str, list[str]]:
    """Return the plain rankings; of equals the more recent matter comes first."""
    facts = dict(zip(snapshot.matters, snapshot.facts, strict=True))
    recent = sorted(snapshot.matters, key=lambda m: (facts[m].days_since_last, m))
    return {"most_complaints": sorted(recent, key=lambda m: -facts[m].complaints), "most_recent": recent}


def _measure(hits: Sequence[bool], top: int) -> dict[str, float]:
    """Return the figures of one day's ranking: of hits in order of rank."""
    hit = np.array(hits, dtype=np.bool_)
    positive, count = int(hit.sum()), len(hit)
    first = hit[:top]
    figures = {"precision": float(first.mean())}
    if positive and positive < count:
        places = np.flatnonzero(hit)
        figures["recall"] = float(first.sum() / positive)
        figures["average_precision"] = float((np.arange(1, positive + 1) / (places + 1)).mean())
        # Of each hit: the share of misses that rank below it.
        figures["auc"] = float(((count - positive) - (places - np.arange(positive))).mean() / (count - positive))
    return figures


def _mean(results: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    names = ("auc", "average_precision", "precision", "recall")
    values = {name: [one[name] for one in results if name in one] for name in names}
    means: dict[str, float | None] = {n: round(float(np.mean(v)), 4) if v else None for n, v in values.items()}
    return {**means, "ece": None, "ece_equal_parts": None}


def _calibration(said: NDArray[np.float64], true: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return ECE over bins of equal width, and over parts of equal size, which rare outcomes hide less from."""
    if not len(said):
        return {"ece": None, "ece_equal_parts": None}
    parts = np.array_split(np.argsort(said, kind="stable"), _PARTS)
    gaps = [len(part) * abs(float(said[part].mean() - true[part].mean())) for part in parts if len(part)]
    return {
        "ece": round(expected_calibration_error(said, true), 4),
        "ece_equal_parts": round(sum(gaps) / len(said), 4),
    }

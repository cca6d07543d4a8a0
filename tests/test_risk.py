from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifact import ArtifactError
from models.outcome import OutcomeModel, Watched, fit_outcome
from training.dataset import DatasetError
from training.risk import day_start, read_history, snapshots, train_risk
from triage.clock import ClockLimits, HandlingEvent
from triage.cues import load_cue_rules
from triage.risk import HORIZONS, OUTCOMES, SIGNS, Assessment, RiskLevels, RiskModel, scorecard
from triage.risk_features import FEATURES, Docket, Facts, Snapshot, read_complaint
from triage.taxonomy import load_taxonomy

Row = dict[str, Any]
START = datetime(2031, 3, 1, 9)
UNTIL = date(2031, 6, 30)
LIMITS = ClockLimits.of(load_taxonomy())
PROBLEMS = ("食堂饭菜变质", "操场跑道异味", "补课收费过高", "校车经常晚点", "宿舍漏水没人修", "作业太多睡得晚")


@cache
def history() -> tuple[Row, ...]:
    """Invented: some matters are stubborn, and those come back again and again."""
    chance = random.Random(7)
    rows: list[Row] = []
    for number in range(240):
        at = START + timedelta(days=chance.uniform(0, 150))
        stubborn = number % 6 == 0
        school = f"第{number}中学"
        while at < START + timedelta(days=180):
            text = f"{school}{chance.choice(PROBLEMS)},希望有关部门尽快处理"
            row = {"id": f"c{len(rows)}", "received_at": str(at)[:19], "title": text[:12], "body": text}
            rows.append({**row, "submitter": f"s{number % 40 + chance.randrange(3)}", "matter": f"m{number}"})
            if chance.random() > (0.85 if stubborn else 0.08):
                break
            at += timedelta(days=chance.expovariate(1 / 12))
    return tuple(sorted(rows, key=lambda row: row["received_at"]))


@cache
def learned() -> RiskModel:
    return train_risk(history(), UNTIL)


def stand(rows: list[Row], day: date = UNTIL) -> Snapshot:
    return next(snapshots(read_history(rows), [day_start(day)]))


def only(*complaints: Row, events: tuple[HandlingEvent, ...] = (), limits: ClockLimits | None = None) -> Facts:
    """Return the facts of one matter on UNTIL, each complaint given by what is not usual of it."""
    docket = Docket(limits)
    for number, given in enumerate(complaints):
        at = day_start(UNTIL) - timedelta(days=given.get("ago", 20 - number))
        body = given.get("body", "学校食堂饭菜变质,请处理")
        read = read_complaint(at, "", body, load_cue_rules(), people=given.get("people"), submitter=given.get("by"))
        docket.add("m", read)
    docket.add_events("m", events)
    return docket.measure(day_start(UNTIL)).facts[0]


def judge(facts: Facts, outcome: str = "repeat", horizon: int = 30, levels: RiskLevels | None = None) -> Assessment:
    snapshot = Snapshot(day_start(UNTIL), ("m",), (facts,), np.array([facts.values()]))
    return scorecard(levels).assess(snapshot, outcome, horizon)[0]


def test_what_comes_later_changes_nothing() -> None:
    cut = day_start(date(2031, 5, 16)).replace(tzinfo=None)
    before = [row for row in history() if row["received_at"] < str(cut)]
    later = [row for row in history() if row["received_at"] >= str(cut)]
    moved = [{**row, "received_at": str(cut + timedelta(hours=n)), "matter": "m0"} for n, row in enumerate(later)]
    changed = [{**row, "title": "诈骗", "body": "五百人集体上访", "submitter": "x"} for row in moved]
    models = [train_risk(rows, date(2031, 5, 15)) for rows in (before, before + later, before + changed)]
    known = [stand(rows, date(2031, 5, 16)) for rows in (before, before + later, before + changed)]
    for model, snapshot in zip(models[1:], known[1:], strict=True):
        assert snapshot.facts == known[0].facts
        assert model.assess(snapshot) == models[0].assess(known[0])


def test_a_submitter_counts_within_a_matter_only() -> None:
    apart = [{**row, "submitter": f"{row['matter']}/{row['submitter']}"} for row in history()]
    assert stand(apart).facts == stand(list(history())).facts


def test_contributions_add_up_to_the_probability() -> None:
    for model in (scorecard(), learned()):
        for one in model.assess(stand(list(history())))[:5]:
            hazard = np.exp(model.model("repeat", 30).level + sum(one.contributions.values()))
            assert one.probability == pytest.approx(1 - np.exp(-hazard))
            assert one.reasons[0].contribution == max(reason.contribution for reason in one.reasons)
            assert one.reasons[0].facts


def test_the_learned_model_is_right_about_the_stubborn_and_keeps_its_signs() -> None:
    model = learned()
    assert model.figures["repeat-30"]["weights_learned"]
    weights = model.models["repeat", 30].weights
    assert all(weight * SIGNS[name] >= 0 for weight, name in zip(weights, FEATURES, strict=True))
    ranked = model.assess(stand(list(history()), date(2031, 6, 10)))
    stubborn = [int(one.matter[1:]) % 6 == 0 for one in ranked]
    assert np.mean(stubborn[:15]) > 2 * np.mean(stubborn)
    # Too few matters turn collective here to learn weights from: the points stay.
    collective = model.models["collective", 30]
    assert ("collective", 30) not in model.learned
    assert (collective.weights == scorecard().models["collective", 30].weights).all()


def test_history_and_cues_raise_attention() -> None:
    plain = judge(only({"ago": 12})).probability
    thrice = judge(only({"ago": 40}, {"ago": 26}, {"ago": 12}))
    assert thrice.probability > 2 * plain
    assert thrice.reasons[0].facts == "已收到3件来件，最近一件在12天前，来自1名不同来信人，平均相隔14天"
    assert judge(only({"ago": 12, "body": "多次向教育局反映无果,再不处理就去北京上访"})).probability > plain
    assert judge(only({"ago": 12}), horizon=90).probability > plain
    # A horizon of its own lies between.
    assert plain < judge(only({"ago": 12}), horizon=60).probability < judge(only({"ago": 12}), horizon=90).probability


def test_danger_is_urgent_and_levels_are_settings() -> None:
    calm = only({"ago": 5})
    assert judge(calm).level == "关注"
    assert judge(calm, levels=RiskLevels(0.001, 0.9)).level == "重点"
    danger = only({"ago": 5, "body": "孩子被打后说要跳楼自杀,求救"})
    assert danger.fresh_danger
    assert judge(danger).level == "紧急"
    with pytest.raises(ValueError, match="ascend"):
        RiskLevels(0.5, 0.2)


def test_collective_once_turned_is_certain() -> None:
    five = judge(only(*({"by": f"s{n}"} for n in range(5))), "collective")
    assert (five.probability, five.reasons[0].facts) == (1.0, "已是集体件：5名不同来信人")
    assert judge(only({"people": 30}), "collective").probability == 1.0
    one, four = (judge(only(*({"by": f"s{n}"} for n in range(m))), "collective").probability for m in (1, 4))
    assert one < four < 1


def test_handling_known_by_then_counts_and_tells_what_is_owed() -> None:
    def event(kind: str, ago: int) -> HandlingEvent:
        return HandlingEvent(kind, day_start(UNTIL) - timedelta(days=ago))

    quiet = only({"ago": 100}, limits=LIMITS)
    late = judge(quiet)
    assert late.owed is not None
    assert "待受理" in late.owed
    assert "已超期" in late.owed
    handled = (event("accepted", 95), event("answered", 60))
    unhappy = only({"ago": 100}, {"ago": 20}, events=(*handled, event("unsatisfied", 55)), limits=LIMITS)
    assert unhappy.unsatisfied
    assert unhappy.back_after_answer
    happy = only({"ago": 100}, events=(*handled, event("satisfied", 55)), limits=LIMITS)
    assert happy.settled
    assert judge(happy).owed is None
    assert judge(happy).probability < judge(only({"ago": 100})).probability
    # What is entered for a day to come is not known yet.
    assert only({"ago": 100}, events=(event("accepted", -3),), limits=LIMITS) == quiet


def test_other_matters_at_the_institution_count() -> None:
    base = {"title": "", "body": "食堂饭菜变质", "received_at": "2031-06-20 08:00:00", "institution": "甲校"}
    facts = stand([{**base, "id": n, "matter": m} for n, m in enumerate(("a", "b", "b", "c"))]).facts
    assert [(one.institution_open, one.institution_recent) for one in facts] == [(2, 3), (2, 2), (2, 3)]


def test_saved_and_loaded_it_says_the_same(tmp_path: Path) -> None:
    model, snapshot = learned(), stand(list(history()))
    model.save(tmp_path / "risk", {"trained_on": "invented"}, "# risk")
    again = RiskModel.load(tmp_path / "risk")
    for outcome in OUTCOMES:
        for horizon in HORIZONS:
            assert again.assess(snapshot, outcome, horizon) == model.assess(snapshot, outcome, horizon)
    assert (again.learned, again.figures) == (model.learned, model.figures)
    (tmp_path / "risk" / "risk.json").write_text("{}")
    with pytest.raises(ArtifactError, match="altered"):
        RiskModel.load(tmp_path / "risk")


def test_bad_histories_are_refused_with_the_row() -> None:
    good = {**history()[0], "id": "c0"}
    with pytest.raises(DatasetError, match=r"row 1 \(c0\): no matter"):
        read_history([{**good, "matter": None}])
    with pytest.raises(DatasetError, match=r"row 2 .*received_at"):
        read_history([good, {**good, "received_at": "yesterday"}])
    with pytest.raises(DatasetError, match="40 are needed"):
        train_risk(history()[:30], UNTIL)
    docket = Docket()
    first, second = read_history(history()[:2])
    docket.add("m", second.complaint)
    with pytest.raises(ValueError, match="in order of time"):
        docket.add("m", first.complaint)
    with pytest.raises(ValueError, match="measure before adding"):
        docket.measure(first.complaint.at)
    assert Docket().measure(first.complaint.at).matters == ()


def test_a_hazard_is_learnt_from_cases_watched_for_less_than_the_span() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(6000, 2))
    days = rng.choice([8.0, 15.0, 30.0], 6000)
    hazard = np.exp(-2 + 0.8 * values[:, 0]) * (days / 30) ** 0.6
    happened = rng.random(6000) < 1 - np.exp(-hazard)
    prior = OutcomeModel(("told", "noise"), np.zeros(2), np.zeros(2), -1.0, 30)
    model = fit_outcome(Watched(values, days, happened), prior, (1, -1), 0.0001)
    assert model.weights == pytest.approx([0.8, 0], abs=0.12)
    whole = days == 30
    assert model.probabilities(values[whole]).mean() == pytest.approx(happened[whole].mean(), abs=0.02)

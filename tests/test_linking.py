from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.pairs import Background
from models.static import StaticEmbedding
from training.fit import load_embedding
from training.linking import (
    HistoryError,
    default_linker,
    fit_linker,
    link_history,
    load_linker,
    replay_figures,
    save_linker,
)
from triage.matters import BIAS, Complaint, Decision, Linker, MatterError, MatterIndex

CORPUS = Path(__file__).parents[1] / "training" / "corpus"
DAY = datetime(2024, 3, 4, 9)
CANTEEN = ("云溪区青禾小学食堂饭菜有异味", "青禾小学食堂这周三次端出发酸的米饭，孩子回家肚子疼，请查一查供餐公司。")
AGAIN = ("再次反映青禾小学食堂饭菜有异味", "上周反映过青禾小学食堂米饭发酸，供餐公司没有换，今天又有孩子肚子疼。")
OTHER_SCHOOL = (
    "松岭区柏杨小学食堂饭菜有异味",
    "柏杨小学食堂这周三次端出发酸的米饭，孩子回家肚子疼，请查一查供餐公司。",
)
SAME_SCHOOL = ("青禾小学门口没有斑马线", "青禾小学门口车多，放学时孩子过马路危险，希望交警划一条斑马线。")
BUS = ("希望延长16路公交末班车", "晚自习后16路公交已经收班，住在北湖的学生只能打车回家。")


@pytest.fixture(scope="module")
def embedding() -> StaticEmbedding:
    return load_embedding()


@pytest.fixture(scope="module")
def linker(embedding: StaticEmbedding) -> Linker:
    lines = (CORPUS / "texts-01.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return default_linker([(row.get("title") or "", row["body"]) for row in rows], embedding)


@pytest.fixture
def index(linker: Linker, embedding: StaticEmbedding) -> MatterIndex:
    index = MatterIndex(linker, embedding)
    index.add(complaint("c1", CANTEEN, school="青禾小学"), "M-c1")
    index.add(complaint("c2", BUS), "M-c2")
    return index


def complaint(name: str, text: tuple[str, str], day: int = 0, school: str | None = None, **more: Any) -> Complaint:
    institutions = (school,) if school else ()
    return Complaint(name, DAY + timedelta(days=day), *text, institutions=institutions, **more)


def test_the_first_complaint_of_all_opens_a_matter(linker: Linker, embedding: StaticEmbedding) -> None:
    assert MatterIndex(linker, embedding).assign(complaint("c1", CANTEEN)) == Decision("new", None, None)


def test_an_obvious_repeat_is_attached_and_shows_why(index: MatterIndex) -> None:
    decision = index.assign(complaint("c3", AGAIN, day=7, school="青禾小学"))
    assert (decision.kind, decision.matter, decision.like) == ("attach", "M-c1", "c1")
    assert "青禾小学食堂" in decision.passage
    assert "+3.0 same institution" in map(str, decision.contributions)


def test_the_same_words_about_another_school_are_not_attached(index: MatterIndex) -> None:
    decision = index.assign(complaint("c3", OTHER_SCHOOL, day=1, school="柏杨小学"))
    assert decision.kind != "attach"
    assert any(step.name == "other_institution" and step.value < 0 for step in decision.contributions)


def test_another_problem_at_the_same_school_opens_a_matter(index: MatterIndex) -> None:
    assert index.assign(complaint("c3", SAME_SCHOOL, day=1, school="青禾小学")).kind == "new"


def test_between_the_thresholds_it_is_suggested(linker: Linker, embedding: StaticEmbedding) -> None:
    again = complaint("c3", AGAIN, day=7, school="青禾小学")
    kinds = []
    for attach_from in (-20.0, 20.0):
        index = MatterIndex(replace(linker, attach_from=attach_from, suggest_from=-20.0), embedding)
        index.add(complaint("c1", CANTEEN, school="青禾小学"), "M-c1")
        kinds.append(index.assign(again).kind)
    assert kinds == ["attach", "suggest"]


def test_the_waterfall_sums_to_the_score(index: MatterIndex) -> None:
    decision = index.assign(
        complaint("c3", AGAIN, day=7, school="青禾小学", submitter="s1", topic="safety", repeat=True)
    )
    assert decision.contributions[-1].name == BIAS
    assert sum(step.value for step in decision.contributions) == pytest.approx(decision.score)


def test_assigning_changes_nothing(index: MatterIndex) -> None:
    again = complaint("c3", AGAIN, day=7)
    assert index.assign(again) == index.assign(again)
    assert len(index) == 2


def test_merge_and_split_undo_each_other_and_steer_what_comes_next(index: MatterIndex) -> None:
    index.merge("M-c2", "M-c1")
    assert index.members("M-c2") == ("c1", "c2")
    assert index.assign(complaint("c3", AGAIN, day=7, school="青禾小学")).matter == "M-c2"
    with pytest.raises(MatterError, match="no matter 'M-c1'"):
        index.members("M-c1")
    index.split("M-c2", ["c1"], into="M-c1")
    assert (index.members("M-c1"), index.members("M-c2")) == (("c1",), ("c2",))
    assert index.assign(complaint("c3", AGAIN, day=7, school="青禾小学")).matter == "M-c1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.merge("M-c1", "M-c1"), "with itself"),
        (lambda index: index.merge("M-c1", "M-c9"), "no matter 'M-c9'"),
        (lambda index: index.split("M-c1", ["c2"], "M-new"), "c2 are not in matter"),
        (lambda index: index.split("M-c1", ["c1"], "M-new"), "leave one"),
        (lambda index: index.add(complaint("c1", BUS), "M-c2"), "in matter 'M-c1' already"),
        (lambda index: index.matter_of("c9"), "add it first"),
    ],
)
def test_impossible_changes_are_refused_and_change_nothing(index: MatterIndex, change: Any, message: str) -> None:
    with pytest.raises(MatterError, match=message):
        change(index)
    assert (index.members("M-c1"), index.members("M-c2")) == (("c1",), ("c2",))


@pytest.mark.parametrize(
    "text", [("", "吵"), ("x", "?"), ("", "😀" * 40), ("标题", "……"), ("", "长" * 20_000), ("\ud800", "孤")]
)
def test_odd_texts_are_read(index: MatterIndex, text: tuple[str, str]) -> None:
    index.add(complaint("c3", text), "M-c3")
    assert index.assign(complaint("c4", text)).kind in ("attach", "suggest", "new")


def rows() -> list[dict[str, Any]]:
    day = [CANTEEN, BUS, OTHER_SCHOOL, SAME_SCHOOL, AGAIN]
    matters = ["m1", "m2", "m3", "m4", "m1"]
    schools: list[list[str]] = [["青禾小学"], [], ["柏杨小学"], ["青禾小学"], ["青禾小学"]]
    return [
        {
            "id": f"c{i}",
            "received_at": f"2024-03-04 {9 + i:02}:00:00",
            "submitter": f"hash{i % 2}",
            "title": title,
            "body": body,
            "matter": matter,
            "institutions": school,
        }
        for i, ((title, body), matter, school) in enumerate(zip(day, matters, schools, strict=True))
    ]


def test_a_history_is_linked_whatever_its_order_within_a_day(linker: Linker, embedding: StaticEmbedding) -> None:
    def together(history: list[dict[str, Any]]) -> set[frozenset[str]]:
        linked = list(link_history(history, linker, embedding=embedding))
        return {frozenset(o["id"] for o in linked if o["matter"] == one["matter"]) for one in linked}

    times = [row["received_at"] for row in rows()]
    backwards = [row | {"received_at": at} for row, at in zip(reversed(rows()), times, strict=True)]
    assert together(rows()) == together(backwards) >= {frozenset({"c0", "c4"})}


def test_no_submitter_is_given_out(linker: Linker, embedding: StaticEmbedding) -> None:
    linked = list(link_history(rows(), linker, embedding=embedding))
    assert [set(one) for one in linked] == [{"id", "matter", "decision", "score", "suggested", "reasons"}] * 5
    assert "hash" not in json.dumps(linked)
    assert "s1" not in repr(complaint("c3", BUS, submitter="s1"))


def test_figures_count_a_right_link_and_every_other_as_it_is(linker: Linker, embedding: StaticEmbedding) -> None:
    never = replace(linker, attach_from=50.0, suggest_from=50.0)
    assert replay_figures(rows(), never, "2024-01-01", embedding).attach_f1 == 0
    always = replay_figures(rows(), replace(linker, attach_from=-50.0, suggest_from=-50.0), "2024-01-01", embedding)
    assert (always.complaints, always.repeats, always.precision, always.recall) == (5, 1, 0.25, 1.0)


def test_a_linker_is_learnt_and_survives_its_folder(tmp_path: Path, embedding: StaticEmbedding) -> None:
    places = [f"{first}{second}{tree}园" for first in "东南西北中" for second in "山湖河江岭桥" for tree in "松柏"]
    troubles = ("停水", "停电", "漏雨")
    history = [
        {
            "id": f"c{i}-{again}",
            "received_at": (DAY + timedelta(days=i + 2 * again)).isoformat(),
            "title": f"{place}小区{troubles[i % 3]}没人管",
            "body": f"{'又一次' * again}{place}小区{troubles[i % 3]}已经{i % 7 + 2}天。",
            "matter": f"m{i}",
        }
        for i, place in enumerate(places)
        for again in range(2)
    ]
    learnt = fit_linker(history, embedding=embedding)
    assert learnt.suggest_from <= learnt.attach_from
    assert replay_figures(history, learnt, "2024-04-01", embedding).attach_f1 > 0.9
    save_linker(tmp_path / "linker", learnt, {"version": "t"}, "# card\n")
    loaded = load_linker(tmp_path / "linker")
    assert (loaded.scorer, loaded.attach_from, loaded.suggest_from) == (
        learnt.scorer,
        learnt.attach_from,
        learnt.suggest_from,
    )
    with pytest.raises(HistoryError, match="at least 50"):
        fit_linker(history[:60], embedding=embedding)


def test_the_background_survives_packing_where_it_counts(linker: Linker) -> None:
    kept = Background.from_arrays(linker.background.arrays())
    assert kept.texts == linker.background.texts
    assert (kept.counts[linker.background.counts > 1] == linker.background.counts[linker.background.counts > 1]).all()
    assert kept.counts.min() == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "c1", "body": "文"}, "row c1: received_at: missing"),
        ({"id": "c1", "body": "文", "received_at": "昨天"}, "row c1: received_at: '昨天'"),
    ],
)
def test_a_bad_row_is_named(linker: Linker, row: dict[str, Any], message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        list(link_history([row], linker))

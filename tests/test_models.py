"""Learned parts: they learn, calibrate, explain, and refuse what was altered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import ArtifactError, pack_arrays, read_artifact, write_artifact
from models.calibration import expected_calibration_error, fit_temperature, softmax, threshold_for_precision
from models.clauses import ClauseModel, clause_spans
from models.features import FeatureSettings, TextFeatures
from models.linear import LinearTextModel, Target
from models.ngrams import NgramVocabulary, fold
from models.static import StaticEmbedding

FOOD = [f"食堂第{i}周的饭菜又冷又贵,孩子吃不饱" for i in range(20)]
BUS = [f"校车第{i}趟超载,刹车还不灵,太危险" for i in range(20)]


def labels(*names: str, each: int) -> list[frozenset[str]]:
    return [frozenset({name}) for name in names for _ in range(each)]


@pytest.fixture(scope="module")
def model() -> LinearTextModel:
    kinds = Target("kind", labels("food", "bus", each=20))
    also = Target("also", [frozenset({"price"})] * 20 + [frozenset({"danger", "price"})] * 20, exclusive=False)
    return LinearTextModel.fit([*FOOD, *BUS], [kinds, also])


def test_a_linear_model_learns_and_its_probabilities_sum_to_one(model: LinearTextModel) -> None:
    prediction = model.predict("校车超载危险")
    assert model.heads["kind"].classes[int(prediction.probabilities["kind"].argmax())] == "bus"
    assert prediction.probabilities["kind"].sum() == pytest.approx(1)
    assert prediction.probabilities["also"].shape == (2,)


def test_the_evidence_for_a_class_is_words_of_that_class(model: LinearTextModel) -> None:
    text = "天气很好,校车超载,大家都看见了"
    [spans] = model.evidence(model.predict(text), [("kind", "bus")], len(text))
    assert spans
    assert "校车" in text[spans[0].start : spans[0].end] or "超载" in text[spans[0].start : spans[0].end]


@given(st.text(max_size=300).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)))
def test_any_text_gets_finite_probabilities_and_evidence_within_it(model: LinearTextModel, text: str) -> None:
    prediction = model.predict(text)
    assert all(np.isfinite(p).all() for p in prediction.probabilities.values())
    for span in model.evidence(prediction, [("kind", "food")], len(text))[0]:
        assert 0 <= span.start < span.end <= len(text)


def test_a_saved_model_says_the_same_and_the_same_data_give_the_same_bytes(
    model: LinearTextModel, tmp_path: Path
) -> None:
    model.save(tmp_path / "m", {"version": "1"}, "card")
    loaded = LinearTextModel.load(tmp_path / "m")
    for text in (FOOD[3], BUS[4], "别的事"):
        assert loaded.predict(text).probabilities["kind"] == pytest.approx(
            model.predict(text).probabilities["kind"], abs=0.02
        )
    assert model.files() == model.files()


@pytest.mark.parametrize("name", ["weights.npz", "features.npz", "card.md", "model.json"])
def test_an_altered_model_is_refused(model: LinearTextModel, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / "m", {"version": "1"}, "card")
    data = bytearray((tmp_path / "m" / name).read_bytes())
    place = data.index(b"version") + 11 if name == "model.json" else len(data) // 2
    data[place] ^= 1
    (tmp_path / "m" / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=r"altered|not valid JSON"):
        LinearTextModel.load(tmp_path / "m")


def test_a_missing_file_another_kind_and_a_second_write_are_refused(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", {"kind": "x"}, {"one.npz": pack_arrays({"a": np.arange(3)})}, "card")
    with pytest.raises(ArtifactError, match="exists already"):
        write_artifact(tmp_path / "a", {"kind": "x"}, {}, "card")
    with pytest.raises(ArtifactError, match="'x'"):
        read_artifact(tmp_path / "a", "y")
    (tmp_path / "a" / "one.npz").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        read_artifact(tmp_path / "a", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_pickle_in_an_array_file_is_never_loaded(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a", {"kind": "x"}, {}, "card")
    np.savez(tmp_path / "bad.npz", a=np.array([{"evil": 1}], dtype=object))
    write_artifact(tmp_path / "b", {"kind": "x"}, {"a.npz": (tmp_path / "bad.npz").read_bytes()}, "card")
    with pytest.raises(ValueError, match="allow_pickle"):
        read_artifact(tmp_path / "b", "x").arrays("a.npz")


def test_labels_that_cannot_be_learnt_are_refused() -> None:
    with pytest.raises(ValueError, match="two different labels"):
        LinearTextModel.fit(["甲", "乙"], [Target("t", labels("a", each=2))])
    with pytest.raises(ValueError, match="exactly one"):
        LinearTextModel.fit(["甲", "乙"], [Target("t", [frozenset(), frozenset({"a"})])])


@given(
    st.lists(st.text("甲乙丙丁ab0", min_size=1, max_size=6), min_size=1, max_size=8),
    st.text("甲乙丙丁ab0戊", max_size=20),
)
def test_the_ngram_table_finds_exactly_the_known_ngrams(known: Sequence[str], text: str) -> None:
    vocabulary = NgramVocabulary.fit([fold(one) for one in known], 1, 3, 1)
    grams = {one[i : i + n] for one in known for n in (1, 2, 3) for i in range(len(one) - n + 1)}
    ids, starts, lengths = vocabulary.find(fold(text))
    found = sorted((int(s), int(n)) for s, n in zip(starts, lengths, strict=True))
    wanted = sorted(
        (i, n) for n in (1, 2, 3) for i in range(len(text) - n + 1) if fold(text[i : i + n]) in map(fold, grams)
    )
    assert found == wanted
    assert ((ids >= 0) & (ids < len(vocabulary))).all()


def test_static_vectors_survive_quantising_and_storing() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 16)).astype(np.float32)
    table = StaticEmbedding.quantise([f"词{i}" for i in range(50)], vectors, np.ones(50, np.float32))
    again = StaticEmbedding.from_arrays(table.arrays())
    mean = vectors[:2].sum(axis=0)
    close = again.encode(["词0", "词1", "不认识"])
    assert close @ (mean / np.linalg.norm(mean)) > 0.97
    assert not again.encode(["不认识"]).any()


def test_temperature_mends_overconfidence() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 600)
    scores = rng.normal(size=(600, 3)) + 1.2 * np.eye(3)[truth]
    sure = scores * 5
    temperature = fit_temperature(sure, truth)

    def error(t: float) -> float:
        p = softmax(sure, t)
        return expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == truth)

    assert error(temperature) < 0.06 < error(1.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_part_above_the_review_threshold_is_as_precise_as_promised(
    answers: list[tuple[float, bool]], precision: float
) -> None:
    # Ties in confidence cannot be told apart by any threshold.
    answers = list(dict(answers).items())
    confidence = np.array([c for c, _ in answers])
    right = np.array([r for _, r in answers])
    automatic = confidence >= threshold_for_precision(confidence, right, precision)
    assert not automatic.any() or right[automatic].mean() >= precision


def test_clauses_that_show_a_label_score_highest() -> None:
    texts = [f"学校第{i}次收费,我多次向教育局反映,没有结果" for i in range(15)] + [
        f"学校第{i}次收费,价格太贵" for i in range(15)
    ]
    spans = [{"repeat": [(text.index("多次"), len(text))]} if "多次" in text else {} for text in texts]
    features = TextFeatures(FeatureSettings()).fit(texts)
    model = ClauseModel.fit(features, texts, spans, ["repeat"])
    text = "饭菜很贵,我多次向教育局反映,孩子饿"
    clauses, scores = model.scores(text, features.transform(text))
    assert clauses == clause_spans(text)
    assert int(scores[:, 0].argmax()) == 1
    assert scores[1, 0] > 0 > scores[0, 0]


def test_a_manifest_records_digests_of_every_file(model: LinearTextModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m", {"version": "1"}, "card")
    manifest = json.loads((tmp_path / "m" / "model.json").read_text())
    assert set(manifest["files"]) == {"weights.npz", "features.npz", "card.md"}
    assert manifest["version"] == "1"

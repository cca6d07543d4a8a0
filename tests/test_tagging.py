"""The shipped tagger on texts of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact import ArtifactError
from training.corpus_health import bundled_corpus
from triage.tagging import Tagger, Tags, bundled_model
from triage.text import TextError

LETTER = (
    "关于云栖区梧桐小学强制收取课后服务费的投诉",
    "我是梧桐小学三年级学生家长王小明，电话13812345678。学校要求每人交六百元，不交就不让参加。"
    "去年我们就向区教育局反映过，至今没有答复。全班四十六名家长联名要求退费，再不解决我们就去信访局上访。",
)


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger.load()


@pytest.fixture(scope="module")
def tags(tagger: Tagger) -> Tags:
    return tagger.tag(LETTER[1], LETTER[0])


def every_span(tags: Tags) -> list[tuple[int, int, str]]:
    scored = [*tags.topics, tags.purpose]
    spans = [span for one in scored for span in one.evidence]
    return [(span.start, span.end, span.text) for span in (*spans, *tags.cues, *tags.institutions)]


def test_a_letter_gets_topic_purpose_cues_headcount_and_institution(tags: Tags) -> None:
    assert tags.topic == "fees"
    assert {cue.kind for cue in tags.cues} >= {"repeat", "collective", "escalation"}
    assert tags.headcount == 46
    assert tags.institutions[0].text == "云栖区梧桐小学"
    assert not tags.danger


def test_every_tag_shows_words_of_the_text_as_received(tags: Tags) -> None:
    whole = "\n".join(LETTER)
    spans = every_span(tags)
    assert tags.topics[0].evidence
    assert all(whole[start:end] == text for start, end, text in spans)


def test_personal_data_is_located_and_never_evidence(tags: Tags) -> None:
    whole = "\n".join(LETTER)
    assert {"name", "phone"} <= {found.kind for found in tags.personal_data}
    evidence = [span.text for one in (*tags.topics, tags.purpose) for span in one.evidence]
    for found in tags.personal_data:
        assert all(whole[found.start : found.end] not in text for text in evidence)


def test_probabilities_are_probabilities_and_the_primary_topic_leads(tags: Tags) -> None:
    assert tags.topics[0].code == tags.topic
    assert all(0 <= one.probability <= 1 for one in (*tags.topics, tags.purpose))
    assert len({one.code for one in tags.topics}) == len(tags.topics) <= 3


def test_an_accusation_is_confidential(tagger: Tagger) -> None:
    tags = tagger.tag("举报临溪县教育局长收受贿赂，挪用学校修缮经费，请纪委查处。")
    assert tags.purpose.code == "accuse"
    assert tags.confidential


def test_a_person_in_danger_is_marked_whatever_the_topic(tagger: Tagger) -> None:
    tags = tagger.tag("孩子在学校被欺负，昨晚写了遗书说不想活了，求求你们救救她")
    assert tags.danger
    assert any(cue.kind == "danger" for cue in tags.cues)


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200b", "字" * 20_001])
def test_texts_that_cannot_be_read_are_refused_with_a_remedy(tagger: Tagger, text: str) -> None:
    with pytest.raises(TextError, match=r"text: .*(send|shorten)"):
        tagger.tag(text)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "。",
        "\x00字",
        "字\ud800",
        "😀" * 500,
        "\u202e\u202d投诉学校",
        "投诉" * 10_000,
        "1" * 20_000,
        "<b>" * 5000 + "字",
    ],
)
def test_hostile_texts_get_a_sound_answer(tagger: Tagger, text: str) -> None:
    tags = tagger.tag(text)
    json.dumps(tags.as_dict(), ensure_ascii=False).encode("utf-8", "replace")
    assert all(text[start:end] == shown for start, end, shown in every_span(tags))


words = st.sampled_from(
    [
        "投诉",
        "学校",
        "多次向教育局反映",
        "我们全体家长",
        "13812345678",
        "梧桐小学",
        "上访",
        "，",
        "。",
        "\n",
        "<br>",
        "１２",
        "學費",
    ]
)
texts = st.lists(st.one_of(words, st.text(max_size=8)), min_size=1, max_size=30).map("".join)


@settings(max_examples=60)
@given(texts)
def test_offsets_always_point_at_the_text_they_name(tagger: Tagger, text: str) -> None:
    try:
        tags = tagger.tag(text)
    except TextError:
        return
    assert all(text[start:end] == shown for start, end, shown in every_span(tags))


def test_the_shipped_model_was_learnt_from_the_bundled_corpus_as_it_is() -> None:
    from training.dataset import load_dataset

    manifest = json.loads((bundled_model() / "model.json").read_text())
    assert manifest["trained_on"]["data"] == load_dataset([bundled_corpus()]).fingerprint


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="triage train"):
        Tagger.load(tmp_path)

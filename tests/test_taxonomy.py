from __future__ import annotations

import csv
import hashlib
from dataclasses import FrozenInstanceError
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest

from triage.configuration import ConfigurationError
from triage.taxonomy import Subtopic, load_taxonomy

BUNDLED = (resources.files("triage") / "taxonomy.yaml").read_text(encoding="utf-8")
OFFICIAL_TOPICS = Path(__file__).parents[2] / "shared" / "data" / "official_topics.csv"
TOPICS = (
    "fees",
    "teacher_pay",
    "teacher_staffing",
    "conduct",
    "admissions",
    "off_campus",
    "safety",
    "workload",
    "provision",
    "student_aid",
    "records_exams",
    "internship",
    "governance",
    "other_edu",
    "not_edu",
)
TINY = """\
version: 1
topics:
  - code: not_edu
    name: 非教育事项
    description: 转送
    office: 转送有权处理机关
    children: []
purposes:
  - {code: accuse, name: 检举控告, description: 举报, confidential: true}
  - {code: request, name: 申诉求决, description: 求决, confidential: false}
channels:
  - {code: web, name: 网}
limits: []
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> tuple[int, str, str]:
    """The line, the field and the rest of the message with which the file is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load_taxonomy(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    line, field, rest = message.removeprefix(f"{path}:").split(": ", 2)
    assert "; " in rest, "the message ends with a remedy"
    return int(line), field, rest


def test_bundled_taxonomy_has_the_fifteen_topics_in_order() -> None:
    assert load_taxonomy().topic_codes == TOPICS


def test_every_bundled_topic_names_its_office_and_is_divided() -> None:
    for topic in load_taxonomy().topics:
        assert topic.office
        assert 4 <= len(topic.children) <= 10
        assert all(child.official for child in topic.children)


def test_topics_purposes_and_limits_are_found_by_code() -> None:
    taxonomy = load_taxonomy()
    assert taxonomy.topic("fees").name == "教育收费"
    assert taxonomy.purpose("request").name == "申诉求决"
    assert taxonomy.limit("answer").days == 60
    for find in (taxonomy.topic, taxonomy.purpose, taxonomy.limit):
        with pytest.raises(KeyError, match="nowhere"):
            find("nowhere")


def test_only_accusations_are_confidential() -> None:
    assert [purpose.code for purpose in load_taxonomy().purposes if purpose.confidential] == ["accuse"]


def test_channels_are_those_of_the_petition_system() -> None:
    assert [channel.name for channel in load_taxonomy().channels] == ["信", "访", "网", "电", "转送", "交办"]


def test_limits_are_those_of_the_regulation() -> None:
    limits = {limit.code: (limit.days, limit.start) for limit in load_taxonomy().limits}
    assert limits == {
        "accept": (15, "received"),
        "accept_transferred": (15, "received"),
        "transfer": (15, "received"),
        "answer": (60, "accepted"),
        "extension": (30, "answer_due"),
        "review_request": (30, "answered"),
        "review": (30, "review_requested"),
        "recheck_request": (30, "reviewed"),
        "recheck": (30, "recheck_requested"),
    }
    assert all("信访工作条例" in limit.source for limit in load_taxonomy().limits)


def test_fingerprint_is_the_digest_of_the_bytes_read(tmp_path: Path) -> None:
    path = write(tmp_path, BUNDLED)
    assert load_taxonomy(path).fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + b"\n")
    assert load_taxonomy(path).fingerprint != load_taxonomy().fingerprint


def test_a_loaded_taxonomy_cannot_be_changed() -> None:
    taxonomy = load_taxonomy()
    with pytest.raises(FrozenInstanceError):
        taxonomy.topic("fees").name = "收费"  # type: ignore[misc]


def test_a_bureaus_own_topic_loads(tmp_path: Path) -> None:
    own = """\
  - code: own_topic
    name: 老年教育
    description: 老年大学
    office: 职业与成人教育科
    children:
      - {code: own_topic.places, name: 学位, description: 名额, official: [教育文体/其他/其他]}

purposes:
"""
    taxonomy = load_taxonomy(write(tmp_path, BUNDLED.replace("\npurposes:\n", "\n" + own, 1)))
    assert taxonomy.topic_codes == (*TOPICS, "own_topic")
    assert taxonomy.topic("own_topic").children == (
        Subtopic("own_topic.places", "学位", "名额", ("教育文体/其他/其他",)),
    )


def test_a_small_bureaus_taxonomy_loads_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    for text in (TINY, "\ufeff" + TINY, TINY.replace("\n", "\r\n")):
        assert load_taxonomy(write(tmp_path, text)).topic_codes == ("not_edu",)


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_taxonomy(tmp_path / "none.yaml")


class Mistake(NamedTuple):
    """An edit of the bundled text and the refusal it earns, at the edited line unless ``line_of`` shows another."""

    what: str
    old: str
    new: str
    field: str
    says: str
    line_of: str = ""


FEES_NAME = "    name: 教育收费\n"
TUITION = "      - code: fees.tuition\n        name: 学费与保教费\n"
MISTAKES = [
    Mistake("unknown key", FEES_NAME, FEES_NAME + "    colour: 红\n", "topics[0].colour", "unknown key", "colour"),
    Mistake("unknown root key", "version: 1", "version: 1\ncolour: 红", "colour", "unknown key", "colour"),
    Mistake("merge key", FEES_NAME, FEES_NAME + "    <<: {}\n", "topics[0].<<", "unknown key", "<<"),
    Mistake("missing key", "    office: 财务科\n", "", "topics[0].office", "missing", "- code: fees\n"),
    Mistake("missing root key", "version: 1\n", "", "version", "missing", "topics:"),
    Mistake("key twice", FEES_NAME, FEES_NAME + "    name: 收费\n", "topics[0].name", "given twice", "name: 收费"),
    Mistake("number as name", "name: 教育收费", "name: 12", "topics[0].name", "12 is not text", "name: 12"),
    Mistake("yes as code", "code: fees\n", "code: yes\n", "topics[0].code", "yes is not a code", "code: yes"),
    Mistake(
        "list as name", "name: 教育收费", "name: [收费]", "topics[0].name", "list or mapping is not text", "name: ["
    ),
    Mistake("empty name", "name: 教育收费", "name:", "topics[0].name", "is empty", "name:"),
    Mistake("blank name", "name: 教育收费", 'name: "  "', "topics[0].name", "is empty", "name:"),
    Mistake("text as version", "version: 1", "version: 一", "version", "not a whole number", "version"),
    Mistake(
        "text as list", "[教育文体/教育收费/收费标准]", "收费", "topics[0].children[0].official", "list", "official"
    ),
    Mistake("text as entry", TUITION, "      - 学费\n" + TUITION, "topics[0].children[0]", "not a mapping", "- 学费"),
    Mistake(
        "text as flag", "confidential: true", "confidential: 是", "purposes[1].confidential", "true or false", "是\n"
    ),
    Mistake("open accuse", "confidential: true", "confidential: false", "purposes[1].confidential", "not confid"),
    Mistake("same topic twice", "- code: teacher_pay\n", "- code: fees\n", "topics[1].code", "already used"),
    Mistake("same child twice", "fees.service", "fees.tuition", "topics[0].children[1].code", "already used"),
    Mistake("same channel twice", "code: visit", "code: letter", "channels[1].code", "already used"),
    Mistake("capital in code", "code: fees\n", "code: Fees\n", "topics[0].code", "Fees is not a code", "Fees"),
    Mistake("dot in topic", "code: fees\n", "code: fees.all\n", "topics[0].code", "is not a code", "fees.all"),
    Mistake("foreign child", "fees.tuition", "safety.tuition", "topics[0].children[0].code", "is not fees."),
    Mistake("bare child", "fees.tuition", "tuition", "topics[0].children[0].code", "is not fees."),
    Mistake("deep child", "fees.tuition", "fees.a.b", "topics[0].children[0].code", "is not fees."),
    Mistake("short path", "/收费标准]", "]", "topics[0].children[0].official[0]", "three parts"),
    Mistake("long path", "/收费标准]", "/收费标准/高]", "topics[0].children[0].official[0]", "three parts"),
    Mistake("gap in path", "/教育收费/收费", "//收费", "topics[0].children[0].official[0]", "three parts"),
    Mistake("zero days", "days: 60", "days: 0", "limits[3].days", "not a whole number"),
    Mistake("negative days", "days: 60", "days: -60", "limits[3].days", "not a whole number"),
    Mistake("half days", "days: 60", "days: 1.5", "limits[3].days", "not a whole number"),
    Mistake("octal days", "days: 60", "days: 060", "limits[3].days", "not a whole number"),
    Mistake("quoted days", "days: 60", 'days: "60"', "limits[3].days", "not a whole number"),
    Mistake("unknown start", "from: accepted", "from: someday", "limits[3].from", "someday is not one of"),
    Mistake("no not_edu", "- code: not_edu\n", "- code: elsewhere\n", "topics", "not_edu is missing", "topics:"),
    Mistake("no accuse", "- code: accuse\n", "- code: report\n", "purposes", "accuse is missing", "purposes:"),
    Mistake("unclosed quote", "name: 教育收费", 'name: "教育收费', "file", "not valid YAML"),
    Mistake("unclosed bracket", "收费标准]\n", "收费标准\n", "file", "not valid YAML", "fees.service"),
    Mistake("tab", FEES_NAME, "\tname: 教育收费\n", "file", "not valid YAML", "\tname"),
    Mistake("lost colon", FEES_NAME, "    name 教育收费\n", "file", "not valid YAML", "    name 教"),
    Mistake("second document", "\npurposes:", "\n---\npurposes:", "file", "not valid YAML", "---"),
    Mistake("control character", "name: 教育收费", "name: 教育\x00收费", "file", "control character"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_is_refused_with_its_line_and_field(mistake: Mistake, tmp_path: Path) -> None:
    assert mistake.old in BUNDLED
    edited = BUNDLED.replace(mistake.old, mistake.new, 1)
    at = edited.index(mistake.line_of) if mistake.line_of else BUNDLED.index(mistake.old)
    line, field, rest = refusal(write(tmp_path, edited))
    assert (line, field) == (edited.count("\n", 0, at) + 1, mistake.field)
    assert mistake.says in rest


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", (1, "file")),
        ("# nothing\n", (1, "file")),
        ("- 1\n", (1, "file")),
        (TINY[: TINY.index("topics")] + "topics: []\n" + TINY[TINY.index("purposes") :], (2, "topics")),
        ("\n".join(line for line in TINY.split("\n") if "request" not in line), (8, "purposes")),
    ],
    ids=["empty file", "only a comment", "a list", "no topic at all", "one purpose"],
)
def test_a_file_without_the_essentials_is_refused(text: str, where: tuple[int, str], tmp_path: Path) -> None:
    assert refusal(write(tmp_path, text))[:2] == where


def test_a_file_in_another_encoding_is_refused_at_its_first_foreign_line(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(TINY.encode("gb18030"))
    assert refusal(path) == (4, "file", "is not UTF-8; correct this line or restore the bundled file")


@pytest.mark.skipif(not OFFICIAL_TOPICS.exists(), reason="the national classification is not beside the repository")
class TestAgainstTheNationalClassification:
    @pytest.fixture
    def national(self) -> set[str]:
        with OFFICIAL_TOPICS.open(encoding="utf-8-sig", newline="") as file:
            return {"/".join(row) for row in list(csv.reader(file))[1:]}

    @pytest.fixture
    def used(self) -> set[str]:
        return {path for topic in load_taxonomy().topics for child in topic.children for path in child.official}

    def test_every_official_path_exists(self, used: set[str], national: set[str]) -> None:
        assert used <= national

    def test_every_education_path_has_a_place(self, used: set[str], national: set[str]) -> None:
        assert {path for path in national if path.startswith("教育文体/")} <= used

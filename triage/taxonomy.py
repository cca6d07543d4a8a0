"""The bureau's classification as data: topics, purposes, channels and statutory limits from a checked YAML file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from triage.configuration import Field, compose

LIMIT_STARTS = ("received", "accepted", "answer_due", "answered", "review_requested", "reviewed", "recheck_requested")


@dataclass(frozen=True, slots=True)
class Subtopic:
    """A level-2 topic; ``official`` holds paths ``一级/二级/三级`` of the national classification."""

    code: str
    name: str
    description: str
    official: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """A level-1 topic, the office that answers for it, and its level-2 topics in file order."""

    code: str
    name: str
    description: str
    office: str
    children: tuple[Subtopic, ...]


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a writer is after; a confidential one must never reach the party complained of."""

    code: str
    name: str
    description: str
    confidential: bool


@dataclass(frozen=True, slots=True)
class Channel:
    """A way by which complaints come in."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A statutory time limit: ``days`` calendar days after the event ``start``, one of LIMIT_STARTS."""

    code: str
    name: str
    days: int
    start: str
    source: str


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """A checked classification, entries in file order; ``fingerprint`` is the SHA-256 (hex) of the file's bytes."""

    version: int
    topics: tuple[Topic, ...]
    purposes: tuple[Purpose, ...]
    channels: tuple[Channel, ...]
    limits: tuple[Limit, ...]
    fingerprint: str

    @property
    def topic_codes(self) -> tuple[str, ...]:
        """The codes of the level-1 topics in file order."""
        return tuple(topic.code for topic in self.topics)

    def topic(self, code: str) -> Topic:
        """The level-1 topic of this code. Raises KeyError when there is none."""
        return {topic.code: topic for topic in self.topics}[code]

    def purpose(self, code: str) -> Purpose:
        """The purpose of this code. Raises KeyError when there is none."""
        return {purpose.code: purpose for purpose in self.purposes}[code]

    def limit(self, code: str) -> Limit:
        """The limit of this code. Raises KeyError when there is none."""
        return {limit.code: limit for limit in self.limits}[code]


def load_taxonomy(path: Path | None = None) -> Taxonomy:
    """Read and check the taxonomy at ``path``, or the bundled one when None.

    Raises ConfigurationError at the first mistake found in the file, OSError when the file cannot be read.
    """
    file, source = ("taxonomy.yaml", resources.files("triage") / "taxonomy.yaml") if path is None else (str(path), path)
    raw = source.read_bytes()
    root = compose(raw, file).mapping("version", "topics", "purposes", "channels", "limits")
    topics = root["topics"].records("name", "description", "office", "children", least=1, needed="not_edu")
    purposes = root["purposes"].records("name", "description", "confidential", least=2, needed="accuse")
    if not purposes["accuse"]["confidential"].flag():
        raise purposes["accuse"]["confidential"].error("accuse is not confidential", "write true")
    return Taxonomy(
        version=root["version"].number(),
        topics=tuple(_topic(code, entry) for code, entry in topics.items()),
        purposes=tuple(
            Purpose(code, entry["name"].text(), entry["description"].text(), entry["confidential"].flag())
            for code, entry in purposes.items()
        ),
        channels=tuple(Channel(code, entry["name"].text()) for code, entry in root["channels"].records("name").items()),
        limits=tuple(
            _limit(code, entry) for code, entry in root["limits"].records("name", "days", "from", "source").items()
        ),
        fingerprint=hashlib.sha256(raw).hexdigest(),
    )


def _topic(code: str, entry: dict[str, Field]) -> Topic:
    children = entry["children"].records("name", "description", "official", parent=code).items()
    return Topic(
        code,
        entry["name"].text(),
        entry["description"].text(),
        entry["office"].text(),
        tuple(_subtopic(child, fields) for child, fields in children),
    )


def _subtopic(code: str, entry: dict[str, Field]) -> Subtopic:
    example = "教育文体/教育收费/乱收费"
    paths = [
        path.scalar("str", r"[^/\s]+(/[^/\s]+){2}", "of three parts", example) for path in entry["official"].items()
    ]
    return Subtopic(code, entry["name"].text(), entry["description"].text(), tuple(paths))


def _limit(code: str, entry: dict[str, Field]) -> Limit:
    start = entry["from"].scalar("str", "|".join(LIMIT_STARTS), f"one of {', '.join(LIMIT_STARTS)}", "received")
    return Limit(code, entry["name"].text(), entry["days"].number(), start, entry["source"].text())

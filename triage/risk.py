"""The risk of a matter: how likely it comes back or turns collective within so many days, and why.

Risk belongs to matters and only ever raises attention. Two backends give one output: a scorecard of documented
points (docs/decisions/risk-scorecard.md) and a model learned from a bureau's own outcomes (training/risk.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.artifact import ArtifactError, pack_json, read_artifact, write_artifact
from models.outcome import OutcomeModel
from triage.clock import Duty
from triage.risk_features import FEATURES, NEIGHBOURS, THEME_DAYS, Facts, Snapshot

KIND = "risk"
OUTCOMES = ("repeat", "collective")
HORIZONS = (30, 90)
LEVELS = ("关注", "重点", "紧急")
Key = tuple[str, int]

# The sign each weight must keep when it is learnt: 0 where either is plausible.
SIGNS = dict.fromkeys(FEATURES, 1) | {"quiet": -1, "settled": -1, "gap": 0, "open": 0}

# Points a unit; 7 points about double the chance. Their grounds stand in docs/decisions/risk-scorecard.md.
POINT = 0.1
POINTS: Mapping[str, Mapping[str, float]] = {
    "repeat": {
        "complaints": 6,
        "submitters": 1,
        "persistence": 2,
        "headcount": 1,
        "recent_7": 1,
        "recent_30": 2,
        "recent_90": 1,
        "tempo": 1,
        "gap": 1,
        "quiet": -1.5,
        "cue_repeat": 2,
        "cue_collective": 1,
        "cue_escalation": 2,
        "cue_danger": 1,
        "length": 2,
        "in_person": 2,
        "theme": 10,
        "neighbours": 8,
        "institution_open": 1,
        "institution_recent": 1,
        "overdue": 1,
        "unsatisfied": 8,
        "back_after_answer": 4,
        "reopened": 3,
        "settled": -10,
    },
    "collective": {
        "complaints": 3,
        "submitters": 10,
        "headcount": 10,
        "recent_7": 1,
        "recent_30": 3,
        "quiet": -2,
        "cue_collective": 7,
        "cue_escalation": 2,
        "in_person": 2,
        "theme": 4,
        "neighbours": 4,
        "institution_open": 2,
        "institution_recent": 2,
        "overdue": 1,
        "unsatisfied": 3,
        "back_after_answer": 2,
        "reopened": 2,
        "settled": -10,
    },
}
# A usual matter, at which every point is zero, and the chance that it has.
USUAL = {
    "recent_30": 0.4,
    "recent_90": 1.0,
    "tempo": -1.0,
    "gap": 5.0,
    "quiet": 5.0,
    "open": 5.0,
    "length": 2.4,
    "neighbours": 0.4,
    "complaints": 0.2,
    "cue_repeat": 0.2,
    "cue_collective": 0.1,
}
USUAL_CHANCE = {"repeat": 0.03, "collective": 0.002}

_GROUPS = {
    "history": ("complaints", "submitters", "persistence", "gap"),
    "tempo": ("recent_7", "recent_30", "recent_90", "tempo", "quiet", "open"),
    "people": ("headcount",),
    "text": ("cue_repeat", "cue_collective", "cue_escalation", "cue_danger", "length"),
    "channel": ("in_person",),
    "theme": ("theme",),
    "neighbours": ("neighbours",),
    "institution": ("institution_open", "institution_recent"),
    "handling": ("overdue", "unsatisfied", "back_after_answer", "reopened", "settled"),
}
_COLUMNS = {group: [FEATURES.index(name) for name in names] for group, names in _GROUPS.items()}
_CUES = {"repeat": "多次反映", "collective": "群体", "escalation": "升级倾向", "danger": "人身安全"}
_DUTIES = {"accept": "受理", "answer": "答复", "review": "复查", "recheck": "复核"}


@dataclass(frozen=True, slots=True)
class RiskLevels:
    """The probabilities from which a matter is 重点 and 紧急; every other is 关注."""

    focus: float = 0.10
    urgent: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.focus < self.urgent <= 1:
            raise ValueError(f"levels {self.focus}, {self.urgent}: they must ascend within 0 to 1")

    def of(self, probability: float, facts: Facts) -> str:
        """Return the level; danger told of in the last 30 days is 紧急 whatever the probability."""
        if facts.fresh_danger or probability >= self.urgent:
            return "紧急"
        return "重点" if probability >= self.focus else "关注"


@dataclass(frozen=True, slots=True)
class Reason:
    """A group of features, what it adds to the log-hazard (0.7 about doubles the chance), the facts behind it."""

    group: str
    contribution: float
    facts: str

    def as_json(self) -> dict[str, Any]:
        """Return the reason as plain values."""
        return {"group": self.group, "contribution": round(self.contribution, 4), "facts": self.facts}


@dataclass(frozen=True, slots=True)
class Assessment:
    """A matter's risk. ``contributions`` of the features and the model's level add up to the log-hazard."""

    matter: str
    outcome: str
    horizon: int
    probability: float
    level: str
    reasons: tuple[Reason, ...]
    contributions: Mapping[str, float]
    owed: str | None


class RiskModel:
    """One additive model per outcome and horizon; ``learned`` names those that a bureau's outcomes have shaped."""

    def __init__(
        self,
        models: Mapping[Key, OutcomeModel],
        learned: Iterable[Key] = (),
        levels: RiskLevels | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        self.models = dict(models)
        self.learned = frozenset(learned)
        self.levels = levels or RiskLevels()
        self.figures = dict(figures or {})

    def assess(self, snapshot: Snapshot, outcome: str = "repeat", horizon: int = 30, most: int = 3) -> list[Assessment]:
        """Return all matters of a day, the likeliest first, each with at most ``most`` reasons.

        Of equally likely ones the more recent comes first. What is collective already has probability 1 of it.
        """
        model = self.model(outcome, horizon)
        probabilities = model.probabilities(snapshot.values)
        contributions = model.contributions(snapshot.values)
        found = []
        for i, (matter, facts) in enumerate(zip(snapshot.matters, snapshot.facts, strict=True)):
            happened = outcome == "collective" and facts.collective
            probability = 1.0 if happened else float(probabilities[i])
            by_feature = dict(zip(FEATURES, contributions[i].tolist(), strict=True))
            by_group = {group: float(contributions[i, columns].sum()) for group, columns in _COLUMNS.items()}
            found.append(
                Assessment(
                    matter,
                    outcome,
                    horizon,
                    probability,
                    self.levels.of(probability, facts),
                    _reasons(by_group, facts, most, happened),
                    by_feature,
                    tell_duty(facts.owed, facts.days_late),
                )
            )
        order = sorted(
            range(len(found)),
            key=lambda i: (-found[i].probability, snapshot.facts[i].days_since_last, found[i].matter),
        )
        return [found[i] for i in order]

    def model(self, outcome: str, horizon: int) -> OutcomeModel:
        """Return the model of an outcome; for a horizon of its own, the nearest one's carried over."""
        if outcome not in OUTCOMES or horizon < 1:
            raise ValueError(f"{outcome} within {horizon} days: use {' or '.join(OUTCOMES)} and 1 day or more")
        nearest = min(HORIZONS, key=lambda days: abs(days - horizon))
        model = self.models[outcome, nearest]
        return model if nearest == horizon else model.within(horizon)

    def save(self, directory: Path, manifest: Mapping[str, Any], card: str) -> None:
        """Write the model as a new folder; ``manifest`` adds where it comes from."""
        parts = {f"{outcome}-{days}": model.as_json() for (outcome, days), model in self.models.items()}
        stored = {"models": parts, "learned": sorted(f"{outcome}-{days}" for outcome, days in self.learned)}
        head = {**manifest, "kind": KIND, "figures": self.figures}
        write_artifact(directory, head, {"risk.json": pack_json(stored)}, card)

    @classmethod
    def load(cls, directory: Path, levels: RiskLevels | None = None) -> RiskModel:
        """Return the model in a folder. Raises ArtifactError for one altered, or made for other features."""
        artifact = read_artifact(directory, KIND)
        stored = artifact.json("risk.json")
        models = {_key(name): OutcomeModel.from_json(part) for name, part in stored["models"].items()}
        if any(model.features != FEATURES for model in models.values()):
            raise ArtifactError(f"{directory}: made for other features; train it anew with `triage train-risk`")
        return cls(models, map(_key, stored["learned"]), levels, artifact.manifest["figures"])


def scorecard(levels: RiskLevels | None = None) -> RiskModel:
    """Return the documented points as a risk model, for a bureau without history."""
    centres = np.array([USUAL.get(name, 0.0) for name in FEATURES])
    models: dict[Key, OutcomeModel] = {}
    for outcome, points in POINTS.items():
        weights = POINT * np.array([points.get(name, 0.0) for name in FEATURES])
        model = OutcomeModel(FEATURES, weights, centres, float(np.log(USUAL_CHANCE[outcome])), HORIZONS[0])
        models |= {(outcome, days): model.within(days) for days in HORIZONS}
    return RiskModel(models, (), levels)


def tell_duty(duty: Duty | None, days_late: int = 0) -> str | None:
    """Return in words what is owed next, None when nothing is."""
    if duty is None:
        return None
    late = f"，已超期{days_late}天" if days_late else ""
    return f"自{duty.since.isoformat()}起待{_DUTIES[duty.kind]}，{duty.due.isoformat()}到期{late}"


def _reasons(by_group: Mapping[str, float], facts: Facts, most: int, happened: bool) -> tuple[Reason, ...]:
    if happened:
        many = f"最多一次{facts.people}人" if facts.people >= facts.submitters else f"{facts.submitters}名不同来信人"
        return (Reason("people", by_group["people"], f"已是集体件：{many}"),)
    ranked = sorted(by_group.items(), key=lambda item: -item[1])
    raising = [item for item in ranked if item[1] > 0.005] or ranked[:1]
    return tuple(Reason(group, value, _TELL[group](facts)) for group, value in raising[:most])


def _tell_history(facts: Facts) -> str:
    if facts.complaints == 1:
        return f"仅收到1件来件，在{_ago(facts.days_since_last)}"
    gap = f"，平均相隔{facts.mean_gap:.0f}天" if facts.mean_gap and facts.mean_gap >= 1 else ""
    return (
        f"已收到{facts.complaints}件来件，最近一件在{_ago(facts.days_since_last)}"
        f"，来自{facts.submitters}名不同来信人{gap}"
    )


def _tell_tempo(facts: Facts) -> str:
    return (
        f"最近一件在{_ago(facts.days_since_last)}，首件在{_ago(facts.days_open)}"
        f"，近7天{facts.recent_7}件、近30天{facts.recent_30}件、近90天{facts.recent_90}件"
    )


def _tell_text(facts: Facts) -> str:
    found = [word for kind, word in _CUES.items() if kind in facts.cues]
    told = f"来件提到{'、'.join(found)}" if found else "来件未提到多次反映、群体或升级"
    return f"{told}，最近一件约{facts.length}字"


def _tell_theme(facts: Facts) -> str:
    side = "多于" if facts.theme > facts.usual_theme else "不多于"
    return f"近{THEME_DAYS}天与之相近的其他来件{side}通常（相近度{facts.theme:.2f}%，通常{facts.usual_theme:.2f}%）"


def _tell_neighbours(facts: Facts) -> str:
    return f"内容最相近的{NEIGHBOURS}件其他来件，所属事项平均约有{2**facts.neighbours:.1f}件来件"


def _tell_institution(facts: Facts) -> str:
    return f"同一单位另有{facts.institution_open}项未办结事项，近30天收到{facts.institution_recent}件来件"


def _tell_handling(facts: Facts) -> str:
    told = [
        *([f"办理环节最多超期{facts.days_late}天"] if facts.days_late else []),
        *(["来信人对答复不满意"] if facts.unsatisfied else []),
        *(["答复后又来件"] if facts.back_after_answer else []),
        *([f"重新受理{facts.reopened}次"] if facts.reopened else []),
        *(["已办结且未再来件"] if facts.settled else []),
    ]
    return "，".join(told) or "办理未见超期或不满意"


_TELL = {
    "history": _tell_history,
    "tempo": _tell_tempo,
    "people": lambda facts: f"最多一次涉及{facts.people}人",
    "text": _tell_text,
    "channel": lambda facts: "有走访或上级转送、交办的来件" if facts.in_person else "没有走访或转送、交办的来件",
    "theme": _tell_theme,
    "neighbours": _tell_neighbours,
    "institution": _tell_institution,
    "handling": _tell_handling,
}


def _ago(days: int) -> str:
    return f"{days}天前" if days else "当天"


def _key(name: str) -> Key:
    outcome, _, days = name.rpartition("-")
    return outcome, int(days)

"""The training command's work: read, report, fit, describe, write a model folder."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.artifact import ArtifactError
from training.dataset import Dataset, load_dataset
from training.fit import TrainingSettings, fit_tagger
from triage.tagging import TaggerParts, save_tagger

BACKENDS = ("linear",)


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What ``triage train`` is asked: see its help for each field."""

    data: Sequence[Path]
    out: Path
    text: Sequence[str] = ("title", "body")
    label: str = "labels.topic"
    where: Mapping[str, str] | None = None
    validate: Sequence[Path] = ()
    validate_where: Mapping[str, str] | None = None
    backend: str = "linear"
    seed: int = 0
    settings: TrainingSettings = field(default_factory=TrainingSettings)


def train(
    request: TrainingRequest,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train a tagger and write it to ``request.out``; lines for people go to ``report``.

    Raises DatasetError or TableError for data that cannot be used, ArtifactError when ``out`` exists.
    """
    if request.out.exists():
        raise ArtifactError(f"{request.out}: exists already; models are never overwritten, so name a new folder")
    data = load_dataset(request.data, request.text, request.label, request.where)
    for line in data.report.lines():
        report(line)
    validation = None
    if request.validate:
        validation = load_dataset(request.validate, request.text, request.label, request.validate_where)
        report(f"validation: {len(validation.examples)} texts set thresholds; nothing is learnt from them")
    settings = replace(request.settings, fit=replace(request.settings.fit, seed=request.seed))
    parts = fit_tagger(data.examples, validation.examples if validation else (), settings, progress)
    manifest = _manifest(request, data, validation, settings, parts)
    save_tagger(request.out, parts, manifest, _card(manifest, data))
    report(f"written: {request.out} (version {manifest['version']})")
    return request.out


def _manifest(
    request: TrainingRequest,
    data: Dataset,
    validation: Dataset | None,
    settings: TrainingSettings,
    parts: TaggerParts,
) -> dict[str, Any]:
    described = {
        "data": data.fingerprint,
        "validation": validation.fingerprint if validation else None,
        "settings": asdict(settings),
        "text": list(request.text),
        "label": request.label,
        "where": dict(request.where or {}),
        "validate_where": dict(request.validate_where or {}),
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return {
        "version": f"{request.backend}-{digest[:10]}",
        "backend": request.backend,
        "trained_on": {**described, "texts": len(data.examples), "labels": dict(sorted(data.report.labels.items()))},
        "validated_on": len(validation.examples) if validation else None,
        "thresholds": {"review_below": parts.review_below, "topic": parts.topic_threshold},
        "libraries": {name: version(name) for name in ("complaint-triage", "numpy", "rjieba", "scikit-learn")},
        "python": platform.python_version(),
    }


def _card(manifest: Mapping[str, Any], data: Dataset) -> str:
    rows = "\n".join(f"| {label} | {count} |" for label, count in data.report.labels.most_common())
    checked = manifest["validated_on"]
    calibration = (
        f"{checked} validation texts that were not learnt from"
        if checked
        else "out-of-fold scores of the training texts"
    )
    return f"""# Model card: {manifest["version"]}

**What it does.** Tags a complaint sent to an education bureau: topics, purpose, cues, institutions; each with a
probability and the words that speak for it. 标注教育信访件：内容分类、诉求类别、线索、涉事单位，并给出概率和依据。

**How it was made.** Linear classifiers on character n-grams, words and static word vectors, learnt from
{manifest["trained_on"]["texts"]} texts (fingerprint `{data.fingerprint}`). Probabilities and thresholds were set on
{calibration}. Below a probability of {manifest["thresholds"]["review_below"]} a tag asks for review.

**Limits.** It knows the words it has read. Rare topics are less certain than common ones; see the report of
`triage evaluate` on your own messages before relying on it. 上线前请用本单位的来件评估。

**Never to be used** to score, rank, filter or search people; to delay, lower, close or hide a complaint; to route an
accusation to the accused unit. People decide; the model proposes.
不得用于对信访人评分、排序、筛选或检索；不得据此拖延、降级、办结或隐藏来件；检举控告不得转交被检举单位。

| label | texts |
|---|---|
{rows}
"""

"""``make bench``: quality and speed of the linear tagger beside plain tools, one run on the same texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.data import Measured, bench_data
from bench.rivals import char_svm, fast_text, text_of
from bench.speed import Speed, measure, service_start, texts_of_length
from training.evaluate import classification, evaluate, judge
from training.fit import fit_tagger
from triage.tagging import Tagger

OUT = Path(__file__).parent / "out"


def main() -> None:
    """Print every figure and keep them in bench/out/figures.json."""
    figures: dict[str, Any] = {}
    data = bench_data()
    for number, measured in enumerate(data):
        print(f"## {measured.name}: {len(measured.train)} texts learnt, {len(measured.test)} measured")
        # The shipped model was learnt from the whole corpus: it may be measured on real messages, not on the corpus.
        bundled = number == 0 and len(data) > 1
        figures[measured.name] = _quality(measured, bundled)
    figures["speed"] = _speed(data[0])
    OUT.mkdir(exist_ok=True)
    (OUT / "figures.json").write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _quality(measured: Measured, bundled: bool) -> dict[str, Any]:
    tagger = Tagger.load() if bundled else Tagger(fit_tagger(measured.train, measured.validation), "bench")
    ours = evaluate(judge(measured.test, tagger))
    truth = [example.label for example in measured.test]
    results = {"ours": ours["topic"]}
    for name, learn in (("character TF-IDF + LinearSVC", char_svm), ("fastText", fast_text)):
        predict = learn(measured.train)
        results[name] = classification(truth, [predict(text_of(example)) for example in measured.test])
    print(f"{'topic':32} macro-F1 (labels with ≥ 10 texts)   accuracy")
    for name, result in results.items():
        low, high = result["macro_f1_interval"]
        print(f"  {name:30} {_show(result['macro_f1'])}  [{low:.3f}, {high:.3f}]         {result['accuracy']:.3f}")
    _print_rest(ours)
    return {"topic": results, **{name: value for name, value in ours.items() if name != "topic"}}


def _print_rest(ours: dict[str, Any]) -> None:
    review = ours["needs_review"]
    print(f"calibration: ECE {ours['calibration']['ece']:.3f}")
    print(f"automatic part: {review['coverage']:.1%} of texts, right {_show(review['precision'])}")
    if ours["purpose"]:
        print(f"purpose: macro-F1 {_show(ours['purpose']['macro_f1'])}")
    for kind, cue in (ours["cues"] or {}).items():
        parts = f"precision {cue['precision']:.3f}, recall {cue['recall']:.3f}, n={cue['texts']}"
        print(f"cue {kind}: F1 {cue['f1']:.3f} ({parts})")
    if ours["institution"]:
        found = ours["institution"]
        print(f"institution: first {found['first']:.3f}, named at all {found['any']:.3f} (n={found['texts']})")
    print()


def _speed(measured: Measured) -> dict[str, Any]:
    texts = texts_of_length([text_of(example) for example in measured.test])
    tagger = Tagger.load()
    print("## speed: one thread, texts of 400 characters, ours with normalise, redact, cues and institutions")
    rows = {
        "ours, everything": measure(tagger.tag, texts),
        "character TF-IDF + LinearSVC": measure(char_svm(measured.train), texts),
        "fastText": measure(fast_text(measured.train), texts),
    }
    for name, row in rows.items():
        print(f"  {name:30} p50 {row.p50:6.2f} ms   p95 {row.p95:6.2f} ms   {row.per_second:7.0f} texts/s")
    seconds, memory = service_start()
    print(f"  service: ready after {seconds:.2f} s, {memory:.0f} MB resident")
    return {**{name: _as_dict(row) for name, row in rows.items()}, "ready_seconds": seconds, "resident_mb": memory}


def _as_dict(row: Speed) -> dict[str, float]:
    return {"p50_ms": row.p50, "p95_ms": row.p95, "per_second": row.per_second}


def _show(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()

"""The evaluation report: one HTML page to look at, one JSON file to compare by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _MARGIN = 420, 300, 42

_STYLE = """
body { font: 15px/1.6 "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; max-width: 1080px;
  margin: 2rem auto; padding: 0 1rem; color: #1c2733; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #cfd8e3; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border: 1px solid #dde4ec; text-align: right; }
th:first-child, td:first-child { text-align: left; } .text { text-align: left; max-width: 46rem; }
.scroll { overflow-x: auto; } figure { display: inline-block; margin: 0 1.5rem 0 0; } figcaption { color: #51606f; }
svg text { font-size: 12px; fill: #51606f; }
"""


def write_report(out: Path, figures: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
    """Write ``report.html`` and ``figures.json`` into the folder ``out``, making it where needed.

    ``figures`` come from ``training.evaluate.evaluate``; ``errors`` hold redacted texts.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(_page(figures, errors), encoding="utf-8")


def _page(figures: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> str:
    topic, review, calibration = figures["topic"], figures["needs_review"], figures["calibration"]
    low, high = topic["macro_f1_interval"]
    parts = [
        f"<h1>模型评估报告 {escape(str(figures['model']))}</h1>",
        f"<p>共 {figures['texts']} 件。主题宏平均 F1 <b>{_number(topic['macro_f1'])}</b>"
        f"（95% 区间 {low:.3f}–{high:.3f}，只计不少于 10 件的主题），准确率 <b>{topic['accuracy']:.3f}</b>。"
        f"校准误差 {calibration['ece']:.3f}。不需复核的占 <b>{review['coverage']:.1%}</b>，"
        f"其中正确 {_number(review['precision'])}。</p>",
        "<h2>各主题</h2>",
        _labels(topic),
        "<h2>可信度</h2>",
        _figure(_reliability(calibration["bins"]), "模型说的把握（横）与实际正确率（纵）；越近对角线越好"),
        _figure(_coverage(review["curve"]), "不需复核的比例（横）与其正确率（纵）"),
        "<h2>混淆矩阵</h2><p>行是人工标注，列是模型标注。</p>",
        _confusion(topic["confusion"]),
    ]
    if figures["purpose"]:
        parts += ["<h2>诉求类别</h2>", _labels(figures["purpose"]), _confusion(figures["purpose"]["confusion"])]
    if figures["cues"]:
        rows = [[kind, *map(_number, cue.values())] for kind, cue in figures["cues"].items()]
        parts += ["<h2>线索</h2>", _table(["线索", "件数", "精确率", "召回率", "F1"], rows)]
    if figures["institution"]:
        found = figures["institution"]
        parts.append(
            f"<h2>涉事单位</h2><p>{found['texts']} 件写明单位：排在首位的占 {found['first']:.1%}，"
            f"找到的占 {found['any']:.1%}。</p>"
        )
    parts += ["<h2>把握最大的错误</h2><p>文字已去除个人信息。</p>", _errors(errors)]
    return (
        f'<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>模型评估报告</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _labels(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(one["label"]),
            str(one["texts"]),
            *(f"{one[name]:.3f}" for name in ("precision", "recall", "f1")),
            f"{one['f1_interval'][0]:.2f}–{one['f1_interval'][1]:.2f}",
        ]
        for one in sorted(figures["labels"], key=lambda one: -one["texts"])
    ]
    return _table(["类别", "件数", "精确率", "召回率", "F1", "F1 的 95% 区间"], rows)


def _confusion(confusion: Mapping[str, Any]) -> str:
    labels, counts = confusion["labels"], confusion["counts"]
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    rows = []
    for label, row in zip(labels, counts, strict=True):
        total = max(sum(row), 1)
        cells = "".join(
            f'<td style="background:rgba(36,98,168,{0.75 * count / total:.2f})">{count or ""}</td>' for count in row
        )
        rows.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _errors(errors: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(one['id'])}</td><td>{escape(one['truth'])}</td><td>{escape(one['said'])}</td>"
        f'<td>{one["probability"]:.2f}</td><td class="text">{escape(one["text"])}</td></tr>'
        for one in errors
    )
    head = "<tr><th>编号</th><th>人工</th><th>模型</th><th>把握</th><th>来件</th></tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>' if errors else "<p>没有错误。</p>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _reliability(bins: Sequence[Mapping[str, float]]) -> str:
    most = max((one["texts"] for one in bins), default=1)
    points = [(one["confidence"], one["accuracy"], 3 + 7 * (one["texts"] / most) ** 0.5) for one in bins]
    return _plot(points, diagonal=True)


def _coverage(curve: Sequence[Mapping[str, float]]) -> str:
    return _plot([(one["coverage"], one["precision"], 3.0) for one in curve], diagonal=False)


def _plot(points: Sequence[tuple[float, float, float]], diagonal: bool) -> str:
    """Return an SVG of (x, y, radius) points in the unit square, joined by a line."""

    def x(value: float) -> float:
        return _MARGIN + value * (_WIDTH - 2 * _MARGIN)

    def y(value: float) -> float:
        return _HEIGHT - _MARGIN - value * (_HEIGHT - 2 * _MARGIN)

    marks = [
        f'<line x1="{x(0)}" y1="{y(t)}" x2="{x(1)}" y2="{y(t)}" stroke="#e3e9f0"/>'
        f'<text x="{x(0) - 8}" y="{y(t) + 4}" text-anchor="end">{t:.1f}</text>'
        f'<text x="{x(t)}" y="{y(0) + 18}" text-anchor="middle">{t:.1f}</text>'
        for t in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    if diagonal:
        marks.append(f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="#9fb0c3" stroke-dasharray="4"/>')
    line = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b, _ in points)
    marks.append(f'<polyline points="{line}" fill="none" stroke="#2462a8" stroke-width="2"/>')
    marks += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{r:.1f}" fill="#2462a8"/>' for a, b, r in points]
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(marks)}</svg>'


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

"""Worked examples for the published schema: a made-up complaint and what comes back."""

from __future__ import annotations

from typing import Any

from service.problems import FieldError, problem

TITLE = "延时服务费没有公示"
TEXT = (
    "我是青禾县第三实验小学五年级学生家长。学校从九月起每月收取两百元延时服务费，既没有公示也不开票据。"
    "我们十二位家长十月已经向学校反映过一次，至今没有答复。请教育局核查并退还多收的费用。"
)
_WHOLE = f"{TITLE}\n{TEXT}"

REQUEST: dict[str, Any] = {"id": "2025-0001", "title": TITLE, "text": TEXT}


def _span(text: str, **more: str) -> dict[str, Any]:
    start = _WHOLE.index(text)
    return {"start": start, "end": start + len(text), "text": text, **more}


RESULT: dict[str, Any] = {
    "id": "2025-0001",
    "topic": "fees",
    "topics": [
        {"code": "fees", "probability": 0.94, "evidence": [_span("延时服务费"), _span("收取两百元")]},
        {"code": "workload", "probability": 0.08, "evidence": []},
    ],
    "purpose": {"code": "request", "probability": 0.88, "evidence": [_span("退还多收的费用")]},
    "needs_review": False,
    "cues": [
        _span("十二位家长", kind="collective", source="headcount"),
        _span("已经向学校反映过一次", kind="repeat", source="already_reported"),
    ],
    "headcount": 12,
    "institutions": [_span("青禾县第三实验小学", key="第3实验小学")],
    "personal_data": [],
    "confidential": False,
    "danger": False,
    "model": "example-1",
}

BATCH_REQUEST: dict[str, Any] = {"items": [REQUEST, {"id": "2025-0002", "text": "  "}]}
BATCH_RESULT: dict[str, Any] = {
    "results": [
        RESULT,
        {
            "id": "2025-0002",
            "error": problem(
                "invalid",
                errors=[FieldError(field="items[1].text", message="没有可读的文字", remedy="请至少写一个看得见的字")],
            ).model_dump(),
        },
    ],
    "count": 2,
    "failed": 1,
}

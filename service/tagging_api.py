"""The stateless tagging addresses: one complaint, or a batch in which one bad item does not spoil the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from service import examples
from service.engine import Engine
from service.limits import JSONRoute
from service.logs import describe_exception, get_logger
from service.metrics import Metrics
from service.problems import FieldError, Problem, ProblemError, document, problem
from service.schemas import MAX_ID, BatchRequest, BatchResult, TriageRequest, TriageResult
from service.validation import field_errors
from triage.text import MAX_CHARACTERS, TextError

if TYPE_CHECKING:
    from triage.tagging import Tagger

TAG = "标注"
_PROBLEMS = (
    *("malformed-json", "timeout", "too-large", "unsupported-media-type"),
    *("invalid", "internal", "not-ready", "busy"),
)
_LEAST_WEIGHT = 200  # of an item in a slice, in characters: what handling even an empty one costs


@dataclass(frozen=True, slots=True)
class _Answered:
    """One item's answer as JSON, and whether it is a failure."""

    json: str
    failed: bool


def tagging_router(engine: Engine, metrics: Metrics, batch_limit: int) -> APIRouter:
    """Return the routes of ``/v1/triage`` and ``/v1/triage:batch``."""
    router = APIRouter(route_class=JSONRoute, tags=[TAG])

    @router.post(
        "/v1/triage",
        summary="标注一件来件",
        description="给出内容分类、诉求类别、线索、涉事单位和个人信息的位置。不保存任何内容。",
        response_model=TriageResult,
        response_description="标注结果",
        responses=document(examples.RESULT, *_PROBLEMS),
    )
    async def triage(request: Annotated[TriageRequest, Body(examples=[examples.REQUEST])]) -> Response:
        tagger = engine.tagger
        with engine.single.place():
            try:
                answer = await engine.single.run(partial(_tag, tagger, request, metrics))
            except TextError:
                raise ProblemError(_unusable(metrics, "")) from None
            except Exception:
                metrics.count_failure("internal")
                raise
        return Response(answer, media_type="application/json")

    @router.post(
        "/v1/triage:batch",
        summary="标注一批来件",
        description=f"一次最多 {batch_limit} 件，结果次序与请求相同；有误的一件给出 error，其余照常。不保存任何内容。",
        response_model=BatchResult,
        response_description="逐件结果",
        responses=document(examples.BATCH_RESULT, *_PROBLEMS),
    )
    async def triage_batch(
        request: Request, batch: Annotated[BatchRequest, Body(examples=[examples.BATCH_REQUEST])]
    ) -> Response:
        if len(batch.items) > batch_limit:
            message = f"有 {len(batch.items):,} 项，上限是 {batch_limit:,} 项"
            raise ProblemError(problem("invalid", errors=[_items_error(message)]))
        tagger = engine.tagger
        answers: list[_Answered] = []
        with engine.batch.place():
            for part in _slices(batch.items):
                if await request.is_disconnected():
                    raise ClientDisconnect
                answers += await engine.batch.run(partial(_tag_slice, tagger, part, metrics))
        results = ",".join(answer.json for answer in answers)
        failed = sum(answer.failed for answer in answers)
        body = f'{{"results":[{results}],"count":{len(answers)},"failed":{failed}}}'
        return Response(body, media_type="application/json")

    return router


def _tag(tagger: Tagger, request: TriageRequest, metrics: Metrics) -> str:
    tags = tagger.tag(request.text, request.title or None)
    answer = _as_json({"id": request.id} | tags.as_dict())
    metrics.count_text(tags)
    return answer


def _tag_slice(tagger: Tagger, items: list[tuple[int, Any]], metrics: Metrics) -> list[_Answered]:
    return [_tag_item(tagger, index, item, metrics) for index, item in items]


def _tag_item(tagger: Tagger, index: int, item: Any, metrics: Metrics) -> _Answered:
    try:
        return _Answered(_tag(tagger, TriageRequest.model_validate(item), metrics), failed=False)
    except ValidationError as error:
        metrics.count_failure("invalid")
        mistakes = error.errors(include_url=False)
        failure = problem("invalid", errors=field_errors(mistakes, prefix=f"items[{index}]"))
    except TextError:
        failure = _unusable(metrics, f"items[{index}].")
    except Exception as error:
        metrics.count_failure("internal")
        get_logger().error("item_failed", index=index, **describe_exception(error))
        failure = problem("internal")
    return _Answered(_as_json({"id": _usable_id(item), "error": failure.model_dump()}), failed=True)


def _slices(items: list[Any]) -> Iterator[list[tuple[int, Any]]]:
    """Yield the items with their indices, in slices that take no longer than about one longest text."""
    part: list[tuple[int, Any]] = []
    weight = 0
    for index, item in enumerate(items):
        text = item.get("text") if isinstance(item, dict) else None
        here = max(_LEAST_WEIGHT, len(text) if isinstance(text, str) else 0)
        if part and weight + here > MAX_CHARACTERS:
            yield part
            part, weight = [], 0
        part.append((index, item))
        weight += here
    yield part


def _usable_id(item: Any) -> str | None:
    """Return the item's id if it can be sent back."""
    offered = item.get("id") if isinstance(item, dict) else None
    if not isinstance(offered, str) or len(offered) > MAX_ID or any("\ud800" <= c <= "\udfff" for c in offered):
        return None
    return offered


def _unusable(metrics: Metrics, prefix: str) -> Problem:
    metrics.count_failure("invalid")
    remedy = f"请检查正文：须有可读的文字，与标题合计不超过 {MAX_CHARACTERS:,} 个字"
    return problem("invalid", errors=[FieldError(field=f"{prefix}text", message="无法处理", remedy=remedy)])


def _items_error(message: str) -> FieldError:
    return FieldError(field="items", message=message, remedy="请分成几批发送")


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

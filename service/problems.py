"""Errors as application/problem+json (RFC 9457): one table of kinds, one shape, one way to answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
SHOWN_CHARACTERS = 40
SHOWN_ERRORS = 3

# kind: status, title, what to say when nothing more is known
KINDS: dict[str, tuple[int, str, str]] = {
    "bad-request": (400, "请求有误", "请求无法读取；请对照 /openapi.json 检查后重发。"),
    "malformed-json": (400, "JSON 格式有误", "请求体不是正确的 JSON；请检查引号、逗号和括号。"),
    "not-found": (404, "地址不存在", "没有这个地址；可用的地址见 /openapi.json。"),
    "method-not-allowed": (405, "请求方法不对", "这个地址不接受此方法；可用的方法见响应头 Allow。"),
    "timeout": (408, "请求体接收超时", "请求体没有在限定时间内传完；请检查网络后重发，或分成小批。"),
    "too-large": (413, "请求体过大", "请求体超过上限；请分批发送。"),
    "unsupported-media-type": (
        415,
        "请求体类型不对",
        "只接受不压缩的 JSON；请设 Content-Type: application/json，并去掉 Content-Encoding。",
    ),
    "invalid": (422, "内容不合要求", "请求的内容不合要求；请按 errors 逐项修改。"),
    "internal": (
        500,
        "服务内部出错",
        "服务没能办成这件事，错误已记录；请稍后重试，仍不行请把响应头 X-Request-ID 告知管理员。",
    ),
    "not-ready": (503, "服务尚未就绪", "模型还没有载入完；请稍后重试，进度见 /readyz。"),
    "busy": (503, "服务繁忙", "等候办理的请求已满；请按响应头 Retry-After 的秒数稍后重试。"),
}
_BY_STATUS = {
    404: "not-found",
    405: "method-not-allowed",
    408: "timeout",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid",
    503: "busy",
}


class FieldError(BaseModel):
    """One field that cannot be used."""

    field: str = Field(description="出错的字段，如 text 或 items[3].text；空串指整个请求体", examples=["text"])
    message: str = Field(description="错在哪里", examples=["有 20,001 个字，上限是 20,000 个字"])
    remedy: str = Field(description="怎样改正", examples=["请缩短，或拆成几件分别发送"])


class Problem(BaseModel):
    """An error as RFC 9457 lays it out."""

    type: str = Field(description="错误种类，供程序判断", examples=["urn:triage:problem:invalid"])
    title: str = Field(description="错误种类的中文名", examples=["内容不合要求"])
    status: int = Field(description="HTTP 状态码", examples=[422])
    detail: str = Field(
        description="这一次错在哪里、怎样改正；从不含来件的标题和正文",
        examples=["text：有 20,001 个字，上限是 20,000 个字；请缩短，或拆成几件分别发送。"],
    )
    errors: list[FieldError] = Field(default_factory=list, description="逐个字段的错误，最多 20 项")


class ProblemError(HTTPException):
    """Raise to answer with a problem; an HTTPException, so that frameworks let it pass untouched."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.status, problem.title, dict(headers or {}))
        self.problem = problem


def problem(kind: str, detail: str = "", errors: Sequence[FieldError] = ()) -> Problem:
    """Return the problem of a kind in KINDS; without a detail it is told by the errors, or by the kind itself."""
    status, title, default = KINDS[kind]
    if not detail and errors:
        told = [f"{e.field or '请求体'}：{e.message}；{e.remedy}。" for e in errors[:SHOWN_ERRORS]]
        detail = "".join(told) + (f"共 {len(errors)} 处，其余见 errors。" if len(errors) > SHOWN_ERRORS else "")
    return Problem(
        type=f"urn:triage:problem:{kind}", title=title, status=status, detail=detail or default, errors=list(errors)
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the HTTP answer that carries a problem."""
    body = json.dumps(problem.model_dump(), ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, problem.status, dict(headers or {}), MEDIA_TYPE)


async def answer_http_error(_request: Request, error: Exception) -> Response:
    """Answer a ProblemError with its problem, any other HTTPException with the problem of its status."""
    if not isinstance(error, HTTPException):
        raise TypeError(f"not an HTTP error: {type(error).__name__}")
    if isinstance(error, ProblemError):
        return problem_response(error.problem, error.headers)
    kind = _BY_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    return problem_response(problem(kind), error.headers)


def shorten(value: str) -> str:
    """Return ``value`` fit to be shown: at most 40 characters, line breaks and lone surrogates made harmless."""
    plain = value[: SHOWN_CHARACTERS + 1].encode("utf-8", "replace").decode()
    plain = "".join(c if c.isprintable() else "?" for c in plain)
    return plain if len(plain) <= SHOWN_CHARACTERS else plain[:SHOWN_CHARACTERS] + "…"


def document(example: object, *kinds: str, media: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of an address: its answer by example, and the problems it may answer with."""
    documented: dict[int | str, dict[str, Any]] = {200: {"content": {media: {"example": example}}}}
    for kind in kinds:
        status, title, _ = KINDS[kind]
        entry = documented.setdefault(status, {"description": title, "content": {MEDIA_TYPE: {"examples": {}}}})
        content = entry["content"][MEDIA_TYPE]
        content["schema"] = {"$ref": "#/components/schemas/Problem"}
        content["examples"][kind] = {"summary": title, "value": problem(kind).model_dump()}
    return documented

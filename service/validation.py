"""What is wrong with a request, told in Chinese field by field, without repeating what a complaint says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.problems import FieldError, problem, problem_response, shorten

MAX_ERRORS = 20
_KINDS = {str: "字符串", bool: "真假值", int: "数字", float: "数字", list: "数组", dict: "对象", type(None): "null"}
_ECHOED = "id"  # the only field whose value may be shown; any other may hold a complaint
_Telling = tuple[str, str]


def field_errors(mistakes: Sequence[Mapping[str, Any]], prefix: str = "") -> list[FieldError]:
    """Return pydantic's ``mistakes`` as at most 20 field errors; ``prefix`` goes before each field's name."""
    return [_field_error(mistake, prefix) for mistake in mistakes[:MAX_ERRORS]]


async def answer_invalid_request(_request: Request, error: Exception) -> Response:
    """Answer a request whose body does not fit its schema."""
    if not isinstance(error, RequestValidationError):
        raise TypeError(f"not a validation error: {type(error).__name__}")
    mistakes = [mistake | {"loc": mistake["loc"][1:]} for mistake in error.errors()]  # without the leading "body"
    return problem_response(problem("invalid", errors=field_errors(mistakes)))


def _field_error(mistake: Mapping[str, Any], prefix: str) -> FieldError:
    path = list(mistake["loc"])
    name = str(path[-1]) if path else ""
    message, remedy = _TELLINGS.get(mistake["type"], _other)(mistake, name)
    return FieldError(field=_address(prefix, path), message=message, remedy=remedy)


def _address(prefix: str, path: list[Any]) -> str:
    address = prefix
    for part in path:
        if isinstance(part, int):
            address += f"[{part}]"
        else:
            address += ("." if address else "") + shorten(str(part))
    return address


def _missing(_mistake: Mapping[str, Any], name: str) -> _Telling:
    if not name:
        return "请求体是空的", "请发送 JSON 对象，样例见 /openapi.json"
    return f"缺少字段 {name}", "请补上这个字段"


def _unknown(_mistake: Mapping[str, Any], _name: str) -> _Telling:
    return "没有这个字段", "请删去，或对照 /openapi.json 改正字段名"


def _wrong_kind(wanted: str) -> Callable[[Mapping[str, Any], str], _Telling]:
    def tell(mistake: Mapping[str, Any], name: str) -> _Telling:
        value = mistake["input"]
        kind = _KINDS.get(type(value), "其他类型的值")
        shown = f" {shorten(json.dumps(value))}" if name == _ECHOED and isinstance(value, (bool, int, float)) else ""
        return f"应是{wanted}，收到的是{kind}{shown}", f"请改为{wanted}"

    return tell


def _too_long(mistake: Mapping[str, Any], name: str) -> _Telling:
    value, most = mistake["input"], mistake["ctx"]["max_length"]
    if not isinstance(value, str):
        return f"有 {len(value):,} 项，上限是 {most:,} 项", "请分成几批发送"
    shown = f"「{shorten(value)}」" if name == _ECHOED else ""
    return f"{shown}有 {len(value):,} 个字，上限是 {most:,} 个字", "请缩短，或拆成几件分别发送"


def _too_short(_mistake: Mapping[str, Any], _name: str) -> _Telling:
    return "是空的", "请至少填一项内容"


def _surrogate(_mistake: Mapping[str, Any], _name: str) -> _Telling:
    return "含有残缺的 Unicode 字符（单独的代理项）", "请修复文字编码后重发，表情等字符须成对转义"


def _own(mistake: Mapping[str, Any], _name: str) -> _Telling:
    context = mistake["ctx"]
    return context["message"], context["remedy"]


def _other(_mistake: Mapping[str, Any], _name: str) -> _Telling:
    return "不合要求", "请对照 /openapi.json 改正"


_TELLINGS: dict[str, Callable[[Mapping[str, Any], str], _Telling]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "string_type": _wrong_kind("字符串"),
    "string_unicode": _surrogate,
    "string_too_long": _too_long,
    "string_too_short": _too_short,
    "list_type": _wrong_kind("数组"),
    "too_long": _too_long,
    "too_short": _too_short,
    "model_type": _wrong_kind("JSON 对象"),
    "model_attributes_type": _wrong_kind("JSON 对象"),
    "dict_type": _wrong_kind("JSON 对象"),
    "told": _own,
}

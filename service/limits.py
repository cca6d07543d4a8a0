"""Bounds on a request body, kept before anything reads it: its size, the time it takes, its form."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import ProblemError, problem, problem_response

# What is still read and thrown away of a body too large, so that a client busy sending hears the answer.
DRAINED_TIMES = 4
# Far more than any batch needs, its texts' own brackets included; millions would take a second to build.
MOST_BRACKETS = 100_000
_CLOSE = {"Connection": "close"}


class BodyLimitMiddleware:
    """Hands on a request once its whole body is here; answers 413 or 408 when that is too large or too slow."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "")
        body: bytes | None = None
        # A client that asks first, or means to send far too much, hears the answer before it sends.
        most = self._max_bytes if "expect" in headers else self._max_bytes * DRAINED_TIMES
        if not (announced.isdecimal() and int(announced[:20]) > most):
            try:
                with anyio.fail_after(self._timeout):
                    body = await self._read(receive)
            except TimeoutError:
                await problem_response(problem("timeout"), _CLOSE)(scope, receive, send)
                return
            except _Gone:
                return
        if body is None:
            await problem_response(problem("too-large", _too_large(self._max_bytes)), _CLOSE)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the whole body, or None for one over the limit. Raises _Gone when the client leaves."""
        kept = bytearray()
        seen = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _Gone
            chunk = message.get("body", b"")
            seen += len(chunk)
            if seen > self._max_bytes:
                kept.clear()
            else:
                kept += chunk
            if not message.get("more_body", False) or seen > self._max_bytes * DRAINED_TIMES:
                return bytes(kept) if seen <= self._max_bytes else None


class JSONRoute(APIRoute):
    """A route whose body must be uncompressed UTF-8 JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, guarded by the checks on content type and JSON."""
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            if self.body_field is not None:
                check_media(request.headers)
            return await handler(_JSONRequest(request.scope, request.receive))

        return guarded


class _JSONRequest(Request):
    async def json(self) -> Any:
        return parse_json(await self.body())


def check_media(headers: Headers) -> None:
    """Raise ProblemError (415) unless the headers announce plain JSON."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if media != "application/json" or encoding not in ("", "identity"):
        raise ProblemError(problem("unsupported-media-type"), {"Accept": "application/json"})


def parse_json(body: bytes) -> Any:
    """Return the value that ``body`` writes as JSON. Raises ProblemError (400) with the place and the remedy."""
    if body.count(b"[") + body.count(b"{") > MOST_BRACKETS:
        detail = f"请求体里的方括号、花括号超过 {MOST_BRACKETS:,} 个；请分成几批发送，或删去正文里多余的括号。"
        raise ProblemError(problem("malformed-json", detail))
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        detail = f"请求体从第 {error.start + 1} 个字节起不是 UTF-8；请改用 UTF-8 编码（不是 GBK）后重发。"
    except json.JSONDecodeError as error:
        detail = (
            f"请求体第 {error.lineno} 行第 {error.colno} 列不是正确的 JSON；请检查引号、逗号和括号，换行须写成 \\n。"
        )
    except RecursionError:
        detail = "请求体的 JSON 嵌套过深；请按 /openapi.json 的样例发送。"
    except ValueError:
        detail = "请求体含有 JSON 不允许的数（NaN、Infinity 或位数过多）；请改为普通的数或字符串。"
    raise ProblemError(problem("malformed-json", detail))


class _Gone(Exception):
    """The client left before its request was complete."""


def _refuse_constant(_name: str) -> None:
    raise ValueError


def _too_large(limit: int) -> str:
    return f"请求体超过 {limit:,} 字节的上限；请分成几批发送，或请管理员调高 TRIAGE_MAX_BODY_BYTES。"


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

"""What every request leaves behind: a request id, one log line, its counts, and an answer even when the code fails."""

from __future__ import annotations

import re
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.logs import describe_exception, get_logger
from service.metrics import Metrics
from service.problems import problem, problem_response

UNMATCHED = "unmatched"
CLIENT_GONE = 499
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class ObserveMiddleware:
    """The outermost layer; no exception leaves it, for a server would log it with its message."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({"X-Request-ID": request_id, **_HEADERS})
            await send(message)

        started = time.perf_counter()
        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_marked)
            except ClientDisconnect:
                pass
            except Exception as error:
                get_logger().error("request_failed", route=_route(scope), **describe_exception(error))
                if not status:
                    await problem_response(problem("internal"))(scope, receive, send_marked)
            finally:
                self._record(scope, status or CLIENT_GONE, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = _route(scope), scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.count_request(route, method, status, seconds)
        get_logger().info("request", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 1))


def _request_id(scope: Scope) -> str:
    offered = Headers(scope=scope).get("x-request-id", "")
    return offered if _SANE_ID.fullmatch(offered) else uuid4().hex


def _route(scope: Scope) -> str:
    """Return the template of the route taken; the path itself may hold anything."""
    return str(getattr(scope.get("route"), "path", UNMATCHED))

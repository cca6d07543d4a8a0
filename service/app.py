"""The application put together: settings, taxonomy, tagger, addresses and the layers around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.engine import Engine
from service.limits import BodyLimitMiddleware
from service.metrics import Metrics
from service.observe import ObserveMiddleware
from service.operations_api import OPERATIONS_TAG, TAXONOMY_TAG, operations_router
from service.problems import answer_http_error
from service.settings import Settings, load_settings
from service.tagging_api import TAG, tagging_router
from service.validation import answer_invalid_request
from triage.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from triage.tagging import Tagger

VERSION = "1"
TITLE = "教育信访智能分类服务"
DESCRIPTION = (
    "读一件或一批信访件，标出内容分类、诉求类别、重复与集体等线索、涉事单位和个人信息的位置。"
    "出错时一律返回 application/problem+json（RFC 9457）。位置按 Unicode 码点计，半开区间。"
)
TAGS = [
    {"name": TAG, "description": "对来件作标注；不保存任何内容"},
    {"name": TAXONOMY_TAG, "description": "本单位在用的分类"},
    {"name": OPERATIONS_TAG, "description": "供运维和监控使用"},
]
# FastAPI's own telemetry would pass on addresses and exception messages, which may quote a complaint.
_NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)


def create_app(settings: Settings | None = None, load_tagger: Callable[[], Tagger] | None = None) -> FastAPI:
    """Return the application; without ``settings`` they come from the environment.

    ``load_tagger`` is called once, in a thread, when the application starts; without it the tagger of the settings
    is loaded. Raises SettingsError, ConfigurationError or OSError for settings or a taxonomy that cannot be used.
    """
    settings = settings or load_settings()
    taxonomy = load_taxonomy(settings.taxonomy)
    metrics = Metrics()
    engine = Engine(load_tagger or _tagger_of(settings), taxonomy, settings.queue_limit, settings.batch_queue_limit)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    async def answer_invalid(request: Request, error: Exception) -> Response:
        metrics.count_failure("invalid")
        return await answer_invalid_request(request, error)

    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=VERSION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=_NO_TELEMETRY,
        exception_handlers={HTTPException: answer_http_error, RequestValidationError: answer_invalid},
    )
    app.include_router(tagging_router(engine, metrics, settings.batch_limit))
    app.include_router(operations_router(engine, metrics, taxonomy))
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes, timeout=settings.body_timeout)
    app.add_middleware(ObserveMiddleware, metrics=metrics)
    # The schema is written once and says this installation's limit.
    schemas = app.openapi()["components"]["schemas"]
    schemas["BatchRequest"]["properties"]["items"]["maxItems"] = settings.batch_limit
    return app


def _tagger_of(settings: Settings) -> Callable[[], Tagger]:
    def load() -> Tagger:
        from triage.tagging import Tagger  # slow to import, so in the loading thread

        return Tagger.load(settings.model)

    return load

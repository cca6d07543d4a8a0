"""The addresses for operators and integrators: alive, ready, counters, and the classification in use."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Response

from service.engine import Engine
from service.metrics import CONTENT_TYPE, Metrics
from service.problems import document
from service.schemas import Health, Readiness, TaxonomyResult
from triage.taxonomy import Taxonomy

OPERATIONS_TAG = "运行状况"
TAXONOMY_TAG = "分类"


def operations_router(engine: Engine, metrics: Metrics, taxonomy: Taxonomy) -> APIRouter:
    """Return the routes of ``/healthz``, ``/readyz``, ``/metrics`` and ``/v1/taxonomy``."""
    router = APIRouter()
    classification = TaxonomyResult.model_validate(asdict(taxonomy)).model_dump_json().encode()

    @router.get(
        "/healthz",
        tags=[OPERATIONS_TAG],
        summary="进程是否存活",
        description="进程存活即为 200，与模型是否载入无关。",
        response_description="存活",
        responses=document({"status": "ok"}),
    )
    async def healthz() -> Health:
        return Health(status="ok")

    @router.get(
        "/readyz",
        tags=[OPERATIONS_TAG],
        summary="能否标注",
        description="模型载入并答出一段试题之后为 200；之前，或载入失败，为 503 并说明原因。",
        response_description="可以标注",
        responses=document({"status": "ready", "model": "example-1"}, "not-ready"),
    )
    async def readyz() -> Readiness:
        return Readiness(status="ready", model=engine.tagger.version)

    @router.get(
        "/metrics",
        tags=[OPERATIONS_TAG],
        summary="运行指标",
        description="Prometheus 文本格式：请求数与耗时，各分类、须人工核定、有危险线索和未能标注的来件数。不含内容。",
        response_class=Response,
        response_description="指标",
        responses=document('triage_texts_total{topic="fees"} 12.0\n', media="text/plain"),
    )
    def metrics_page() -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    @router.get(
        "/v1/taxonomy",
        tags=[TAXONOMY_TAG],
        summary="在用的分类",
        description="内容分类（含责任科室和对应的国家信访内容分类）与诉求类别，次序与分类文件相同。",
        response_model=TaxonomyResult,
        response_description="分类",
        responses=document(_example(taxonomy)),
    )
    async def taxonomy_page() -> Response:
        return Response(classification, media_type="application/json")

    return router


def _example(taxonomy: Taxonomy) -> dict[str, object]:
    """Return the classification cut down to the first entry of each list."""
    topic = asdict(taxonomy.topics[0])
    return {
        "version": taxonomy.version,
        "fingerprint": taxonomy.fingerprint,
        "topics": [topic | {"children": topic["children"][:1]}],
        "purposes": [asdict(taxonomy.purposes[0])],
    }

"""Counters for /metrics; they hold counts and codes, never a text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from triage.tagging import Tags

CONTENT_TYPE = CONTENT_TYPE_LATEST
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "triage_http_requests", "请求数", ["route", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "triage_http_request_seconds", "办理一个请求的秒数", ["route"], registry=self._registry, buckets=_SECONDS
        )
        self._texts = Counter("triage_texts", "已标注的来件数", ["topic"], registry=self._registry)
        self._review = Counter("triage_texts_needs_review", "须人工核定的来件数", registry=self._registry)
        self._danger = Counter("triage_texts_danger", "有危险线索的来件数", registry=self._registry)
        self._failures = Counter("triage_failures", "未能标注的来件或整批数", ["reason"], registry=self._registry)
        for reason in ("invalid", "internal"):
            self._failures.labels(reason)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request of the route template ``route`` that took ``seconds``."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_text(self, tags: Tags) -> None:
        """Count one tagged text."""
        self._texts.labels(tags.topic).inc()
        if tags.needs_review:
            self._review.inc()
        if tags.danger:
            self._danger.inc()

    def count_failure(self, reason: str) -> None:
        """Count one text, or one whole batch, not tagged for a mistake of the sender (invalid) or ours (internal)."""
        self._failures.labels(reason).inc()

    def render(self) -> bytes:
        """Return the counters in the Prometheus text format, those of all workers where they share a directory."""
        if SHARED_DIRECTORY not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

"""Time and memory, one thread: single texts, batches, start of the service."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LENGTH = 400
START_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds for one text (median, 95th percentile) and texts a second in a row, each of 400 characters."""

    p50: float
    p95: float
    per_second: float


def texts_of_length(texts: Sequence[str], count: int = 400) -> list[str]:
    """Return ``count`` texts of exactly 400 characters, cut from the texts joined."""
    joined = "\n".join(texts)
    while len(joined) < LENGTH * count:
        joined += "\n" + joined
    return [joined[i * LENGTH : (i + 1) * LENGTH] for i in range(count)]


def measure(work: Callable[[str], object], texts: Sequence[str]) -> Speed:
    """Return the speed of ``work`` over ``texts``, warmed up."""
    for text in texts[:20]:
        work(text)
    times = []
    begun = time.perf_counter()
    for text in texts:
        start = time.perf_counter()
        work(text)
        times.append(time.perf_counter() - start)
    total = time.perf_counter() - begun
    p50, p95 = np.quantile(times, [0.5, 0.95]) * 1000
    return Speed(float(p50), float(p95), len(texts) / total)


def service_start() -> tuple[float, float]:
    """Return seconds from starting ``triage serve`` until it is ready, and its resident memory in MB then."""
    import psutil

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "TRIAGE_PORT": str(port)}
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "service.server"], env=environment, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                    break
            except (urllib.error.URLError, ConnectionError):
                if time.perf_counter() - begun > START_LIMIT or process.poll() is not None:
                    raise RuntimeError("the service did not become ready") from None
                time.sleep(0.02)
        ready = time.perf_counter() - begun
        return ready, psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.terminate()
        process.wait(20)

"""The service as a process of its own; its tagger is a stand-in, and the bundled model where there is one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[1]
TEXT = "青禾县第三实验小学每月收取两百元延时服务费，没有公示，请核查。"
MARKER = "暗号雪山飞狐七三一"
TOPICS = ("fees", "safety", "workload")
# Python runs a module of this name at start, in the workers too.
STAND_IN = """
import sys, time, types

class Tags:
    topic, needs_review, danger = "fees", False, False
    def as_dict(self):
        return {"topic": self.topic}

class Tagger:
    version = "stand-in"
    @classmethod
    def load(cls, directory=None):
        if directory is not None:
            raise FileNotFoundError(2, "No such model folder", str(directory))
        from triage.taxonomy import load_taxonomy
        tagger = cls()
        tagger.taxonomy = load_taxonomy()
        return tagger
    def tag(self, text, title=None):
        if "broken" in text:
            raise RuntimeError(text)
        if "slow" in text:
            time.sleep(1)
        return Tags()

module = types.ModuleType("triage.tagging")
module.Tagger, module.Tags = Tagger, Tags
sys.modules["triage.tagging"] = module
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(STAND_IN, encoding="utf-8")
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}


def environment(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    return inherited | {"PYTHONPATH": str(ROOT)} | variables


@contextmanager
def server(**variables: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run a server on a free port and yield it with a client; whatever happens it is gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "service.server"],
        env=environment(TRIAGE_PORT=str(port), **variables),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            yield process, client
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(process: subprocess.Popen[str], client: httpx.Client, address: str, status: int) -> httpx.Response:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, process.communicate()[1]
        try:
            response = client.get(address)
        except httpx.TransportError:
            response = None
        if response is not None and response.status_code == status:
            return response
        assert time.monotonic() < deadline, response and response.text
        time.sleep(0.05)


def stop(process: subprocess.Popen[str], sign: int = signal.SIGTERM) -> list[dict[str, Any]]:
    """Ask the server to stop, check that it did so in order, and return its log."""
    process.send_signal(sign)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out == ""
    assert MARKER not in err
    assert json.dumps(MARKER)[1:-1] not in err
    return [json.loads(line) for line in err.splitlines()]


def test_a_server_answers_counts_and_stops_in_order(stand_in: dict[str, str]) -> None:
    with server(**stand_in) as (process, client):
        assert wait_for(process, client, "/readyz", 200).json()["model"] == "stand-in"
        assert client.post("/v1/triage", json={"id": "1", "text": TEXT}).json() == {"id": "1", "topic": "fees"}
        assert client.post("/v1/triage:batch", json={"items": [{"text": TEXT}] * 3}).json()["count"] == 3
        assert 'triage_texts_total{topic="fees"} 4.0' in client.get("/metrics").text
        assert "server" not in client.get("/healthz").headers
        started = time.monotonic()
        lines = stop(process)
        assert time.monotonic() - started < 5
    assert {line["event"] for line in lines} >= {"model_ready", "request"}


def test_a_servers_log_never_holds_a_complaint(stand_in: dict[str, str]) -> None:
    with server(**stand_in, TRIAGE_LOG_LEVEL="debug") as (process, client):
        wait_for(process, client, "/readyz", 200)
        for text, status in ((MARKER, 200), (f"broken {MARKER}", 500), (MARKER * 5000, 422)):
            assert client.post(f"/v1/triage?q={MARKER}", json={"text": text, "title": MARKER}).status_code == status
        assert client.get(f"/{MARKER}").status_code == 404
        lines = stop(process)
    (failure,) = (line for line in lines if line["event"] == "request_failed")
    assert failure["exception"] == "builtins.RuntimeError"


def test_a_body_too_large_is_answered_before_the_connection_ends(stand_in: dict[str, str]) -> None:
    with server(**stand_in) as (process, client):
        wait_for(process, client, "/readyz", 200)
        for size in (10_000_000, 15_000_000):
            response = client.post("/v1/triage", json={"text": "a" * size})
            assert response.status_code == 413
        assert client.post("/v1/triage", json={"text": TEXT}).status_code == 200
        stop(process)


def test_a_request_under_way_is_finished_before_the_server_stops(stand_in: dict[str, str]) -> None:
    with server(**stand_in) as (process, client):
        wait_for(process, client, "/readyz", 200)
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
            body = b'{"text": "slow"}'
            head = (
                f"POST /v1/triage HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            connection.sendall(f"{head}\r\n\r\n".encode() + body)
            time.sleep(0.3)
            stop(process)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_an_interrupt_from_the_keyboard_stops_it_too(stand_in: dict[str, str]) -> None:
    with server(**stand_in) as (process, client):
        wait_for(process, client, "/healthz", 200)
        stop(process, signal.SIGINT)


def test_several_workers_share_the_port_and_the_counters(stand_in: dict[str, str]) -> None:
    with server(**stand_in, TRIAGE_WORKERS="2") as (process, client):
        wait_for(process, client, "/readyz", 200)
        for _ in range(20):
            # a new connection each time, so that both workers get some
            answered = httpx.post(f"{client.base_url}/v1/triage", json={"text": TEXT}, trust_env=False).status_code
            assert answered in (200, 503)
            while answered == 503:
                time.sleep(0.1)
                answered = httpx.post(f"{client.base_url}/v1/triage", json={"text": TEXT}, trust_env=False).status_code
        for _ in range(5):
            page = httpx.get(f"{client.base_url}/metrics", trust_env=False).text
            assert 'triage_texts_total{topic="fees"} 20.0' in page
        lines = stop(process)
    assert sum(line["event"] == "model_ready" for line in lines) == 2


def test_a_model_that_is_missing_leaves_a_live_server_that_says_why(stand_in: dict[str, str]) -> None:
    with server(**stand_in, TRIAGE_MODEL="/nowhere/model") as (process, client):
        wait_for(process, client, "/healthz", 200)
        deadline = time.monotonic() + 10
        while "/nowhere/model" not in client.get("/readyz").json()["detail"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        lines = stop(process)
    assert any(line["event"] == "model_failed" and "/nowhere/model" in line["reason"] for line in lines)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TRIAGE_PORT", "none", "TRIAGE_PORT=none"),
        ("TRIAGE_WORKERS", "1000", "TRIAGE_WORKERS=1000"),
        ("TRIAGE_TAXONOMY", "/nowhere/taxonomy.yaml", "/nowhere/taxonomy.yaml"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_server_at_once(name: str, value: str, told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service.server"],
        env=environment(**{name: value}),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_in_use_stops_the_server_with_a_reason(stand_in: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "service.server"],
            env=environment(**stand_in, TRIAGE_PORT=str(taken.getsockname()[1])),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
    assert ended.returncode not in (0, 2)
    assert "address already in use" in ended.stderr


def test_the_bundled_model_serves() -> None:
    tagging = pytest.importorskip("triage.tagging")
    if not tagging.bundled_model().is_dir():
        pytest.skip("no bundled model yet")
    with server() as (process, client):
        wait_for(process, client, "/readyz", 200)
        answer = client.post("/v1/triage", json={"id": "1", "text": TEXT}).json()
        assert answer["topic"] == "fees"
        assert "triage_texts_total" in client.get("/metrics").text
        stop(process)

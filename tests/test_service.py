from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models.artifact import ArtifactError
from service import examples
from service.app import create_app
from service.logs import configure_logging, get_logger
from service.problems import MEDIA_TYPE
from service.schemas import BatchResult, TaxonomyResult, TriageResult
from service.settings import Settings, SettingsError, load_settings
from triage.configuration import ConfigurationError
from triage.tagging import CueSpan, InstitutionSpan, PersonalSpan, Scored, Span, Tags
from triage.taxonomy import load_taxonomy
from triage.text import MAX_CHARACTERS, TextError, check_text

TEXT = "青禾县第三实验小学每月收取两百元延时服务费，没有公示，请核查。"
MARKER = "暗号雪山飞狐七三一"
JSON_HEADERS = {"Content-Type": "application/json"}


class FakeTagger:
    """Answers at once, or does ``work`` first; what it answers depends on the text alone."""

    version = "fake-1"
    taxonomy = load_taxonomy()

    def __init__(self, work: Callable[[str], None] = lambda _text: None) -> None:
        self._work = work

    def tag(self, text: str, title: str | None = None) -> Tags:
        check_text(text)
        whole = check_text(f"{title}\n{text}", "title and text") if title else text
        self._work(text)
        span = Span(0, 2, whole[:2])
        return Tags(
            topic="fees",
            topics=(Scored("fees", 0.93, (span,)),),
            purpose=Scored("request", 0.8, ()),
            needs_review="不清楚" in text,
            cues=(CueSpan("danger", 0, 2, whole[:2], "rule.danger"),) if "跳楼" in text else (),
            headcount=None,
            institutions=(InstitutionSpan(whole[:2], 0, 2, "key"),),
            personal_data=(PersonalSpan("phone", 0, 2),),
            confidential=False,
            danger="跳楼" in text,
            model=self.version,
        )


def make_app(tagger: Any = None, **settings: Any) -> FastAPI:
    return create_app(Settings(**settings), lambda: tagger or FakeTagger())


def wait_ready(client: TestClient) -> None:
    deadline = time.monotonic() + 5
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, client.get("/readyz").text
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TRIAGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(make_app()) as client:
        wait_ready(client)
        yield client


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    told = response.json()
    assert set(told) == {"type", "title", "status", "detail", "errors"}
    assert told["status"] == status
    assert re.search("[\u4e00-\u9fff]", told["title"])
    assert re.search("[\u4e00-\u9fff]", told["detail"])
    return dict(told)


def post(client: TestClient, body: Any, address: str = "/v1/triage") -> httpx.Response:
    """Post ``body``: bytes as they are, anything else as ASCII JSON (so that lone surrogates can be sent)."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(address, content=content, headers=JSON_HEADERS)


# One complaint


def test_a_complaint_gets_its_tags_and_its_id_back(client: TestClient) -> None:
    response = post(client, {"id": "甲-1", "text": TEXT})
    assert response.status_code == 200
    assert response.json()["id"] == "甲-1"
    assert response.json()["topic"] == "fees"
    assert response.json() == {"id": "甲-1"} | json.loads(json.dumps(FakeTagger().tag(TEXT).as_dict()))


def test_an_answer_has_exactly_the_published_fields(client: TestClient) -> None:
    answer = post(client, {"text": TEXT}).json()
    published = TriageResult.model_validate(answer)
    assert json.loads(published.model_dump_json()) == answer


def test_a_title_counts_in_the_offsets_and_an_empty_one_does_not(client: TestClient) -> None:
    assert post(client, {"title": "乱收费", "text": TEXT}).json()["topics"][0]["evidence"][0]["text"] == "乱收"
    assert post(client, {"title": "", "text": TEXT}).json()["topics"][0]["evidence"][0]["text"] == TEXT[:2]


def test_the_longest_text_and_id_allowed_are_accepted(client: TestClient) -> None:
    assert post(client, {"text": "字" * MAX_CHARACTERS, "id": "i" * 200}).status_code == 200
    assert post(client, {"text": "😀" * MAX_CHARACTERS}).status_code == 200
    assert post(client, {"text": "字" * 19_499, "title": "题" * 500}).status_code == 200


def test_a_control_character_within_a_text_does_no_harm(client: TestClient) -> None:
    assert post(client, {"text": "学校\u0000收费\u200b", "id": "\u0000"}).status_code == 200


def test_a_byte_order_mark_does_no_harm(client: TestClient) -> None:
    assert post(client, b"\xef\xbb\xbf" + json.dumps({"text": TEXT}).encode()).status_code == 200


# What cannot be used is refused clearly

HOSTILE: dict[str, tuple[Any, int, str]] = {
    "empty text": ({"text": ""}, 422, "text"),
    "blank text": ({"text": " \n\t　"}, 422, "text"),
    "invisible text": ({"text": "\u200b\u0000"}, 422, "text"),
    "one character too many": ({"text": "字" * 20_001}, 422, "20,001"),
    "title too long": ({"text": TEXT, "title": "题" * 501}, 422, "501"),
    "title and text too long together": ({"text": "字" * 20_000, "title": "题"}, 422, "20,002"),
    "id too long": ({"text": TEXT, "id": "i" * 201}, 422, "201"),
    "lone surrogate in the text": (rb'{"text": "abc\ud800"}', 422, "text"),
    "lone surrogate in the title": (rb'{"text": "abc", "title": "\udfff"}', 422, "title"),
    "lone surrogate in the id": (rb'{"text": "abc", "id": "\ud800"}', 422, "id"),
    "lone surrogate in a field name": (rb'{"text": "abc", "\ud800": 1}', 422, ""),
    "lone surrogate as bytes": (b'{"text": "\xed\xa0\x80"}', 400, "UTF-8"),
    "GBK": ('{"text": "收费"}'.encode("gbk"), 400, "UTF-8"),
    "UTF-16": ('{"text": "收费"}'.encode("utf-16"), 400, "UTF-8"),
    "text a number": ({"text": 5}, 422, "数字"),
    "text null": ({"text": None}, 422, "null"),
    "text an array": ({"text": ["a"]}, 422, "数组"),
    "text an object": ({"text": {"a": 1}}, 422, "对象"),
    "title a boolean": ({"text": TEXT, "title": True}, 422, "真假值"),
    "id a number": ({"text": TEXT, "id": 12345}, 422, "12345"),
    "text missing": ({"title": "乱收费"}, 422, "text"),
    "unknown field": ({"text": TEXT, "body": "x"}, 422, "body"),
    "a thousand unknown fields": ({"text": TEXT} | {f"f{i}": i for i in range(1000)}, 422, "1,001"),
    "empty body": (b"", 422, "请求体"),
    "null body": (b"null", 422, "请求体"),
    "array body": ([{"text": TEXT}], 422, "数组"),
    "string body": (json.dumps(TEXT).encode(), 422, "字符串"),
    "not JSON": (b"text=abc", 400, "第 1 行"),
    "half a JSON": (b'{"text": "ab', 400, "JSON"),
    "raw line break in a string": (b'{"text": "a\nb"}', 400, "JSON"),
    "raw NUL": (b'{"text": "a\x00b"}', 400, "JSON"),
    "two values": (b'{"text": "a"} {"text": "b"}', 400, "JSON"),
    "NaN": (b'{"text": NaN}', 400, "NaN"),
    "endless number": (b'{"text": ' + b"9" * 5000 + b"}", 400, "位数过多"),
    "infinite number": (b'{"text": 1e999}', 422, "数字"),
    "deep arrays": (b'{"text": ' + b"[" * 40_000 + b"]" * 40_000 + b"}", 400, "嵌套过深"),
    "deep objects": (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, 400, "嵌套过深"),
    "arrays somewhat deep": (b'{"text": ' + b"[" * 500 + b"]" * 500 + b"}", 422, "数组"),
    "open brackets": (b"[" * 4_000_000, 400, "括号"),
    "a million arrays": (b'{"text": [' + b"[]," * 1_000_000 + b"0]}", 400, "括号"),
    "ten megabytes": (b'{"text": "' + b"a" * 10_000_000 + b'"}', 413, "4,194,304"),
}


@pytest.mark.parametrize(("body", "status", "told"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_bad_request_is_refused_with_a_reason(client: TestClient, body: Any, status: int, told: str) -> None:
    assert told in assert_problem(post(client, body), status)["detail"]


@pytest.mark.parametrize("body", [case[0] for case in HOSTILE.values()], ids=HOSTILE.keys())
def test_a_bad_batch_is_refused_or_answered_but_never_breaks(client: TestClient, body: Any) -> None:
    response = post(client, body, "/v1/triage:batch")
    assert_problem(response, response.status_code)
    assert 400 <= response.status_code < 500


def test_each_wrong_field_is_listed_with_its_remedy(client: TestClient) -> None:
    told = assert_problem(post(client, {"text": 5, "id": 7, "extra": 1}), 422)
    assert {error["field"] for error in told["errors"]} == {"text", "id", "extra"}
    assert all(error["message"] and error["remedy"] for error in told["errors"])
    assert all(error["remedy"] in told["detail"] for error in told["errors"])


def test_many_wrong_fields_give_a_short_answer(client: TestClient) -> None:
    told = assert_problem(post(client, {"text": TEXT} | {f"f{i}": i for i in range(30)}), 422)
    assert len(told["errors"]) == 20
    assert told["detail"].endswith("其余见 errors。")


def test_a_refusal_shortens_values_and_never_repeats_a_complaint(client: TestClient) -> None:
    secret = MARKER * 3000
    for body in (
        {"text": secret},
        {"text": [MARKER]},
        {"text": TEXT, "title": secret},
        {"text": TEXT, "body": MARKER},
        {"text": {"a": MARKER}},
        [MARKER],
        MARKER,
    ):
        assert MARKER not in post(client, body).text
    told = assert_problem(post(client, {"text": TEXT, "id": "z" * 500}), 422)
    assert "z" * 40 + "…" in told["detail"]
    assert "z" * 41 not in json.dumps(told)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/jsonl"},
        {"Content-Type": "垃圾".encode()},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_a_body_of_another_type_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    content = json.dumps({"text": TEXT}).encode()
    told = assert_problem(client.post("/v1/triage", content=content, headers=headers), 415)
    assert "application/json" in told["detail"]


def test_a_charset_after_the_content_type_is_accepted(client: TestClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert client.post("/v1/triage", content=json.dumps({"text": TEXT}), headers=headers).status_code == 200


@pytest.mark.parametrize("address", ["/v1/triage", "/v1/triage:batch"])
def test_a_wrong_method_is_refused_with_the_right_one(client: TestClient, address: str) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        response = client.request(method, address)
        assert_problem(response, 405)
        assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "address", ["/", "/v1", "/v1/triage/", "/docs", "/redoc", "/v1/triage%00", "/%ff", "//healthz"]
)
def test_an_unknown_address_is_a_problem_not_a_redirect(client: TestClient, address: str) -> None:
    assert_problem(client.get(address, follow_redirects=False), 404)


def test_a_body_sent_in_pieces_is_measured_as_it_comes() -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    with TestClient(make_app(max_body_bytes=4096)) as client:
        wait_ready(client)
        assert_problem(client.post("/v1/triage", content=pieces(), headers=JSON_HEADERS), 413)
        fits = json.dumps({"text": "a" * 4000}).encode()
        assert client.post("/v1/triage", content=iter([fits[:9], fits[9:]]), headers=JSON_HEADERS).status_code == 200


async def never() -> Any:
    await asyncio.sleep(60)


def statuses(app: FastAPI, receive: Callable[[], Any], **headers: str) -> list[int]:
    """Return the statuses of the answers that a POST gets whose messages come from ``receive``."""
    sent: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            sent.append(message["status"])

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/triage", "query_string": b"", "headers": raw}
    asyncio.run(app(scope, receive, send))
    return sent


def test_a_body_that_does_not_come_is_given_up() -> None:
    assert statuses(make_app(body_timeout=0.05), never) == [408]


def test_a_client_that_asks_before_sending_too_much_is_told_at_once() -> None:
    app = make_app(max_body_bytes=4096)
    assert statuses(app, never, content_length="4097", expect="100-continue") == [413]
    assert statuses(app, never, content_length="9" * 30) == [413]


def test_a_body_without_end_is_given_up_soon_after_the_limit() -> None:
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        taken += 1000
        return {"type": "http.request", "body": b" " * 1000, "more_body": True}

    assert statuses(make_app(max_body_bytes=4096), endless) == [413]
    assert taken < 20_000


def test_nonsense_instead_of_a_length_does_no_harm() -> None:
    async def empty() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    for length in ("-1", "ten", "", "١"):
        assert statuses(make_app(), empty, content_length=length) == [415]


def test_a_client_that_leaves_while_sending_gets_no_answer_and_does_no_harm() -> None:
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    assert statuses(make_app(), receive) == []


# A batch


def test_a_batch_keeps_the_order_and_a_bad_item_does_not_spoil_the_rest(client: TestClient) -> None:
    items: list[Any] = [
        {"id": "a", "text": TEXT},
        {"id": "b", "text": " "},
        5,
        {"id": 7, "text": TEXT},
        {"id": "e", "text": "\ud800"},
        {"id": "f", "text": TEXT, "more": 1},
        {"id": "g\ud800", "text": TEXT},
        {"id": "h", "title": "乱收费", "text": TEXT},
    ]
    response = post(client, {"items": items}, "/v1/triage:batch")
    assert response.status_code == 200
    answer = response.json()
    assert (answer["count"], answer["failed"]) == (8, 6)
    assert [result["id"] for result in answer["results"]] == ["a", "b", None, None, "e", "f", None, "h"]
    assert ["error" in result for result in answer["results"]] == [False] + [True] * 6 + [False]
    assert answer["results"][1]["error"]["status"] == 422
    assert answer["results"][1]["error"]["errors"][0]["field"] == "items[1].text"
    assert answer["results"][2]["error"]["errors"][0]["field"] == "items[2]"
    assert json.loads(BatchResult.model_validate(answer).model_dump_json()) == answer


def test_an_item_that_breaks_the_tagger_fails_alone_and_leaks_nothing() -> None:
    def work(text: str) -> None:
        if MARKER in text:
            raise RuntimeError(f"cannot handle {text}")

    with TestClient(make_app(FakeTagger(work)), raise_server_exceptions=True) as client:
        wait_ready(client)
        items = [{"text": TEXT}, {"id": "x", "text": MARKER}, {"text": TEXT}]
        answer = post(client, {"items": items}, "/v1/triage:batch").json()
        assert (answer["count"], answer["failed"]) == (3, 1)
        assert answer["results"][1]["error"]["status"] == 500
        assert MARKER not in json.dumps(answer, ensure_ascii=False)
        assert_problem(post(client, {"text": MARKER}), 500)
        assert 'triage_failures_total{reason="internal"} 2.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "items"),
        ({"items": []}, "items"),
        ({"items": {}}, "数组"),
        ({"items": "x"}, "数组"),
        ({"items": None}, "null"),
        ({"items": [{"text": "a"}] * 1001}, "1,001"),
        ({"items": [{"text": "a"}], "more": 1}, "more"),
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(client: TestClient, body: Any, told: str) -> None:
    assert told in assert_problem(post(client, body, "/v1/triage:batch"), 422)["detail"]


def test_the_largest_batch_is_answered(client: TestClient) -> None:
    answer = post(client, {"items": [{"text": TEXT}] * 1000}, "/v1/triage:batch").json()
    assert (answer["count"], answer["failed"], len(answer["results"])) == (1000, 0, 1000)


def test_a_smaller_batch_limit_is_kept_and_published() -> None:
    with TestClient(make_app(batch_limit=2)) as client:
        wait_ready(client)
        assert (
            "上限是 2 项"
            in assert_problem(post(client, {"items": [{"text": "a"}] * 3}, "/v1/triage:batch"), 422)["detail"]
        )
        items = client.get("/openapi.json").json()["components"]["schemas"]["BatchRequest"]["properties"]["items"]
        assert items["maxItems"] == 2


def test_a_batch_of_a_million_items_is_refused_quickly(client: TestClient) -> None:
    started = time.monotonic()
    assert_problem(post(client, b'{"items":[' + b"0," * 1_000_000 + b"0]}", "/v1/triage:batch"), 422)
    assert time.monotonic() - started < 2


def test_a_text_the_tagger_refuses_is_the_senders_mistake() -> None:
    def refuse(text: str) -> None:
        if text == TEXT:
            raise TextError("text: unreadable; send another")

    with TestClient(make_app(FakeTagger(refuse))) as client:
        wait_ready(client)
        assert_problem(post(client, {"text": TEXT}), 422)
        answer = post(client, {"items": [{"text": TEXT}]}, "/v1/triage:batch").json()
        assert answer["results"][0]["error"]["errors"][0]["field"] == "items[0].text"


# Loading, readiness, load


def test_a_model_still_loading_leaves_the_service_alive_but_not_ready() -> None:
    loaded = threading.Event()

    def load() -> Any:
        assert loaded.wait(10)
        return FakeTagger()

    with TestClient(create_app(Settings(), load)) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        response = client.get("/readyz")
        assert_problem(response, 503)
        assert response.headers["retry-after"]
        assert_problem(post(client, {"text": TEXT}), 503)
        assert_problem(post(client, {"items": [{"text": TEXT}]}, "/v1/triage:batch"), 503)
        assert client.get("/v1/taxonomy").status_code == 200
        loaded.set()
        wait_ready(client)
        assert client.get("/readyz").json() == {"status": "ready", "model": "fake-1"}
        assert post(client, {"text": TEXT}).status_code == 200


def test_a_model_that_cannot_be_loaded_is_explained_and_the_service_stays_alive() -> None:
    def load() -> Any:
        raise ArtifactError("model: folder 42 is missing; fetch it again")

    with TestClient(create_app(Settings(), load)) as client:
        told = wait_failed(client)
        assert "folder 42 is missing; fetch it again" in told["detail"]
        assert client.get("/healthz").status_code == 200
        assert_problem(post(client, {"text": TEXT}), 503)


def test_a_model_that_fails_the_probe_is_not_ready_and_its_message_is_kept_back() -> None:
    def fail(text: str) -> None:
        raise RuntimeError(f"secret {text}")

    with TestClient(make_app(FakeTagger(fail))) as client:
        told = wait_failed(client)
        assert "RuntimeError" in told["detail"]
        assert "secret" not in told["detail"]


def test_a_model_with_topics_unknown_to_the_taxonomy_is_not_ready() -> None:
    tagger = FakeTagger()
    tagger.taxonomy = SimpleNamespace(topic_codes=("fees", "surfing"))  # type: ignore[assignment]
    with TestClient(make_app(tagger)) as client:
        assert "surfing" in wait_failed(client)["detail"]


def wait_failed(client: TestClient) -> dict[str, Any]:
    deadline = time.monotonic() + 5
    while "失败" not in client.get("/readyz").text:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return assert_problem(client.get("/readyz"), 503)


def busy_work(_text: str) -> None:
    until = time.perf_counter() + 0.05
    while time.perf_counter() < until:
        sum(range(500))


async def as_running(app: FastAPI, body: Callable[[httpx.AsyncClient], Any]) -> None:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.01)
        await body(client)


@pytest.mark.parametrize("work", [lambda _text: time.sleep(0.05), busy_work], ids=["waiting", "computing"])
def test_heavy_batches_hold_up_neither_health_nor_single_complaints(work: Callable[[str], None]) -> None:
    async def body(client: httpx.AsyncClient) -> None:
        items = {"items": [{"text": "字" * 200}] * 20}
        batches = [asyncio.create_task(client.post("/v1/triage:batch", json=items)) for _ in range(3)]
        await asyncio.sleep(0.1)
        for _ in range(5):
            started = time.perf_counter()
            assert (await client.get("/healthz")).status_code == 200
            assert time.perf_counter() - started < 0.5
            assert (await client.post("/v1/triage", json={"text": TEXT})).status_code == 200
            assert time.perf_counter() - started < 1
        assert not any(batch.done() for batch in batches)
        for batch in batches:
            assert (await batch).json()["failed"] == 0

    asyncio.run(as_running(make_app(FakeTagger(work)), body))


def test_more_requests_than_may_wait_are_sent_away_at_once() -> None:
    go_on = threading.Event()

    def work(text: str) -> None:
        if text == TEXT:
            assert go_on.wait(10)

    async def body(client: httpx.AsyncClient) -> None:
        for address, request in (
            ("/v1/triage", {"text": TEXT}),
            ("/v1/triage:batch", {"items": [{"text": TEXT}]}),
        ):
            go_on.clear()
            waiting = [asyncio.create_task(client.post(address, json=request)) for _ in range(2)]
            await asyncio.sleep(0.1)
            response = await client.post(address, json=request)
            assert assert_problem(response, 503)["type"].endswith("busy")
            assert response.headers["retry-after"]
            go_on.set()
            assert [(await one).status_code for one in waiting] == [200, 200]
            assert (await client.post(address, json=request)).status_code == 200

    asyncio.run(as_running(make_app(FakeTagger(work), queue_limit=2, batch_queue_limit=2), body))


def test_a_batch_stops_once_its_client_has_left() -> None:
    tagged: list[str] = []
    app = make_app(FakeTagger(lambda text: (time.sleep(0.02), tagged.append(text))[1]))
    content = json.dumps({"items": [{"text": "字" * 20_000}] * 20}).encode()

    async def body(_client: httpx.AsyncClient) -> None:
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Any:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(_message: Any) -> None:
            raise AssertionError("answered a client that has left")

        headers = [(b"content-type", b"application/json")]
        path = "/v1/triage:batch"
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        tagged.clear()
        await app(scope, receive, send)
        assert len(tagged) < 2

    asyncio.run(as_running(app, body))


# Classification, schema, counters


def test_the_taxonomy_gives_names_and_offices(client: TestClient) -> None:
    answer = client.get("/v1/taxonomy").json()
    bundled = load_taxonomy()
    assert [topic["code"] for topic in answer["topics"]] == list(bundled.topic_codes)
    assert answer["topics"][0]["name"] == "教育收费"
    assert all(topic["office"] for topic in answer["topics"])
    assert [purpose["name"] for purpose in answer["purposes"]] == ["申诉求决", "检举控告", "意见建议", "咨询"]
    assert answer["fingerprint"] == bundled.fingerprint
    assert json.loads(TaxonomyResult.model_validate(answer).model_dump_json()) == answer


def test_a_bureaus_own_taxonomy_is_served_and_a_bad_one_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    bundled = (Path(__file__).parents[1] / "triage" / "taxonomy.yaml").read_text(encoding="utf-8")
    own.write_text(bundled.replace("office: 财务科", "office: 计财处", 1), encoding="utf-8")
    with TestClient(make_app(taxonomy=own)) as client:
        assert client.get("/v1/taxonomy").json()["topics"][0]["office"] == "计财处"
    own.write_text("version: one\n", encoding="utf-8")
    with pytest.raises(ConfigurationError):
        make_app(taxonomy=own)


def test_the_schema_is_published_in_chinese_and_needs_nothing_from_outside(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert re.search("[\u4e00-\u9fff]", schema["info"]["title"])
    assert not re.search("https?://", json.dumps(schema))
    for path in schema["paths"].values():
        for operation in path.values():
            assert re.search("[\u4e00-\u9fff]", operation["summary"])
            assert re.search("[\u4e00-\u9fff]", operation["description"])
            assert operation["tags"]
            assert any("example" in c for c in operation["responses"]["200"]["content"].values())
    for name in ("TriageRequest", "BatchRequest", "TriageResult"):
        fields = schema["components"]["schemas"][name]["properties"]
        assert all(field["description"] for field in fields.values())
    assert schema["components"]["schemas"]["TriageRequest"]["properties"]["text"]["maxLength"] == MAX_CHARACTERS
    assert set(schema["paths"]["/v1/triage"]["post"]["responses"]) >= {"200", "400", "413", "415", "422", "500", "503"}


def test_the_published_examples_are_true(client: TestClient) -> None:
    TriageResult.model_validate(examples.RESULT)
    BatchResult.model_validate(examples.BATCH_RESULT)
    assert post(client, examples.REQUEST).status_code == 200
    answer = post(client, examples.BATCH_REQUEST, "/v1/triage:batch").json()
    assert answer["results"][1] == examples.BATCH_RESULT["results"][1]


def test_metrics_count_requests_by_route_and_texts_by_topic(client: TestClient) -> None:
    post(client, {"text": TEXT})
    post(client, {"text": "不清楚，要跳楼"})
    post(client, {"items": [{"text": TEXT}, {"text": ""}]}, "/v1/triage:batch")
    post(client, {"text": ""})
    client.get(f"/{MARKER}?q={MARKER}")
    client.request("SURPRISE", "/healthz")
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        'triage_http_requests_total{method="POST",route="/v1/triage",status="200"} 2.0',
        'triage_http_requests_total{method="POST",route="/v1/triage",status="422"} 1.0',
        'triage_http_requests_total{method="POST",route="/v1/triage:batch",status="200"} 1.0',
        'triage_http_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'triage_http_requests_total{method="other",route="/healthz",status="405"} 1.0',
        'triage_http_request_seconds_count{route="/v1/triage"} 3.0',
        'triage_texts_total{topic="fees"} 3.0',
        "triage_texts_needs_review_total 1.0",
        "triage_texts_danger_total 1.0",
        'triage_failures_total{reason="invalid"} 2.0',
        'triage_failures_total{reason="internal"} 0.0',
    ):
        assert line in response.text
    assert MARKER not in response.text


def test_two_applications_count_apart() -> None:
    with TestClient(make_app()) as first, TestClient(make_app()) as second:
        wait_ready(first)
        post(first, {"text": TEXT})
        assert "triage_texts_total{" in first.get("/metrics").text
        assert "triage_texts_total{" not in second.get("/metrics").text


# Request ids and logs


def test_a_sane_request_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    for offered in ("", "a b", "x" * 65, "{}", "é".encode("latin-1")):
        made = client.get("/healthz", headers={"X-Request-ID": offered}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
    assert client.get("/nowhere").headers["x-request-id"]


def test_answers_are_not_to_be_cached_or_sniffed(client: TestClient) -> None:
    for response in (post(client, {"text": TEXT}), client.get("/nowhere")):
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    root = logging.getLogger()
    before = (root.level, root.handlers[:], logging.raiseExceptions)
    written = io.StringIO()
    configure_logging("debug", written)

    def lines() -> list[dict[str, Any]]:
        assert capfd.readouterr() == ("", "")
        assert MARKER not in written.getvalue()
        assert json.dumps(MARKER)[1:-1] not in written.getvalue()
        return [json.loads(line) for line in written.getvalue().splitlines()]

    yield lines
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    logging.raiseExceptions = before[2]
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_logs_tell_of_every_request_and_never_hold_a_complaint(logged: Callable[[], list[dict[str, Any]]]) -> None:
    def work(text: str) -> None:
        if "坏" in text:
            try:
                raise KeyError(text)
            except KeyError as error:
                raise RuntimeError(f"{text} is bad") from error

    with TestClient(make_app(FakeTagger(work))) as client:
        wait_ready(client)
        good, bad = {"text": MARKER, "title": MARKER, "id": MARKER}, {"text": f"坏{MARKER}"}
        assert post(client, good).status_code == 200
        assert post(client, bad).status_code == 500
        assert post(client, {"text": [MARKER], MARKER: MARKER}).status_code == 422
        assert post(client, {"text": MARKER * 5000}).status_code == 422
        assert post(client, f'{{"text": "{MARKER}'.encode()).status_code == 400
        assert post(client, {"items": [good, bad, {"text": MARKER * 5000}]}, "/v1/triage:batch").status_code == 200
        assert client.get(f"/{MARKER}?q={MARKER}", headers={"X-Request-ID": MARKER.encode()}).status_code == 404
        assert client.post(f"/v1/triage?q={MARKER}", json=good).status_code == 200

    lines = logged()
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests if line["route"] == "/v1/triage"] == [200, 500, 422, 422, 400, 200]
    assert all({"request_id", "method", "duration_ms", "timestamp", "level"} <= set(line) for line in requests)
    (failure,) = (line for line in lines if line["event"] == "request_failed")
    assert failure["exception"] == "builtins.RuntimeError"
    assert failure["causes"] == ["builtins.KeyError"]
    assert any("tests/test_service.py:" in place for place in failure["at"])
    (item,) = (line for line in lines if line["event"] == "item_failed")
    assert item["index"] == 1
    assert item["request_id"] in {line["request_id"] for line in requests if line["route"] == "/v1/triage:batch"}


def test_logs_of_other_libraries_lose_their_messages(logged: Callable[[], list[dict[str, Any]]]) -> None:
    error = ValueError(MARKER)
    logging.getLogger("some.library").error("failed on %s", MARKER, exc_info=error)
    logging.getLogger("asyncio").error(f"Task exception was never retrieved {MARKER}")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)
    logging.getLogger("bad").error("%d", MARKER)
    get_logger().error("own", exc_info=error)
    warnings.warn(MARKER, stacklevel=1)
    lines = logged()
    assert lines[0]["exception"] == lines[2]["exception"] == "builtins.ValueError"
    assert lines[0]["logger"] == "some.library"
    assert lines[2]["event"] == "Exception in ASGI application\n"
    assert any(line["event"] == "own" for line in lines)


def test_an_answer_that_breaks_off_leaves_no_exception_behind(logged: Callable[[], list[dict[str, Any]]]) -> None:
    app = make_app()

    @app.get("/broken")
    async def broken() -> None:
        raise MemoryError(MARKER)

    with TestClient(app) as client:
        assert_problem(client.get("/broken"), 500)
    assert any(line["event"] == "request_failed" for line in logged())


# Settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_PORT", "8123")
    monkeypatch.setenv("TRIAGE_MODEL", "")
    monkeypatch.setenv("TRIAGE_LOG_LEVEL", "WARNING")
    settings = load_settings()
    assert (settings.port, settings.model, settings.log_level) == (8123, None, "warning")
    assert (settings.host, settings.workers, settings.max_body_bytes) == ("127.0.0.1", 1, 4 * 1024 * 1024)


def test_settings_survive_the_way_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(port=9000, model=Path("somewhere"), body_timeout=2.5, log_level="error")
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIAGE_PORT", "99999"),
        ("TRIAGE_PORT", "http"),
        ("TRIAGE_WORKERS", "0"),
        ("TRIAGE_BATCH_LIMIT", "1001"),
        ("TRIAGE_BODY_TIMEOUT", "nan"),
        ("TRIAGE_LOG_LEVEL", "loud"),
        ("TRIAGE_MAX_BODY_BYTES", "-1"),
    ],
)
def test_a_bad_setting_is_refused_with_name_value_and_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    message = str(refused.value)
    assert message.startswith(f"{name}={value}：")
    assert "请改为：" in message
    assert "\n" not in message


def test_every_bad_setting_is_named_at_once_and_long_values_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIAGE_PORT", "9" * 500)
    monkeypatch.setenv("TRIAGE_WORKERS", "many")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    lines = str(refused.value).splitlines()
    assert [line.partition("=")[0] for line in lines] == ["TRIAGE_PORT", "TRIAGE_WORKERS"]
    assert len(lines[0]) < 100

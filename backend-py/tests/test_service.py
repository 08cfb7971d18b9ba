"""The service in embedded mode, in one process, through its HTTP interface."""

import asyncio
import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import AsyncGenerator

import httpx2
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from app import limits, sse
from app.cohere import Cohere
from app.logs import JsonFormatter
from app.main import Service
from app.rag import Answerer, Stream
from app.schemas import Done, Event, Failure, Meta
from app.settings import read_settings
from app.upstream import UpstreamError

ORIGIN = "https://book.example"
QUESTION = {"question": "Why does my boat leak?"}
META = Meta(id="0" * 16, mode="none", degraded=False)
DONE = Done(grounded=False, finish_reason="COMPLETE")


def test_answers_with_cited_passages(client: TestClient) -> None:
    answer = client.post("/chat", json=QUESTION).json()
    assert answer["mode"] == "extractive" and answer["grounded"]
    assert answer["sources"][0]["url"] == "/book/boats#why-does-my-boat-leak"
    cited = answer["citations"][0]
    assert (
        "A boat leaks when its hull has a hole." in answer["answer"][cited["start"] : cited["end"]]
    )
    assert cited["sources"] == [answer["sources"][0]["id"]]


def test_a_stream_carries_the_same_answer(client: TestClient) -> None:
    whole = client.post("/chat", json=QUESTION).json()
    stream = client.post("/chat/stream", json=QUESTION)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-cache"
    frames = [frame.split("\n") for frame in stream.text.split("\n\n") if frame]
    events = [(name[7:], json.loads(data[6:])) for name, data in frames]
    assert [name for name, _ in events][:3] == ["meta", "sources", "delta"]
    assert [name for name, _ in events].count("done") == 1 and events[-1][0] == "done"
    assert "".join(data["text"] for name, data in events if name == "delta") == whole["answer"]


def test_a_silent_stream_is_pinged(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> Stream:
        async def events() -> AsyncGenerator[Event, None]:
            await asyncio.sleep(0.2)
            yield DONE

        return Stream(events(), lambda: asyncio.sleep(0))

    monkeypatch.setattr(sse, "PING_SECONDS", 0.05)
    monkeypatch.setattr(Answerer, "stream", silent)
    stream = client.post("/chat/stream", json=QUESTION).text
    assert stream.startswith(": ping\n\n") and stream.endswith(sse.frame(DONE).decode())


def test_a_bug_ends_a_stream_with_an_error(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> Stream:
        async def events() -> AsyncGenerator[Event, None]:
            yield META
            raise RuntimeError("a reader's question")

        return Stream(events(), lambda: asyncio.sleep(0))

    monkeypatch.setattr(Answerer, "stream", broken)
    stream = client.post("/chat/stream", json=QUESTION).text
    error = Failure(code="internal", retryable=False)
    assert stream == (sse.frame(META) + sse.frame(error)).decode()
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "a reader's question" not in JsonFormatter().format(record)


@pytest.mark.parametrize(
    "said",
    [
        '{"type": "citation-start", "delta": {"message": {"citations": '
        '{"start": 0, "end": 1e999, "sources": [{"id": "a"}]}}}}',
        "[" * 100_000,
    ],
    ids=["endless number", "deep"],
)
def test_a_malformed_stream_is_a_bad_response_and_not_a_bug(said: str) -> None:
    async def read() -> None:
        async with Cohere(read_settings({"RAG_MODE": "embedded"})) as cohere:
            async for _ in cohere.events(httpx2.Response(200, text=f"data: {said}\n\n")):
                pass

    with pytest.raises(UpstreamError, match="upstream_bad_response"):
        asyncio.run(read())


def test_refuses_what_the_book_does_not_cover(client: TestClient) -> None:
    answer = client.post("/chat", json={"question": "Who won the chess olympiad?"}).json()
    assert answer["mode"] == "none"
    assert not answer["grounded"] and not answer["citations"]
    # The nearest sections, from which a reader can continue.
    assert answer["sources"]


@pytest.mark.parametrize("question", ["the and of", "?!..."])
def test_refuses_a_question_without_content(client: TestClient, question: str) -> None:
    assert not client.post("/chat", json={"question": question}).json()["grounded"]


@pytest.mark.parametrize("question", ['"', "OR", "NEAR(a b)", "a* b)", "--", "\\", "sails AND ("])
def test_query_syntax_is_only_text(client: TestClient, question: str) -> None:
    assert client.post("/chat", json={"question": question}).status_code == 200


def test_every_link_of_an_answer_leads_to_a_section(client: TestClient) -> None:
    for source in client.post("/search", json={"query": "boat sails"}).json()["results"]:
        path, _, anchor = source["url"].partition("#")
        page = client.get(path)
        assert page.status_code == 200
        assert not anchor or f'id="{anchor}"' in page.text


def test_health_and_readiness(client: TestClient) -> None:
    health = client.get("/health")
    assert health.json() == {
        "status": "ok",
        "version": "1.0",
        "services": {"cohere": "embedded", "qdrant": "embedded"},
    }
    assert health.headers["cache-control"] == "no-store"
    head = client.head("/health")
    assert head.status_code == 200 and not head.content
    assert client.get("/ready").json() == {"ready": True}


def test_root_is_html_for_a_browser_and_json_otherwise(client: TestClient) -> None:
    assert client.get("/", headers={"Accept": "text/html,*/*"}).text.startswith("<!doctype html>")
    assert client.get("/").json()["name"] == "backend-py"
    assert client.head("/").status_code == 200


def test_own_page_may_ask_although_no_origin_is_listed(client: TestClient) -> None:
    answer = client.post("/chat", json=QUESTION, headers={"Origin": "https://testserver"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/chat", json.dumps(QUESTION), 200),
        ("POST", "/chat", "{bad", 422),
        ("POST", "/chat", "[" * 60_000, 400),
        ("POST", "/chat", "x" * 1_200_000, 413),
        ("GET", "/chat", None, 405),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_cors_headers_are_on_every_status(
    client: TestClient, method: str, path: str, body: str | None, status: int
) -> None:
    headers = {"Origin": ORIGIN, "Content-Type": "application/json"}
    answer = client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["x-request-id"]
    if status != 200:
        assert set(answer.json()) == {"error"}


def test_a_bug_is_a_readable_500(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a reader's question")

    monkeypatch.setattr(Answerer, "_quote", broken)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/chat", json=QUESTION, headers={"Origin": ORIGIN})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    (record,) = [record for record in caplog.records if record.exc_info]
    log = JsonFormatter().format(record)
    assert "RuntimeError" in log and "a reader's question" not in log


def test_the_api_describes_itself(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    ours = {"/chat", "/chat/stream", "/search", "/feedback"}
    assert set(paths) == ours | {"/v1/chat/completions", "/v1/models"}


def test_the_reference_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and "://" not in page.text
    loaded = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(loaded) == 2
    for path in loaded:
        assert client.get(path).status_code == 200
    (inline,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page.headers["content-security-policy"]


def test_the_probes_answer_before_all_is_loaded(
    app: ASGIApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = threading.Event()
    build = Service._build

    def slow(service: Service) -> object:
        assert loading.wait(10)
        return build(service)

    monkeypatch.setattr(Service, "_build", slow)
    with TestClient(app) as client:
        assert client.get("/health").json()["status"] == "ok"
        early = client.get("/ready")
        assert (early.status_code, early.json()["reason"]) == (503, "starting")
        loading.set()
        assert client.post("/chat", json=QUESTION).status_code == 200
        assert client.get("/ready").status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["null", "https://book.example.evil.com", "http://book.example", "https://x", ORIGIN + ":8443"],
)
def test_other_origins_get_nothing(client: TestClient, origin: str) -> None:
    ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (
        client.options("/chat", headers=ask),
        client.post("/chat", json=QUESTION, headers={"Origin": origin}),
    ):
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_preflight_of_a_listed_origin(client: TestClient) -> None:
    ask = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    answer = client.options("/chat", headers=ask)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "DELETE" not in answer.headers["access-control-allow-methods"]
    assert "Content-Type" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        '"x"',
        "{}",
        '{"question": null}',
        '{"question": 5}',
        '{"question": "  "}',
        '{"question": "\\u0000\\u0001"}',
        '{"question": "\\ud800"}',
        '{"question": 1, "top_k": "\\ud800"}',
        '{"question": "x", "top_k": 0}',
        '{"question": "x", "top_k": 21}',
        '{"question": "x", "top_k": "5"}',
        '{"question": "x", "top_k": 1.5}',
        '{"question": "x", "top_k": NaN}',
        '{"question": "x", "secret-field": 1}',
        '{"question": "x", "history": [{"role": "system", "content": "x"}]}',
        '{"question": "x", "history": [{"role": "user", "content": "\\ud800"}]}',
        json.dumps({"question": "x" * 2001}),
        json.dumps({"question": "x", "history": [{"role": "user", "content": "x"}] * 21}),
    ],
)
def test_refuses_bodies_outside_the_schema_without_echo(client: TestClient, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/chat", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"
    assert "secret-field" not in answer.text


def test_an_endless_number_is_refused(client: TestClient) -> None:
    body = '{"question": "x", "top_k": ' + "9" * 5000 + "}"
    answer = client.post("/chat", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_rate_limit_refills_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = limits.RateLimit(2)
    assert [limit.take("a"), limit.take("a")] == [0, 0]
    assert limit.take("a") == 30
    assert limit.take("b") == 0
    now += 30
    assert limit.take("a") == 0


def test_a_long_line_is_over_with_its_round(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    line = limits.Line()

    async def rounds() -> list[bool]:
        nonlocal now
        first = line.is_long()
        now += limits.LONGEST_LINE + 0.01
        last = line.is_long()
        await asyncio.sleep(0)
        return [first, last, line.is_long()]

    assert asyncio.run(rounds()) == [False, True, False]


def test_a_long_line_is_refused_readably(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.Line, "is_long", lambda _: True)
    answer = client.post("/chat", json=QUESTION, headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert client.get("/health").status_code == 200

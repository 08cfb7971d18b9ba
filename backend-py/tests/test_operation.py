"""Operators must get metrics, request ids and the rest of a limit; feedback must recover."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from app.errors import ApiError
from app.feedback import Feedback
from app.limits import RateLimit, client_key
from app.main import create_app
from app.schemas import ChatRequest
from app.settings import Settings, read_settings

QUESTION = {"question": "Why does my boat leak?"}
TOKEN = "the-owner's-metrics-token-of-32-characters"
ORIGIN = "https://book.example"


def app_with(index_path: Path, **environ: str) -> ASGIApp:
    given = {"RAG_MODE": "embedded", "INDEX_PATH": str(index_path), "RATE_PER_MINUTE": "0"}
    return create_app(read_settings({**given, **environ}))


def test_metrics_are_for_the_owner_alone(index_path: Path) -> None:
    with TestClient(app_with(index_path, METRICS_TOKEN=TOKEN)) as client:
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": TOKEN}):
            assert client.get("/metrics", headers=headers).status_code == 404
        client.post("/chat", json=QUESTION)
        client.post("/chat/stream", json=QUESTION)
        client.post("/chat", json={})
        client.request("BREW", "/no-such-path")
        shown = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert shown.headers["content-type"].startswith("text/plain; version=")
    lines = set(shown.text.splitlines())
    assert 'http_requests_total{method="POST",route="/chat",status="200"} 1.0' in lines
    assert 'http_requests_total{method="POST",route="/chat",status="422"} 1.0' in lines
    assert 'http_requests_total{method="other",route="other",status="404"} 1.0' in lines
    assert 'http_request_duration_seconds_count{route="/chat"} 2.0' in lines
    assert 'answers_total{degraded="false",mode="extractive"} 2.0' in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_without_a_token_there_are_no_metrics(client: TestClient) -> None:
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("given", ["0123-abc_DEF.9", "a" * 64])
def test_a_well_formed_request_id_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/health", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["short", "a" * 65, 'a"b,c: d{e}f', "", "0123456789\u00e9"])
def test_any_other_request_id_is_replaced(client: TestClient, given: str) -> None:
    headers = {b"X-Request-ID": given.encode("latin-1")}
    made = client.get("/health", headers=headers).headers["x-request-id"]
    assert made != given and len(made) == 16


def test_answers_say_what_is_left_of_the_limit(index_path: Path) -> None:
    app = app_with(index_path, RATE_PER_MINUTE="2", CORS_ORIGINS=ORIGIN)
    with TestClient(app) as client:
        given = [client.post("/chat", json=QUESTION, headers={"Origin": ORIGIN}) for _ in range(3)]
        page = client.get("/")
    assert [answer.status_code for answer in given] == [200, 200, 429]
    assert [answer.headers["ratelimit"] for answer in given] == [
        '"client";r=1;t=30',
        '"client";r=0;t=60',
        '"client";r=0;t=60',
    ]
    assert {answer.headers["ratelimit-policy"] for answer in given} == {'"client";q=2;w=60'}
    assert given[2].headers["retry-after"] in ("29", "30")
    exposed = given[0].headers["access-control-expose-headers"].split(", ")
    assert {"RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID"} == set(exposed)
    assert "ratelimit" not in page.headers


def test_without_a_limit_nothing_is_left_of_it(client: TestClient) -> None:
    assert "ratelimit" not in client.post("/chat", json=QUESTION).headers


def test_the_wall_clock_changes_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = RateLimit(1)
    assert limit.take() == 0
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert 59 < limit.take() <= 60


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:0DB8:0001:0002:0000:0000:0000:0001", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.1", "203.0.113.1", True),
        ("203.0.113.1", "203.0.113.2", False),
        ("::ffff:203.0.113.1", "::ffff:203.0.113.2", False),
    ],
)
def test_addresses_of_one_client(left: str, right: str, same: bool) -> None:
    keys = {client_key({b"x-forwarded-for": x.encode()}, "peer", 1) for x in (left, right)}
    assert len(keys) == (1 if same else 2)


def test_an_invalid_address_is_a_key_too() -> None:
    assert client_key({b"x-forwarded-for": b"unknown"}, "203.0.113.1", 1) == "unknown"
    assert client_key({b"x-forwarded-for": b"unknown"}, "203.0.113.1", 0) == "203.0.113.1"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be", "latin-1"])
def test_json_is_utf_8(client: TestClient, encoding: str) -> None:
    # Without a byte order mark, ASCII in UTF-16 is valid UTF-8 that holds NUL bytes.
    text = "Why does my b\u00f6at leak?" if encoding == "latin-1" else "Why does my boat leak?"
    body = json.dumps({"question": text}, ensure_ascii=False)
    answer = client.post(
        "/chat", content=body.encode(encoding), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    sound = client.post(
        "/chat", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert sound.status_code == 200


def test_the_longest_body_of_the_schema_is_read(client: TestClient) -> None:
    # A JSON library that escapes all but ASCII makes twelve bytes of this character.
    turn = {"role": "user", "content": "\U0001f600" * 4000}
    body = {
        "question": "\U0001f600" * 2000,
        "selected_text": "\U0001f600" * 8000,
        "history": [turn] * 20,
        "top_k": 20,
    }
    assert ChatRequest.model_validate(body)
    text = json.dumps(body)
    assert len(text) > 1_000_000
    answer = client.post("/chat", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert len(text) <= Settings(rag_mode="embedded").max_body_bytes


def test_a_body_full_of_unknown_fields_is_refused_once(client: TestClient) -> None:
    body = {"question": "x", **{str(number): 1 for number in range(50_000)}}
    answer = client.post("/chat", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["error"]["fields"]) == 1


@pytest.mark.parametrize("rating", [True, False, "1", 1.5, 0, 2, None])
def test_a_rating_is_one_of_two_numbers(client: TestClient, rating: object) -> None:
    given = client.post("/chat", json=QUESTION).json()["id"]
    assert client.post("/feedback", json={"id": given, "rating": rating}).status_code == 422


def test_feedback_recovers_from_a_failing_disk(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("in the way")
    feedback = Feedback(folder / "feedback.sqlite")
    for _ in range(2):
        with pytest.raises(ApiError) as caught:
            feedback.add("0" * 16, 1, None, "question", "answer")
        assert (caught.value.status, caught.value.code) == (503, "storage_unavailable")
    folder.unlink()
    feedback.add("0" * 16, 1, None, "question", "answer")
    assert len(feedback.entries(0, 10)) == 1


def test_feedback_recovers_when_the_table_could_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback = Feedback(tmp_path / "feedback.sqlite")
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def full(path: Path, **_: object) -> sqlite3.Connection:
        db = connect(path)
        # As SQLite answers on a full disk: "database or disk is full".
        db.execute("PRAGMA max_page_count = 1")
        return db

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(ApiError):
        feedback.add("0" * 16, 1, None, "question", "answer")
    monkeypatch.setattr(sqlite3, "connect", connect)
    feedback.add("0" * 16, 1, None, "question", "answer")
    assert len(feedback.entries(0, 10)) == 1


def test_feedback_recovers_from_a_disk_that_fills_up(tmp_path: Path) -> None:
    feedback = Feedback(tmp_path / "feedback.sqlite")
    feedback.add("0" * 16, 1, None, "question", "answer")
    assert feedback._db
    (pages,) = feedback._db.execute("PRAGMA page_count").fetchone()
    feedback._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ApiError):
        feedback.add("1" * 16, 1, None, "question", "answer" * 4000)
    feedback.add("1" * 16, 1, None, "question", "answer" * 4000)
    assert [entry.id for entry in feedback.entries(0, 10)] == ["0" * 16, "1" * 16]


def test_a_full_disk_is_an_answer_and_not_a_bug(index_path: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    app = app_with(index_path, FEEDBACK_PATH=str(blocked / "feedback.sqlite"))
    with TestClient(app) as client:
        given = client.post("/chat", json=QUESTION).json()["id"]
        answer = client.post("/feedback", json={"id": given, "rating": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    assert answer.headers["retry-after"] == "60"

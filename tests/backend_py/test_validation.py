"""An invalid request must get a clear refusal, never a 500."""

from __future__ import annotations

import json

import pytest
from requests import Response

from preflight.engine.container import Container
from tests.backend_py.asking import ORIGIN, ask, code_of

JSON = {"Content-Type": "application/json"}
MARKER = "text-that-must-not-come-back"


def send(space: Container, body: str | bytes, path: str = "/chat") -> Response:
    return space.post(path, data=body, headers=JSON)


def test_unparsable_body(embedded: Container) -> None:
    """A body that is not JSON must be refused in the error envelope."""
    answer = send(embedded, "{bad")
    assert answer.status_code in (400, 422)
    code_of(answer)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}], ids=["none", "text"])
def test_body_that_is_not_declared_json(embedded: Container, headers: dict[str, str]) -> None:
    """A body without a JSON content type must be refused: a browser would send it without a preflight request."""
    answer = embedded.post("/chat", data=json.dumps({"question": "x"}).encode(), headers=headers)
    assert answer.status_code == 422


def test_empty_body(embedded: Container) -> None:
    """An empty body must be refused."""
    assert send(embedded, "").status_code == 422


@pytest.mark.parametrize("body", ["[]", "null", '"x"', "5"])
def test_body_that_is_not_an_object(embedded: Container, body: str) -> None:
    """JSON that is not an object must be refused."""
    assert send(embedded, body).status_code == 422


@pytest.mark.parametrize(
    "body", ["{}", *(f'{{"question": {q}}}' for q in ("null", "5", '""', '"  "', '"\\u0001"'))]
)
def test_question_without_text(embedded: Container, body: str) -> None:
    """A question that is missing, of another type or without text must be refused."""
    assert send(embedded, body).status_code == 422


def test_question_at_its_limit(embedded: Container) -> None:
    """A question of 2,000 characters must be answered, and one of 2,001 refused."""
    assert ask(embedded, "x" * 2000).status_code == 200
    assert ask(embedded, "x" * 2001).status_code == 422


@pytest.mark.parametrize("top_k", ["0", "21", '"5"', "1.5", "NaN", "true", "9" * 5000])
def test_top_k_out_of_range(embedded: Container, top_k: str) -> None:
    """An invalid `top_k` must be refused."""
    assert send(embedded, f'{{"question": "x", "top_k": {top_k}}}').status_code in (400, 422)


def test_unknown_field(embedded: Container) -> None:
    """An unknown field must be refused: it is probably a misspelling."""
    assert ask(embedded, selectedText="x").status_code == 422


@pytest.mark.parametrize(
    "history",
    [
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "x"}] * 21,
        [{"role": "user", "content": "x" * 4001}],
    ],
    ids=["system", "21 turns", "long turn"],
)
def test_history_out_of_bounds(embedded: Container, history: list[dict[str, str]]) -> None:
    """A history with another role, too many turns or a too long turn must be refused."""
    assert ask(embedded, history=history).status_code == 422


def test_nul_inside_a_question(embedded: Container) -> None:
    """A NUL must be removed or refused."""
    assert send(embedded, '{"question": "a\\u0000b"}').status_code in (200, 422)


@pytest.mark.parametrize(
    "body",
    [
        '{"question": "\\ud800"}',
        '{"question": "x", "history": [{"role": "user", "content": "\\ud800"}]}',
        '{"question": "x", "top_k": "\\ud800"}',
        '{"question": "x", "\\ud800": 1}',
    ],
    ids=["question", "history", "wrong type", "name"],
)
def test_lone_surrogate(embedded: Container, body: str) -> None:
    """Text that no UTF-8 answer could carry must be refused."""
    assert send(embedded, body).status_code == 422


@pytest.mark.parametrize(
    "body",
    [b'{"question": "\xff"}', b'{"question": "a\x00b"}', b"[" * 60_000],
    ids=["invalid UTF-8", "raw NUL", "deep"],
)
def test_hostile_bytes(embedded: Container, body: bytes) -> None:
    """Invalid UTF-8, NUL bytes and deep nesting must be refused with a 4xx."""
    answer = send(embedded, body)
    assert 400 <= answer.status_code < 500
    code_of(answer)


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "by chunks"])
def test_body_over_its_limit(embedded: Container, chunked: bool) -> None:
    """A body above the limit must be refused in the error envelope, with CORS headers."""
    body = b"x" * 1_200_000
    answer = embedded.post(
        "/chat",
        data=iter([body[:600_000], body[600_000:]]) if chunked else body,
        headers={**JSON, "Origin": ORIGIN},
    )
    assert answer.status_code == 413
    assert code_of(answer) == "body_too_large"
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize(
    "body",
    [
        {"question": 5, "selected_text": MARKER * 1000},
        {"question": "x", MARKER: 1},
        {"question": "x", "top_k": MARKER},
        {"question": "x", "history": [{"role": MARKER, "content": "x"}]},
    ],
)
def test_refusal_does_not_repeat_the_text(embedded: Container, body: dict[str, object]) -> None:
    """A refusal must name the field and the rule, and must not repeat the value."""
    answer = embedded.post("/chat", json=body)
    assert answer.status_code == 422
    assert code_of(answer) == "invalid_request"
    assert answer.json()["error"]["fields"]
    assert MARKER not in answer.text


@pytest.mark.parametrize(
    "question", ['"', "OR", "a OR", "NEAR(", "*", ")", "--", "\\", "a AND NOT", "{text}: x", "^x"]
)
def test_query_syntax_is_only_text(embedded: Container, question: str) -> None:
    """Query syntax of the search engine must be treated as plain text."""
    assert ask(embedded, question).status_code == 200


@pytest.mark.parametrize("question", ["🚀 Space?", "空间为什么卡住了", "לָמָּה", "é́́ Space"])
def test_every_script_is_answered(embedded: Container, question: str) -> None:
    """A question in any script must get an answer that is valid UTF-8."""
    answer = ask(embedded, question)
    assert answer.status_code == 200
    answer.content.decode("utf-8")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/chat", 405), ("PUT", "/chat", 405), ("GET", "/no", 404), ("POST", "/health", 405)],
)
def test_wrong_method_or_path(embedded: Container, method: str, path: str, status: int) -> None:
    """A wrong method or path must be refused in the error envelope, a wrong method with `Allow`."""
    answer = embedded.request(method, path)
    assert answer.status_code == status
    code_of(answer)
    assert status != 405 or answer.headers["allow"]

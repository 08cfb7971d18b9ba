"""The head of a request must be limited in size and time, tested on a real socket."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from app import connection, guard

HOST = b"Host: x\r\n"


class Answer:
    """The first answer among the bytes of a connection."""

    def __init__(self, received: bytes) -> None:
        head, _, self.body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


def talk(port: int, *parts: bytes) -> bytes:
    """All bytes that the server sends in answer to `parts`, until it disconnects."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        try:
            for part in parts:
                client.sendall(part)
            while chunk := client.recv(65_536):
                received += chunk
        except (ConnectionResetError, BrokenPipeError):
            pass
    return received


def get(*lines: bytes) -> bytes:
    return b"GET /health HTTP/1.1\r\nConnection: close\r\n" + b"".join(lines) + b"\r\n"


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    assert len(answer.headers["x-request-id"]) == 16
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"


def test_a_sound_request_is_answered(port: int) -> None:
    assert Answer(talk(port, get(HOST))).status == 200


def test_a_head_at_its_limit_is_read(port: int) -> None:
    room = connection.MAX_HEAD_BYTES - len(get(HOST, b"X: \r\n"))
    assert Answer(talk(port, get(HOST, b"X: " + b"x" * room + b"\r\n"))).status == 200


@pytest.mark.parametrize(
    "filling",
    [b"X: " + b"x" * 40_000 + b"\r\n", b"".join(b"X%d: x\r\n" % n for n in range(6000))],
    ids=["one header", "many headers"],
)
def test_a_large_head_is_refused(port: int, filling: bytes) -> None:
    assert_refused(Answer(talk(port, get(HOST, filling))), 431, "headers_too_large")


def test_a_large_request_line_is_refused(port: int) -> None:
    line = b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    assert_refused(Answer(talk(port, line)), 431, "headers_too_large")


def test_an_endless_header_is_refused_while_it_is_sent(port: int) -> None:
    def endless() -> Iterator[bytes]:
        yield b"GET / HTTP/1.1\r\nX: "
        for _ in range(50):
            yield b"x" * 65_536

    assert_refused(Answer(talk(port, *endless())), 431, "headers_too_large")


def test_the_second_request_of_a_connection_has_the_same_limit(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
        received = b""
        while not received.endswith(b"}}"):
            received += client.recv(65_536)
        assert Answer(received).status == 200
        client.sendall(get(HOST, b"X: " + b"x" * 40_000 + b"\r\n"))
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n\r\n"])
def test_a_half_sent_head_is_given_up(
    port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    started = time.monotonic()
    assert_refused(Answer(talk(port, sent)), 408, "request_timeout")
    assert 0.1 < time.monotonic() - started < 2


def test_a_trickled_head_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(client.recv(65_536)))
        reader.start()
        for _ in range(20):
            time.sleep(0.1)
            if not reader.is_alive():
                break
            client.sendall(b"X: x\r\n")
        reader.join(5)
    assert_refused(Answer(received[0]), 408, "request_timeout")


def test_a_silent_connection_is_closed_without_a_word(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    assert talk(port) == b""


def test_a_slow_head_within_its_time_is_answered(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for byte in get(HOST):
            client.sendall(bytes([byte]))
        assert client.recv(65_536).startswith(b"HTTP/1.1 200")


def test_an_unread_body_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    head = b"GET /health HTTP/1.1\r\nContent-Length: 100\r\n" + HOST + b"\r\n"
    assert Answer(talk(port, head)).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /\r\n\r\n",
        b"GET /health\r\n" + HOST + b"\r\n",
        b"GET /health HTTP/0.9\r\n" + HOST + b"\r\n",
        b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        get(HOST, b"Host: y\r\n"),
        get(HOST, HOST),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/1.1\r\nBad Header: x\r\n" + HOST + b"\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n",
    ],
)
def test_a_malformed_head_is_refused_in_the_envelope(port: int, sent: bytes) -> None:
    assert_refused(Answer(talk(port, sent)), 400, "bad_request")


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "by chunks"])
def test_a_large_body_is_refused_where_its_sender_can_read_it(port: int, chunked: bool) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    pieces = [b"x" * 1_000_000] * 20
    headers = {"Content-Type": "application/json"}
    if chunked:
        client.request("POST", "/chat", iter(pieces), headers, encode_chunked=True)
    else:
        client.request("POST", "/chat", b"".join(pieces), headers)
    answer = client.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"]["code"] == "body_too_large"
    client.close()


def test_an_endless_body_is_cut(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LINGER_SECONDS", 0.3)

    head = b"POST /chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    started = time.monotonic()
    talk(port, head, *[chunk] * 10_000)
    assert time.monotonic() - started < 5


def test_a_malformed_body_is_refused_at_once(port: int) -> None:
    head = b"POST /chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n"
    started = time.monotonic()
    assert_refused(Answer(talk(port, head, b"not a size\r\n")), 400, "bad_request")
    assert time.monotonic() - started < 2


def test_an_answer_under_way_is_finished_before_a_refusal(port: int) -> None:
    body = b'{"question": "Why does my boat leak?"}'
    head = b"POST /chat HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    received = talk(port, head % len(body) + HOST + b"\r\n" + body + b"GET /\r\n\r\n")
    answer = Answer(received)
    assert answer.status == 200 and json.loads(answer.body)["mode"] == "extractive"


def test_a_refusal_has_a_line_in_the_log(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(talk(port, b"GET /\r\n\r\n"))
    (line,) = (x for x in capsys.readouterr().out.splitlines() if '"status": 400' in x)
    assert json.loads(line)["request_id"] == answer.headers["x-request-id"]

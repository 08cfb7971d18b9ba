"""A server with one kind of hostile behaviour, named by its argument.

`/` answers soundly if the behaviour allows it, so that the Space passes its start.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable

PORT = 7860
PAGE = b"<!doctype html><html lang=en><title>x</title><h1>x</h1></html>"
MEGABYTE = b"x" * 1024**2


def answer(body: bytes, kind: str = "text/html", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode() + body


SOUND = answer(PAGE)
ABSENT = answer(b"absent", "text/plain", "404 Not Found")


def closes(client: socket.socket, path: str) -> None:
    """Closes each connection without an answer."""


def resets(client: socket.socket, path: str) -> None:
    """Resets each connection."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage(client: socket.socket, path: str) -> None:
    """Sends bytes that are not HTTP."""
    client.sendall(os.urandom(4096))


def http_0_9(client: socket.socket, path: str) -> None:
    """Sends a page without status line and headers."""
    client.sendall(PAGE)


def closes_beside_the_page(client: socket.socket, path: str) -> None:
    if path == "/":
        client.sendall(SOUND)


def lies_about_a_length(client: socket.socket, path: str) -> None:
    client.sendall(SOUND if path == "/" else answer(MEGABYTE)[:200])


def redirects_forever(client: socket.socket, path: str) -> None:
    client.sendall(answer(b"", "text/plain", "302 Found", f"Location: {path}"))


def never_ends_a_body(client: socket.socket, path: str) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    while True:
        client.sendall(b"<p>more</p>")
        time.sleep(0.2)


def never_ends_a_header(client: socket.socket, path: str) -> None:
    if path == "/":
        return client.sendall(SOUND)
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X-More: x\r\n")
        time.sleep(0.2)


def sends_a_huge_header(client: socket.socket, path: str) -> None:
    if path == "/":
        return client.sendall(SOUND)
    client.sendall(b"HTTP/1.1 200 OK\r\nX-Huge: ")
    for _ in range(100):
        client.sendall(MEGABYTE)


def sends_a_huge_page(client: socket.socket, path: str) -> None:
    client.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 104857600\r\n\r\n"
    )
    for _ in range(100):
        client.sendall(MEGABYTE)


def documents_no_json(client: socket.socket, path: str) -> None:
    broken = answer(b'{"paths": [1, {"a"', "application/json")
    client.sendall({"/": SOUND, "/openapi.json": broken}.get(path, ABSENT))


def documents_another_shape(client: socket.socket, path: str) -> None:
    shape = {"paths": [{"get": 1}, None], "servers": "none", "openapi": 3}
    odd = answer(json.dumps(shape).encode(), "application/json")
    client.sendall({"/": SOUND, "/openapi.json": odd}.get(path, ABSENT))


def documents_5000_paths(client: socket.socket, path: str) -> None:
    operation = {"responses": {"200": {"description": "ok"}}}
    paths = {f"/item/{n}": {"post": operation, "get": operation} for n in range(5000)}
    document = answer(json.dumps({"openapi": "3.1.0", "paths": paths}).encode(), "application/json")
    client.sendall({"/": SOUND, "/openapi.json": document}.get(path, ABSENT))


def speaks_tls(client: socket.socket, path: str) -> None:
    client.sendall(SOUND)


WAYS: dict[str, Callable[[socket.socket, str], None]] = {
    way.__name__: way
    for way in (
        closes, resets, garbage, http_0_9, closes_beside_the_page, lies_about_a_length,
        redirects_forever, never_ends_a_body, never_ends_a_header, sends_a_huge_header,
        sends_a_huge_page, documents_no_json, documents_another_shape, documents_5000_paths, speaks_tls,
    )
}  # fmt: skip


def serve(way: str) -> None:
    secured = _certificate() if way == "speaks_tls" else None

    def handle(client: socket.socket) -> None:
        try:
            with secured.wrap_socket(client, server_side=True) if secured else client as connection:
                head = connection.recv(65536).decode("latin-1").split(" ")
                WAYS[way](connection, head[1] if len(head) > 1 else "/")
        except OSError:
            pass

    with socket.create_server(("0.0.0.0", PORT), backlog=128) as server:
        while True:
            threading.Thread(target=handle, args=(server.accept()[0],), daemon=True).start()


def _certificate() -> ssl.SSLContext:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/key -out /tmp/crt -days 2 -subj /CN=x"
    subprocess.run(make.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tmp/crt", "/tmp/key")
    return context


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    serve(sys.argv[1])

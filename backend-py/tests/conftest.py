"""A small book, indexed once; the app reads its settings at import."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp

BOOK = """# Boats

A boat floats.

## Why does my boat leak?

A boat leaks when its hull has a hole. Close the hole with tar.

## Sails

Sails catch the wind. Reef the sails in a storm.
"""


def _built(folder: Path) -> Path:
    from app.ingest import main

    (folder / "book").mkdir()
    (folder / "book" / "01-boats.md").write_text(BOOK)
    index = folder / "index.sqlite"
    assert main(["build", "--source", str(folder / "book"), "--out", str(index)]) == 0
    return index


_FOLDER = Path(tempfile.mkdtemp())
INDEX = _built(_FOLDER)
os.environ.update(RAG_MODE="embedded", INDEX_PATH=str(INDEX))


@pytest.fixture(scope="session")
def index_path() -> Path:
    return INDEX


@pytest.fixture
def app() -> ASGIApp:
    from app.main import create_app
    from app.settings import read_settings

    return create_app(
        read_settings(
            {
                "RAG_MODE": "embedded",
                "INDEX_PATH": str(INDEX),
                "CORS_ORIGINS": "https://book.example",
                "RATE_PER_MINUTE": "0",
            }
        )
    )


@pytest.fixture
def client(app: ASGIApp) -> Iterator[TestClient]:
    with TestClient(app) as client:
        client.get("/")  # Waits until all is loaded.
        yield client


@pytest.fixture
def port(app: ASGIApp) -> Iterator[int]:
    """A port of 127.0.0.1 where a real server serves `app` as the image does."""
    from app.connection import Connection

    server = uvicorn.Server(
        uvicorn.Config(
            app, port=0, http=Connection, ws="none", log_config=None, server_header=False
        )
    )
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),))
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server ended at its start"
        thread.join(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive(), "the server does not stop"

"""Names under hf.localhost must reach the edge from the programs that docs/rehearsal.md names, and from no other."""

from __future__ import annotations

import socket
import subprocess

import pytest

from preflight.engine.docker import docker
from preflight.engine.image import stand_in
from preflight.engine.run import Run
from tests.spaces import ROOT

NAME = "acme-backend-py.hf.localhost"
PYTHON = "python:3.11-slim-bookworm"  # its C library is glibc
RESOLVE = f"import socket; print(socket.gethostbyname('{NAME}'))"


@pytest.fixture(scope="module")
def paragraph() -> str:
    """What the page says of these names."""
    paragraphs = (ROOT / "docs" / "rehearsal.md").read_text().split("\n\n")
    (found,) = [text for text in paragraphs if "hf.localhost" in text and "resolve" in text]
    return found


def resolved(run: Run, *options: str) -> str:
    """The address that Python gets, where no network and no name service is at hand."""
    image = stand_in(PYTHON) or PYTHON
    return docker(
        "run", "--rm", *run.labels, "--network=none", *options, image, "python", "-c", RESOLVE,
        check=False,
    ).stdout.strip()  # fmt: skip


def test_must_say_that_glibc_does_not_resolve_them(run: Run, paragraph: str) -> None:
    assert resolved(run) == ""
    assert "Python" in paragraph and "glibc" in paragraph


def test_must_name_a_remedy_that_works(run: Run, paragraph: str) -> None:
    assert resolved(run, f"--add-host={NAME}:127.0.0.1") == "127.0.0.1"
    assert "/etc/hosts" in paragraph


def test_must_name_curl_which_resolves_them(paragraph: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://{NAME}:{server.getsockname()[1]}/"
        curl = subprocess.Popen(["curl", "-s", "--max-time", "10", address])
        try:
            server.settimeout(10)
            server.accept()[0].close()
        finally:
            curl.kill()
            curl.wait(10)
    assert "curl" in paragraph

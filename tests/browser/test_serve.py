"""`preflight serve` must show a Space at its public address and in the Hub's frame, and follow changes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, expect

from preflight.engine.run import Run
from tests.browser.conftest import launch
from tests.cli.documents import typed
from tests.spaces import folder_of


@dataclass(frozen=True)
class Served:
    folder: Path
    port: int
    log: Path

    def says(self, text: str, deadline: float = 120) -> None:
        """Wait until the command has printed `text`."""
        end = time.monotonic() + deadline
        while text not in self.log.read_text():
            assert time.monotonic() < end, (
                f"no {text!r} within {deadline:g} s:\n{self.log.read_text()}"
            )
            time.sleep(0.1)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "web"
    shutil.copytree(folder_of("static_files"), folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = tmp_path / "serve.log"
    command = typed("preflight serve my-space --watch", {"my-space": shlex.quote(str(folder))})
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(command), f"--port={port}"],
            stdout=output, stderr=subprocess.STDOUT, cwd=tmp_path, env=dict(os.environ),
        )  # fmt: skip
    try:
        yield Served(folder, port, log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert "nothing is left running" in log.read_text()


def test_the_frame_must_show_the_space_and_its_next_build(
    served: Served, run: Run, playwright: Playwright
) -> None:
    served.says("in the Hub's frame: ")
    with (
        launch(run, playwright) as chromium,
        chromium.new_context(ignore_https_errors=True) as fresh,
    ):
        page = fresh.new_page()
        page.goto(f"https://huggingface.localhost:{served.port}/spaces/acme/web")
        frame = page.frame_locator("iframe")
        before = frame.locator("body").inner_text()

        index = served.folder / "site" / "index.html"
        index.write_text("<!doctype html><title>Next</title><p>the next build</p>")
        served.says("changed: rebuilding")
        end = time.monotonic() + 120
        while served.log.read_text().count("serves after") < 2:
            assert time.monotonic() < end, served.log.read_text()
            time.sleep(0.1)
        page.reload()

        assert before != "the next build"
        expect(frame.locator("p")).to_have_text("the next build")
        page.goto(f"https://acme-web.hf.localhost:{served.port}/")
        expect(page.locator("p")).to_have_text("the next build")


def test_a_build_that_fails_must_leave_what_serves(
    served: Served, run: Run, playwright: Playwright
) -> None:
    served.says("in the Hub's frame: ")
    dockerfile = served.folder / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN exit 3\n")
    served.says("the build failed; what served before goes on")
    with (
        launch(run, playwright) as chromium,
        chromium.new_context(ignore_https_errors=True) as fresh,
    ):
        answer = fresh.request.get(
            f"https://127.0.0.1:{served.port}/", headers={"Host": "acme-web.hf.localhost"}
        )
        assert answer.status in (200, 404)
        page = fresh.new_page()
        shown = page.goto(f"https://acme-web.hf.localhost:{served.port}/")
        assert shown and shown.status == 200

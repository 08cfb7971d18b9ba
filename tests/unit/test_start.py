"""A start that does not serve must end in a typed, named outcome, as soon as it is clear."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preflight.engine.diagnosis import Kind, failed_request, lacking
from preflight.engine.image import build_space
from preflight.engine.observer import HUB_NAME
from preflight.engine.run import Run
from preflight.engine.start import Start, start
from preflight.model.hub_profile import HUB
from preflight.model.space import Space, space_of_folder

StartNamed = Callable[[str, str], Start]

HEAD = """\
import os, sys, time, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

def serve(port):
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    threading.Thread(target=server.serve_forever).start()

"""


@pytest.fixture
def start_named(run: Run, tmp_path: Path) -> Iterator[StartNamed]:
    """Starts a named Space whose server runs the given Python."""
    attempt: list[Start] = []

    def of_code(name: str, code: str) -> Start:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "main.py").write_text(HEAD + code)
        (folder / "README.md").write_text("---\nsdk: docker\n---\n")
        (folder / "Dockerfile").write_text(
            'FROM python:3.11-slim-bookworm\nCOPY main.py /\nCMD ["python", "-u", "/main.py"]\n'
        )
        space: Space = space_of_folder(folder)
        attempt.append(start(run, space, build_space(run, space)))
        return attempt[-1]

    yield of_code
    for started in attempt:
        if started.container:
            started.container.remove()


def test_a_wrong_port_is_clear_long_before_the_deadline(start_named: StartNamed) -> None:
    """A server that waits on another port must be reported with that port and a fix."""
    failure = start_named("listens-on-3000", "serve(3000)\n").failure
    assert failure and failure.kind is Kind.WRONG_PORT
    assert "0.0.0.0:3000" in failure.actual
    assert "app_port: 3000" in failure.fix


def test_a_wrong_port_is_reported_in_seconds(start_named: StartNamed) -> None:
    """Its verdict must take less than half of the deadline; a tenth on a quiet machine."""
    attempt = start_named("listens-on-3000", "serve(3000)\n")
    assert attempt.failure and attempt.seconds < HUB.start_deadline / 2


def test_a_server_that_is_still_busy_is_waited_for(start_named: StartNamed) -> None:
    """A busy server that first listens elsewhere must get the time that the Hub allows."""
    late = (
        "serve(9000)\nend = time.time() + 9\nwhile time.time() < end:\n    sum(range(100_000))\n"
        "serve(7860)\n"
    )
    attempt = start_named("listens-late", late)
    assert attempt.failure is None
    assert attempt.seconds > HUB.elsewhere, "the server was not late"


@pytest.mark.parametrize(
    ("meanwhile", "then", "serves"),
    [
        ("sum(range(100_000))", "serve(7860)", True),
        ("sum(range(100_000))", "time.sleep(200)", False),
        ("time.sleep(0.5)", "serve(7860)", False),
    ],
    ids=["at work", "at work, then idle", "idle"],
)
def test_a_start_at_work_must_get_more_time(
    start_named: StartNamed,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
    then: str,
    serves: bool,
) -> None:
    """The Hub waits 30 minutes: a slowly loading model must not be reported, a bot that never listens must be."""
    monkeypatch.setattr(
        "preflight.engine.start.HUB", dataclasses.replace(HUB, start_deadline=3, patience=25)
    )
    monkeypatch.setattr("preflight.engine.container.stretched", lambda deadline, most=1: deadline)
    code = f"end = time.time() + 12\nwhile time.time() < end:\n    {meanwhile}\n{then}\n"
    attempt = start_named(f"start-{len(code)}", code)
    assert (attempt.failure is None) == serves
    assert not serves or attempt.seconds > 12
    assert attempt.seconds < 50, "an idle start was awaited to the end"


def test_an_answer_that_is_not_http_must_differ_from_silence(start_named: StartNamed) -> None:
    raw = (
        "import socket\nwith socket.create_server(('0.0.0.0', 7860)) as server:\n"
        "    while True:\n        server.accept()[0].close()\n"
    )
    attempt = start_named("closes-each-connection", raw)
    assert attempt.failure and attempt.failure.kind is Kind.NO_ANSWER
    assert attempt.seconds < HUB.start_deadline / 2


def test_a_missing_variable_is_named_with_the_others(start_named: StartNamed) -> None:
    """The finding must name the variable in the log, and all others that the code requires."""
    code = 'os.environ["API_KEY"]\nos.environ["DATABASE_URL"]\nos.getenv("LOG_LEVEL")\n'
    failure = start_named("lacks-two", code).failure
    assert failure and failure.kind is Kind.CRASH_LOOP
    assert failure.missing == ("API_KEY", "DATABASE_URL")
    assert "--env API_KEY=VALUE" in failure.fix and "preflight init" in failure.fix


def test_a_running_space_that_lacks_a_key_must_get_a_command_for_here(
    start_named: StartNamed, tmp_path: Path
) -> None:
    """A value in the settings on the Hub does not change what this machine finds."""
    code = """print("KeyError: 'API_KEY'")\nserve(7860)\n"""
    container = start_named("lacks-a-key", code).container
    assert container
    assert lacking(container, tmp_path) == (
        "the log names API_KEY as missing",
        "Give API_KEY a value: --env API_KEY=VALUE",
    )


def test_a_crash_must_show_the_code_of_the_space_alone(start_named: StartNamed) -> None:
    """Frames in libraries must not fill the finding: the Space's owner cannot change them."""
    code = 'import json\nos.environ["JSON"] = "{"\njson.loads(os.environ["JSON"])\n'
    failure = start_named("parses-nothing", code).failure
    assert failure and failure.kind is Kind.CRASH_LOOP
    assert 'json.loads(os.environ["JSON"])' in failure.actual
    assert "JSONDecodeError" in failure.actual
    assert "json/decoder.py" not in failure.actual and "^^^" not in failure.actual
    assert failure.actual.count('File "') == 1, failure.actual


def test_a_crash_must_be_told_with_its_cause(start_named: StartNamed) -> None:
    failure = start_named("imports-nothing", "import no_such_module\n").failure
    assert failure and "cause: a module is not in the image" in failure.actual


def test_an_error_of_a_request_must_be_told_with_its_cause(start_named: StartNamed) -> None:
    code = (
        "import traceback\ndef fails(self):\n    try:\n        open('prices.csv')\n    except OSError:\n"
        "        traceback.print_exc()\n    self.send_response(500)\n    self.end_headers()\n"
        "Handler.do_GET = fails\nserve(7860)\n"
    )
    container = start_named("fails-at-requests", code).container
    assert container
    said, fix = failed_request(container)
    assert "cause: the app reads a file that is not in the image" in said
    assert "prices.csv" in said and fix and fix.startswith("COPY it")


def test_the_service_of_a_compose_file_must_be_named(start_named: StartNamed) -> None:
    """Python's message for an unknown host does not contain its name; the observer saw the look-up."""
    code = "import socket\nsocket.create_connection(('cache', 6379))\n"
    failure = start_named("looks-for-a-service", code).failure
    assert failure and "no host is named cache" in failure.actual
    assert "one container" in failure.fix and not failure.unjudged


def test_a_command_that_cannot_be_run_is_an_end(
    start_named: StartNamed, run: Run, tmp_path: Path
) -> None:
    """An invalid command must be a diagnosis, by the exit code of `docker run`."""
    folder = tmp_path / "no-such-command"
    folder.mkdir()
    (folder / "README.md").write_text("---\nsdk: docker\n---\n")
    (folder / "Dockerfile").write_text('FROM python:3.11-slim-bookworm\nCMD ["no-such-command"]\n')
    space = space_of_folder(folder)
    attempt = start(run, space, build_space(run, space))
    assert attempt.container is None
    assert attempt.failure and attempt.failure.kind is Kind.EXITED
    assert "no-such-command" in attempt.failure.actual


NO_SUCH_HOST = 'import urllib.request\nurllib.request.urlopen("https://models.invalid/weights")\n'


def test_a_start_that_needs_a_network_is_not_judged_without(start_named: StartNamed) -> None:
    """A failed look-up must count against the Space only on a machine that resolves the Hub's name."""
    failure = start_named("downloads-at-start", NO_SUCH_HOST).failure
    assert failure and failure.kind is Kind.CRASH_LOOP
    try:
        socket.getaddrinfo(HUB_NAME, 443)
    except OSError:
        assert "models.invalid" in failure.unjudged
    else:
        assert not failure.unjudged


def test_another_fault_is_judged_without_a_network(start_named: StartNamed) -> None:
    """A look-up that fails and is survived must not excuse the fault that ends the Space."""
    survived = f"try:\n    {NO_SUCH_HOST.replace(chr(10), chr(10) + '    ')}\nexcept OSError as error:\n    print(error)\n"
    failure = start_named("fails-otherwise", f"{survived}import absent_module\n").failure
    assert failure and failure.kind is Kind.CRASH_LOOP and not failure.unjudged

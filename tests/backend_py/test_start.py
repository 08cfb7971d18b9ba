"""A wrong environment is refused at once, by name; a right one starts whatever the upstreams do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from backend_py.asking import QUESTION, ask
from backend_py.conftest import READ_ONLY, StartPy
from doubles.running import Upstreams
from preflight.container import Container, Exit, run_to_end, stretched
from preflight.docker import docker
from preflight.image import Image
from preflight.run import Run

MARKER = "marker-that-must-not-appear"
CLOUD = {
    "COHERE_API_KEY": MARKER,
    "QDRANT_URL": f"https://{MARKER}.example:6333",
    "QDRANT_API_KEY": MARKER,
}


class Refusals:
    """How the Space ends in each of several environments, run side by side."""

    def __init__(self, run: Run, image: Image) -> None:
        self._run, self._image = run, image

    def of(self, environments: Sequence[Mapping[str, str]]) -> list[Exit]:
        def end(environment: Mapping[str, str]) -> Exit:
            done = run_to_end(self._run, self._image, environment, deadline=15)
            assert done, f"still running with {environment}"
            assert done.code == 3
            assert MARKER not in done.output
            assert "Traceback" not in done.output
            return done

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(end, environments))


@pytest.fixture
def refusals(run: Run, py_image: Image) -> Refusals:
    return Refusals(run, py_image)


def named(done: Exit) -> set[str]:
    """The variables that the refusal names."""
    return {line.partition(":")[0] for line in done.output.splitlines()}


def test_nothing_set(refusals: Refusals) -> None:
    """Row 1: all that is missing must be named in one go."""
    (done,) = refusals.of([{}])
    assert named(done) == set(CLOUD)


def test_each_variable_missing_empty_or_blank(refusals: Refusals) -> None:
    """Rows 2, 3, 5: missing, empty and blank must be refused alike, naming exactly that one."""
    cases = [(name, value) for name in CLOUD for value in (None, "", "  ")]
    environments = [
        {key: v for key, v in {**CLOUD, name: value}.items() if v is not None}
        for name, value in cases
    ]
    for (name, _), done in zip(cases, refusals.of(environments), strict=True):
        assert named(done) == {name}


def test_unusable_url(refusals: Refusals) -> None:
    """Rows 4, 5: a URL that no client could use must be refused by name, without its value."""
    urls = ["not a url", "ftp://x", "x:6333", "http://x:abc", f"http//{MARKER}"]
    for done in refusals.of([{**CLOUD, "QDRANT_URL": url} for url in urls]):
        assert named(done) == {"QDRANT_URL"}


def test_wildcard_origin(refusals: Refusals) -> None:
    """Row 6: a wildcard must be refused, naming the entry's position."""
    origins = f"https://good.example,*,https://{MARKER}.example/"
    (done,) = refusals.of([{"RAG_MODE": "embedded", "CORS_ORIGINS": origins}])
    assert named(done) == {"CORS_ORIGINS"}
    assert "entry 2" in done.output and "entry 3" in done.output


def test_import_checks_too(embedded: Container) -> None:
    """Row 7: whoever serves `app.main` in another way must meet the same check."""
    command = ["exec", "--env=RAG_MODE=cloud", embedded.id, "python", "-c", "import app.main"]
    done = docker(*command, check=False)
    assert done.returncode == 3
    assert all(name in done.stderr for name in CLOUD)
    assert "Traceback" not in done.stderr


def test_upstreams_unreachable(start_space: StartPy) -> None:
    """Row 8: dead upstreams must not keep the Space from starting."""
    environment = {
        **CLOUD,
        "QDRANT_URL": "http://127.0.0.1:9",
        "COHERE_BASE_URL": "http://127.0.0.1:9",
    }
    space = start_space("backend-py", environment)
    assert space.wait_until_serving("/health", status=200) < stretched(5)
    assert ask(space, QUESTION).json()["mode"] == "extractive"


def test_no_network_no_home_no_disk(start_space: StartPy) -> None:
    """Rows 9, 11: without keys, HOME or a writable disk the Space must answer with sources."""
    space = start_space("backend-py", {"RAG_MODE": "embedded", "HOME": ""}, READ_ONLY)
    space.wait_until_serving("/health", status=200)
    answer = ask(space).json()
    assert answer["grounded"] and answer["sources"]


@pytest.mark.parametrize("name", [None, "other-book"])
def test_collection_name(start_space: StartPy, upstreams: Upstreams, name: str | None) -> None:
    """Row 10: the collection is `book` unless COLLECTION_NAME says otherwise."""
    upstreams.reset()
    # A key of its own tells its calls from those of the other Spaces that run.
    chosen = {"QDRANT_API_KEY": "own", **({"COLLECTION_NAME": name} if name else {})}
    space = start_space("backend-py", {**upstreams.environment, **chosen}, upstreams.network)
    space.wait_until_serving("/health", status=200)
    ask(space)
    calls = [call for call in upstreams.calls("/collections/") if call["api_key"] == "own"]
    assert {call["path"].split("/")[2] for call in calls} == {name or "book"}


def test_warns_of_a_closed_port(start_space: StartPy, upstreams: Upstreams) -> None:
    """On the Hub a port that a Space may not call must be warned of."""
    environment = {**upstreams.environment, "QDRANT_URL": "http://upstreams:6333"}
    space = start_space("backend-py", {**environment, "SYSTEM": "spaces"}, upstreams.network)
    space.wait_until_serving("/health", status=200)
    assert "QDRANT_URL: port 6333 is outside the ports" in space.logs()

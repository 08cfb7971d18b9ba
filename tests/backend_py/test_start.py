"""A wrong environment must be refused by name; a right one must start whatever the upstreams do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from preflight.engine.container import Container, SpaceContainer, stretched
from preflight.engine.docker import docker
from preflight.engine.image import Image
from preflight.engine.run import Run
from tests.backend_py.asking import ask, assert_stops
from tests.backend_py.conftest import OTHER_COLLECTION, StartPy
from tests.doubles.running import Upstreams

MARKER = "marker-that-must-not-appear"
CLOUD = {
    "COHERE_API_KEY": MARKER,
    "QDRANT_URL": f"https://{MARKER}.example:6333",
    "QDRANT_API_KEY": MARKER,
}


# Runs the image's command in each environment, with no other variable but PATH.
ENDS = """
import json, os, subprocess, sys
command, environments = json.load(sys.stdin)
ends = []
for environment in environments:
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], **environment}, timeout=15,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    ends.append([done.returncode, done.stdout])
print(json.dumps(ends))
"""


class Refusals:
    """The output of the Space in environments that it must refuse."""

    def __init__(self, image: Image, space: Container) -> None:
        self._image, self._space = image, space

    def of(self, environments: Sequence[Mapping[str, str]]) -> list[str]:
        # In one container: starting a container takes longer than a refusal.
        given = json.dumps([self._image.config["Cmd"], environments])
        done = docker("exec", "--interactive", self._space.id, "python", "-c", ENDS, stdin=given)
        ends = json.loads(done.stdout)
        assert len(ends) == len(environments) > 0
        for code, output in ends:
            assert_refused(code, output)
        return [output for _, output in ends]


def assert_refused(code: int, output: str) -> None:
    assert code == 3, output
    assert MARKER not in output
    assert "Traceback" not in output


@pytest.fixture
def refusals(py_image: Image, embedded: Container) -> Refusals:
    return Refusals(py_image, embedded)


def named(output: str) -> set[str]:
    """The variables that the refusal names."""
    return {line.partition(":")[0] for line in output.splitlines()}


def test_nothing_set(run: Run, py_image: Image) -> None:
    """All missing variables must be named at once, and the container must exit with code 3."""
    done = SpaceContainer.run_to_exit(run, py_image, {}, deadline=15, options=["--network=none"])
    assert done, "the container still runs"
    assert_refused(done.code, done.output)
    assert named(done.output) == set(CLOUD)


def test_each_variable_missing_empty_or_blank(refusals: Refusals) -> None:
    """A missing, empty or blank variable must be refused, and only that variable must be named."""
    cases = [(name, value) for name in CLOUD for value in (None, "", "  ")]
    environments = [
        {key: v for key, v in {**CLOUD, name: value}.items() if v is not None}
        for name, value in cases
    ]
    for (name, _), output in zip(cases, refusals.of(environments), strict=True):
        assert named(output) == {name}


def test_unusable_url(refusals: Refusals) -> None:
    """An unusable URL must be refused with the name of its variable, without its value."""
    urls = ["not a url", "ftp://x", "x:6333", "http://x:abc", f"http//{MARKER}"]
    for output in refusals.of([{**CLOUD, "QDRANT_URL": url} for url in urls]):
        assert named(output) == {"QDRANT_URL"}


def test_wildcard_origin(refusals: Refusals) -> None:
    """A wildcard origin must be refused with the position of its entry."""
    origins = f"https://good.example,*,https://{MARKER}.example/"
    (output,) = refusals.of([{"RAG_MODE": "embedded", "CORS_ORIGINS": origins}])
    assert named(output) == {"CORS_ORIGINS"}
    assert "entry 2" in output and "entry 3" in output


def test_import_checks_too(embedded: Container) -> None:
    """Importing `app.main` must run the same check as `python -m app`."""
    command = ["exec", "--env=RAG_MODE=cloud", embedded.id, "python", "-c", "import app.main"]
    done = docker(*command, check=False)
    assert done.returncode == 3
    assert all(name in done.stderr for name in CLOUD)
    assert "Traceback" not in done.stderr


def test_upstreams_unreachable(start_space: StartPy) -> None:
    """The Space must start and stop in time while its upstreams are down."""
    environment = {
        **CLOUD,
        "QDRANT_URL": "http://127.0.0.1:9",
        "COHERE_BASE_URL": "http://127.0.0.1:9",
    }
    space = start_space("backend-py", environment)
    assert space.wait_until_serving("/health", status=200) < stretched(5)
    assert ask(space).json()["mode"] == "extractive"
    space.signal("SIGTERM")
    assert_stops(space)


def test_no_network_no_home_no_disk(embedded: Container) -> None:
    """The Space must answer with sources without keys, HOME or a writable disk."""
    config = embedded.inspection
    assert "HOME=" in config["Config"]["Env"] and config["HostConfig"]["ReadonlyRootfs"]
    answer = ask(embedded).json()
    assert answer["grounded"] and answer["sources"]


def test_collection_name(cloud: Container, upstreams: Upstreams) -> None:
    """The collection must be `book` while COLLECTION_NAME is unset."""
    ask(cloud)
    assert searched(upstreams) == {"book"}


def test_another_collection_name(other: Callable[..., Container], upstreams: Upstreams) -> None:
    """The collection must be the value of COLLECTION_NAME."""
    ask(other([]))
    assert searched(upstreams) == {OTHER_COLLECTION}


def searched(upstreams: Upstreams) -> set[str]:
    return {call["path"].split("/")[2] for call in upstreams.calls("/points/query")}


def test_warns_of_a_closed_port(closed_port: Container) -> None:
    """The log must warn of an upstream port that may be closed on the Hub."""
    assert "QDRANT_URL: port 6333 may be closed on the Hub" in closed_port.logs()

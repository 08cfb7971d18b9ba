"""Any hostile behaviour of a Space must end in a finding, never in a stack trace or a hang."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.server import WAYS

HERE = Path(__file__).parent
DEADLINE_S = 900
# The finding for each behaviour; None where the contract only has to reach its end.
FOUND = {
    "closes": "start.serves",
    "resets": "start.serves",
    "garbage": "start.serves",
    "http_0_9": "start.serves",
    "speaks_tls": "start.serves",
    "closes_beside_the_page": "start.answers_in_http",
    "lies_about_a_length": "start.answers_in_http",
    "never_ends_a_body": "start.answers_in_http",
    "never_ends_a_header": "start.answers_in_http",
    "sends_a_huge_header": "start.answers_in_http",
    "redirects_forever": None,
    "sends_a_huge_page": None,
    "documents_no_json": None,
    "documents_another_shape": None,
    "documents_5000_paths": None,
}
SAMPLE = ("closes", "closes_beside_the_page", "never_ends_a_body", "documents_another_shape")

Records = dict[str, list[dict[str, Any]]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" in metafunc.fixturenames:
        everything = metafunc.config.getoption("--selftest") == "all"
        metafunc.parametrize("way", [way for way in FOUND if everything or way in SAMPLE])


def spaces(ways: Iterable[str], top: Path) -> list[Path]:
    """A Space for each behaviour, in a folder of its name."""
    folders = []
    for way in ways:
        folder = top / way
        folder.mkdir(parents=True)
        shutil.copy(HERE / "server.py", folder)
        head = f"---\ntitle: {way}\nemoji: 🚧\ncolorFrom: red\ncolorTo: red\nsdk: docker\n---\n"
        (folder / "README.md").write_text(head, encoding="utf-8")
        (folder / "Dockerfile").write_text(
            "FROM python:3.11-slim-bookworm\nCOPY server.py /\nUSER 1000\n"
            f'CMD ["python", "/server.py", "{way}"]\n'
        )
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The contract's records on each hostile Space that this run's tests name."""
    top = tmp_path_factory.mktemp("hostile")
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = [item.callspec.params.get("way") for item in items if hasattr(item, "callspec")]
    folders = spaces([way for way in FOUND if way in chosen], top / "spaces")
    command = [sys.executable, "-m", "preflight", "check", *map(str, folders)]
    command += ["--hub=start_deadline=5", f"--report-dir={top}"]
    done = subprocess.run(
        command, cwd=top, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (top / "preflight.json").is_file(), f"no verdict:\n{done.stdout}\n{done.stderr}"
    assert "Traceback (most recent call last)" not in done.stdout + done.stderr
    document = json.loads((top / "preflight.json").read_text(encoding="utf-8"))
    found: Records = {}
    for record in document["checks"]:
        found.setdefault(record["space"], []).append(record)
    return found


def test_a_hostile_space_must_end_in_a_finding(way: str, records: Records) -> None:
    """No check may end in an error of its own, and the finding must name the behaviour."""
    own = records[way]
    assert {record["id"]: record["reason"] for record in own if record["outcome"] == "error"} == {}
    expected = FOUND[way]
    found = {record["id"] for record in own if record["findings"]}
    assert expected is None or expected in found, found
    # Each replica behaves alike, so none disturbs the other.
    assert "shutdown.two_replicas_serve_at_once" not in found


def test_each_way_has_its_expectation() -> None:
    """Each behaviour must have an expectation: without it, no test would try the behaviour."""
    assert set(FOUND) == set(WAYS)

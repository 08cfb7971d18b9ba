"""`--changed` may leave out a test only while all its inputs are the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unchanged import STANDS_FOR, Verdicts

ROOT = Path(__file__).resolve().parents[2]
SPACE = "---\ntitle: A\nsdk: docker\n---\n"
COMPOSE = "services:\n  a-b:\n    build: ./a-b\n  c:\n    build: ./c\n"
A_B, C, HUB = (f"tests/{of}/test_{of}.py::test_it" for of in ("a_b", "c", "hub"))
CONTRACT = "src/preflight/contract/test_cors.py::test_it"


class Cache:
    """pytest's cache, on disk as JSON."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, key: str, default: Any) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)


class Checkout:
    """Two Spaces, and a test of each, of the harness and of the contract."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, Cache()
        for name, text in {
            "compose.yaml": COMPOSE,
            "a-b/README.md": SPACE,
            "c/README.md": SPACE,
            "notes.txt": "one",
            ".gitignore": "ignored.txt\n.pytest_cache\n__pycache__\n",
        }.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)

    def run(self, meanwhile: Callable[[], object] = lambda: None, **outcomes: str) -> None:
        """A run in which every test passes, unless `outcomes` says otherwise."""
        verdicts: Any = self.verdicts()
        for test in (A_B, C, HUB, CONTRACT):
            outcome = outcomes.get(test.split("/")[-2], "passed")
            for when in ("setup", "call", "teardown"):
                said = outcome if when == "call" else "passed"
                verdicts.pytest_runtest_logreport(
                    pytest.TestReport(test, ("", 0, ""), {}, said, None, when)  # type: ignore[arg-type]
                )
        meanwhile()
        verdicts.pytest_sessionfinish()

    def verdicts(self) -> Verdicts:
        return Verdicts(self.folder, self.cache)  # type: ignore[arg-type]

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize(
    ("change", "stands"),
    [
        (lambda at: at.write("ignored.txt", "not git's"), {A_B, C, HUB}),
        (lambda at: at.write("a-b/app.py", "new"), {C}),
        (lambda at: at.write("notes.txt", "two"), set()),
        (lambda at: at.write("new.txt", ""), set()),
        (lambda at: (at.folder / "notes.txt").unlink(), set()),
        (lambda at: (at.folder / "notes.txt").rename(at.folder / "other.txt"), set()),
        (lambda at: (at.folder / "notes.txt").chmod(0o755), set()),
    ],
    ids=["nothing", "a Space", "a file", "new", "gone", "renamed", "executable"],
)
def test_tests_that_read_a_changed_file_must_run_again(
    checkout: Checkout, change: Callable[[Checkout], object], stands: set[str]
) -> None:
    checkout.run()
    change(checkout)
    assert checkout.verdicts().standing() == stands


def test_the_contract_must_always_run(checkout: Checkout) -> None:
    checkout.run()
    assert CONTRACT not in checkout.verdicts().standing()


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_only_passed_tests_may_be_left_out(checkout: Checkout, outcome: Any) -> None:
    checkout.run()
    checkout.run(hub=outcome)
    assert checkout.verdicts().standing() == {A_B, C}


def test_a_change_during_the_run_must_make_its_verdicts_invalid(checkout: Checkout) -> None:
    checkout.run(meanwhile=lambda: checkout.write("notes.txt", "two"))
    assert not checkout.verdicts().standing()


def test_a_verdict_must_expire_after_a_day(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.run()
    later = time.time() + STANDS_FOR + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert not checkout.verdicts().standing()


def test_another_engine_must_run_the_tests_again(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.run()
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert not checkout.verdicts().standing()


def test_workers_leave_out_what_the_summary_says(checkout: Checkout) -> None:
    """Of two pytest runs, the first must run every test, the second the contract alone."""
    checkout.write("pytest.ini", "[pytest]\n")
    for test in (A_B, HUB, CONTRACT):
        path = checkout.folder / test.split("::")[0]
        path.parent.mkdir(parents=True)
        path.write_text("def test_it():\n    pass\n")
    plugins = [
        "xdist",
        "preflight.pytest_plugin",
        "preflight.pytest_plugin.session",
        "tests.unchanged",
    ]
    command = [
        sys.executable, "-m", "pytest", ".", "--changed", "--numprocesses=1",
        *(f"-p{plugin}" for plugin in plugins),
    ]  # fmt: skip
    # Other installed plugins take seconds to load.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    said = [
        subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True,
            env=environment, timeout=120).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert re.search(r"=+ 3 passed", said[0]) and "were not run" not in said[0], said[0]
    assert re.search(r"=+ 1 passed", said[1]) and "2 tests were not run" in said[1], said[1]

"""Calibration: Spaces that run on the Hub must pass, and each finding must have its severity."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from preflight.model.problems import Severity
from tests.calibration.spaces import SPACES, Seen

DEADLINE = 900
# A run keeps its Spaces until it ends: only a few at a time, so that they do not slow each other.
AT_ONCE, RUNS_AT_ONCE = 4, 2
Records = dict[str, list[dict[str, Any]]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    everything = metafunc.config.getoption("--selftest") == "all"
    chosen = [case for case in SPACES if everything or case.sample]
    if "seen" in metafunc.fixturenames:
        metafunc.parametrize("seen", [pytest.param(case, id=case.id) for case in chosen])


@pytest.fixture(scope="module")
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The contract's records on each Space that this run's tests name."""
    chosen: dict[str, Seen] = {}
    for item in request.session.items:
        seen = item.callspec.params.get("seen") if hasattr(item, "callspec") else None
        if isinstance(seen, Seen):
            chosen[seen.id] = seen
    spaces = list(chosen.values())
    batches = [spaces[at : at + AT_ONCE] for at in range(0, len(spaces), AT_ONCE)]
    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        judged = pool.map(lambda batch: judge(batch, tmp_path_factory.mktemp("seen")), batches)
        return {name: own for found in judged for name, own in found.items()}


def judge(batch: list[Seen], top: Path) -> Records:
    """Judge each Space as a stranger would, in a folder outside any repository."""
    for case in batch:
        write(case, top / case.id)
    spaces = [f"--space={top / case.id}" for case in batch]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *spaces, f"--report-dir={top / 'report'}"],
        cwd=top, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    report = top / "report" / "preflight.json"
    assert report.is_file(), (
        f"the contract did not run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    records: Records = {case.id: [] for case in batch}
    for record in json.loads(report.read_text("utf-8"))["checks"]:
        records[record["space"]].append(record)
    return records


def write(seen: Seen, folder: Path) -> None:
    folder.mkdir()
    for name, content in seen.files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def said(records: list[dict[str, Any]], severity: Severity) -> dict[str, list[str]]:
    """The findings of a severity, by rule."""
    found = {
        record["id"]: [
            each["actual"] for each in record["findings"] if each["severity"] == severity
        ]
        for record in records
    }
    return {rule: texts for rule, texts in found.items() if texts}


def test_what_the_hub_runs_holds(seen: Seen, records: Records) -> None:
    """A Space that runs on the Hub must be built, started and judged without a breaking finding."""
    own = records[seen.id]
    assert said(own, Severity.BREAKS) == {}
    assert {record["id"]: record["reason"] for record in own if record["outcome"] == "error"} == {}
    assert any(record["id"] == "start.serves" and record["outcome"] == "held" for record in own)


def test_what_is_said_of_it_has_its_severity(seen: Seen, records: Records) -> None:
    """The expected risks and advice, and no others, must be reported for each Space."""
    own = records[seen.id]
    risk, advice = said(own, Severity.RISK), said(own, Severity.ADVICE)
    assert set(risk) == seen.risk, risk
    assert set(advice) == seen.advice, advice

"""Every answer must conform to /openapi.json, whatever the request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preflight.engine.container import Container

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)


@pytest.mark.parametrize(
    ("per_operation", "least"),
    [(5, 300), pytest.param(420, 2000, marks=pytest.mark.thorough)],
    ids=["sample", "all"],
)
def test_openapi_holds(
    embedded: Container,
    pytestconfig: pytest.Config,
    tmp_path: Path,
    per_operation: int,
    least: int,
) -> None:
    """Requests generated from the schema must not get a 5xx or an answer outside the schema."""
    # Holds Hypothesis's character tables, which are slow to compute, and no examples.
    known = pytestconfig.rootpath / ".pytest_cache" / "hypothesis"
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{embedded.url}/openapi.json", "--no-color", "--seed=1", "--workers=1"),
            *("--phases=coverage,fuzzing", f"--max-examples={per_operation}", f"--checks={CHECKS}"),
            "--generation-database=none",
            *("--report=json", f"--report-json-path={report}"),
        ],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*", "HYPOTHESIS_STORAGE_DIRECTORY": str(known)},
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    result = json.loads(report.read_text())
    assert result["operations"]["tested"] == result["operations"]["selected"] >= 5
    assert result["test_cases"]["generated"] >= least, result["test_cases"]

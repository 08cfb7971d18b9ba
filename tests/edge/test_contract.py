"""The contract must judge a Space through the edge as well as at its port, and say what it could not judge there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOUND = ROOT / "src" / "preflight" / "templates" / "python"
BROKEN = "cors.shares_no_credentials_with_every_origin"
# The modules that ask a running Space; what the others judge is the folder and the image.
ASKING = [
    f"src/preflight/contract/test_{name}.py"
    for name in ("start", "environment", "health", "cors", "shutdown")
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The verdicts, through the edge, on a Space that shares its visitors' credentials with every site."""
    top = tmp_path_factory.mktemp("through")
    space = top / "sharer"
    shutil.copytree(SOUND, space)
    app = (space / "app.py").read_text()
    vary = 'self.send_header("Vary", "Origin")'
    assert vary in app
    shares = 'self.send_header("Access-Control-Allow-Credentials", "true")'
    (space / "app.py").write_text(app.replace(vary, f"{vary}; {shares}"))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *ASKING, "--through=edge"),
            *(f"--space={space}", f"--report-dir={top}", "-q", "-p", "no:cacheprovider"),
            f"--junitxml={top / 'junit.xml'}",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout[-3000:] + done.stderr
    found = json.loads((top / "preflight.json").read_text())["checks"]
    return {one["id"]: one for one in found if one["space"] == "sharer"}


def test_what_holds_and_what_does_not_is_the_same(records: dict[str, dict[str, Any]]) -> None:
    """Only the check of what is wrong may fail: credentials are shared through the edge too."""
    failed = [one["id"] for one in records.values() if one["outcome"] in ("found", "error")]
    assert failed == [BROKEN]
    assert "Access-Control-Allow-Credentials: true" in records[BROKEN]["findings"][0]["actual"]


def test_each_check_says_where_it_asks(records: dict[str, dict[str, Any]]) -> None:
    """A check that asks at the port alone must be skipped by that name; every other one must have run."""
    places = {one["asked"] for one in records.values()}
    assert places == {"at the Space's own port", "at its port or through the edge", ""}
    for one in records.values():
        if one["asked"] == "at the Space's own port":
            assert one["outcome"] == "skipped", one["id"]
            assert "needs the Space's own" in one["reason"], one["id"]
        elif one["asked"]:
            assert one["outcome"] != "skipped", f"{one['id']}: {one['reason']}"

"""The OWASP ASVS table lists every requirement, and names only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
SPACE = HERE.parents[1] / "backend-node"
TABLE = (SPACE / "docs" / "asvs.md").read_text()

# Number of requirements of levels 1 and 2 in each section. Source: OWASP/ASVS, 5.0/en.
ROWS = {
    "6.1": 3, "6.2": 11, "6.3": 3, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 3,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
    "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1, "9.1": 3, "9.2": 4,
    "10.1": 2, "10.2": 2, "10.3": 4, "10.4": 11, "10.5": 5, "10.6": 2, "10.7": 3,
    "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5, "14.1": 2, "14.2": 4, "14.3": 3,
    "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3,
}  # fmt: skip


def test_must_judge_every_row() -> None:
    """Each requirement must be done, not applicable or, at level 2 alone, not done."""
    rows = re.findall(r"^\| ([\d.]+) +\| ([12]) +\| (.+?) +\| (.+?) +\|$", TABLE, re.MULTILINE)
    found: dict[str, int] = {}
    for number, level, state, how in rows:
        found[number.rpartition(".")[0]] = found.get(number.rpartition(".")[0], 0) + 1
        assert state in ("done", "not applicable", "not done"), number
        assert how.strip(), number
        assert (level, state) != ("1", "not done"), number
    assert found == ROWS


def test_must_name_tests_that_exist() -> None:
    """The table must name only tests that exist."""
    python = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    node = "".join(path.read_text() for path in (SPACE / "test").glob("*.test.ts"))
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    sentences = {sentence.replace("\n", " ") for sentence in re.findall(r'"(must [^"]+)"', TABLE)}
    assert len(named) > 20
    assert len(sentences) > 15
    assert {name for name in named if f"def {name}(" not in python} == set()
    assert {sentence for sentence in sentences if sentence not in node} == set()

"""The page of a run must lead its reader from the worst finding to its fix."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from preflight.pytest_plugin.document import document
from preflight.pytest_plugin.page import write

RULE = "The Space answers on the port that `app_port` names."


def record(check: str, *severities: str) -> dict[str, Any]:
    """The record of one check with a finding of each severity."""
    found = [
        {
            "severity": severity, "waived": None, "file": "README.md", "line": 3, "actual": "no answer",
            "expected": "an answer", "on_the_hub": "Launch timed out", "fix": "Write `app_port: 8000`.",
        }
        for severity in severities
    ]  # fmt: skip
    return {
        "id": check, "rule": RULE, "space": "mine", "outcome": "found", "reason": "", "asked": "",
        "fails": True, "findings": found, "shown": {},
    }  # fmt: skip


def articles(folder: Path, *records: dict[str, Any]) -> list[ElementTree.Element]:
    """The findings of the page, from top to bottom."""
    page = write(folder, document(list(records), {}, {}, []), Counter()).read_text()
    found = re.findall(r"<article.*?</article>", page, re.S)
    return [ElementTree.fromstring(article) for article in found]


def text(element: ElementTree.Element | None) -> str:
    assert element is not None
    return " ".join("".join(element.itertext()).split())


def test_a_finding_must_open_with_its_rule(tmp_path: Path) -> None:
    (article,) = articles(tmp_path, record("start.serves", "breaks"))
    first, second = article[0], article[1]
    assert (first.tag, text(first)) == ("h3", RULE.replace("`", ""))
    assert text(second) == "breaks start.serves · README.md:3"


def test_a_fix_must_stand_apart_from_the_facts(tmp_path: Path) -> None:
    (article,) = articles(tmp_path, record("start.serves", "breaks"))
    facts, fix = article.find("dl"), article.find("p[@class='fix']")
    assert facts is not None
    assert [text(part) for part in facts] == [
        *("Found", "no answer", "Expected", "an answer"),
        *("On the Hub", "Launch timed out"),
    ]
    assert text(fix) == "Fix Write app_port: 8000."


def test_code_must_be_marked_as_code(tmp_path: Path) -> None:
    (article,) = articles(tmp_path, record("start.serves", "breaks"))
    assert [text(code) for code in article.iter("code")] == ["app_port", "app_port: 8000"]


def test_the_worst_finding_must_come_first(tmp_path: Path) -> None:
    shown = articles(tmp_path, record("a.b", "advice", "breaks"), record("c.d", "risk"))
    said = [text(article.find("p/span[@class='severity']")) for article in shown]
    assert said == ["breaks", "risk", "advice"]


def test_a_load_run_must_be_dated(tmp_path: Path) -> None:
    """The load run may be older than the checks beside it."""
    run = {"verdict": "held", "seconds": 30, "people": {}, "reasons": [], "requests": [], "watched": {}}  # fmt: skip
    (tmp_path / "load.json").write_text(json.dumps(run))
    os.utime(tmp_path / "load.json", (0, 0))
    articles(tmp_path)
    assert "1970-01-01 00:00 UTC" in (tmp_path / "index.html").read_text()

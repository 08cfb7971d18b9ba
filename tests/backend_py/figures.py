"""Prints figures of the tests; `RECORD_FIGURES=1 pytest …` writes them to docs/figures.md."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "figures.md"
STALE = "docs/figures.md has other figures; run this test with RECORD_FIGURES=1 to update it"


class Figures:
    """Each figure must have a place in the document."""

    def __init__(self, capsys: pytest.CaptureFixture[str], document: Path = DOCUMENT) -> None:
        self._capsys = capsys
        self._document = document

    def row(self, what: str, measured: str) -> None:
        """Prints the figure; recorded in the row that starts with `what`."""
        self._print(f"{what}: {measured}")
        self._place(rf"^(\| {re.escape(what)} \|.*\| )[^|\n]*( \|)$", measured)

    def table(self, name: str, lines: list[str], *, exact: bool = False) -> None:
        """Prints the table; recorded between the comments `name`. `exact` fails when the document differs."""
        text = "\n".join(lines)
        self._print(text)
        there = self._place(rf"^(<!-- {name} -->\n\n)(?s:.*?)(\n\n<!-- /{name} -->)$", text)
        assert not exact or there == text, STALE

    def _print(self, text: str) -> None:
        with self._capsys.disabled():
            print(f"\n{text}")

    def _place(self, pattern: str, text: str) -> str:
        """The document's text at the place that `pattern` finds, or `text` after recording it."""
        document = self._document.read_text()
        found = re.search(pattern, document, re.MULTILINE)
        assert found, f"{self._document.name} has no place for this figure: {pattern}"
        before, after = document[: found.end(1)], document[found.start(2) :]
        if not os.environ.get("RECORD_FIGURES"):
            return document[found.end(1) : found.start(2)]
        self._document.write_text(before + text + after)
        return text

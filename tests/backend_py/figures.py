"""What the tests measure: printed, and kept in docs/figures.md by `RECORD_FIGURES=1 pytest …`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "figures.md"
STALE = "the document says otherwise; the same test with RECORD_FIGURES=1 writes it anew"


class Figures:
    """Each figure has its place in the document, so that none is measured and not shown."""

    def __init__(self, capsys: pytest.CaptureFixture[str], document: Path = DOCUMENT) -> None:
        self._capsys = capsys
        self._document = document

    def row(self, what: str, measured: str) -> None:
        """The figure in the row that begins with `what`; the document keeps what was last recorded."""
        self._print(f"{what}: {measured}")
        self._place(rf"^(\| {re.escape(what)} \|.*\| )[^|\n]*( \|)$", measured)

    def table(self, name: str, lines: list[str], *, exact: bool = False) -> None:
        """The table between the comments of that name; `exact` fails when the document's differs."""
        text = "\n".join(lines)
        self._print(text)
        there = self._place(rf"^(<!-- {name} -->\n\n)(?s:.*?)(\n\n<!-- /{name} -->)$", text)
        assert not exact or there == text, STALE

    def _print(self, text: str) -> None:
        with self._capsys.disabled():
            print(f"\n{text}")

    def _place(self, pattern: str, text: str) -> str:
        """What the document says at the place that `pattern` finds; `text` when that is recorded."""
        document = self._document.read_text()
        found = re.search(pattern, document, re.MULTILINE)
        assert found, f"{self._document.name} has no place for this figure: {pattern}"
        before, after = document[: found.end(1)], document[found.start(2) :]
        if not os.environ.get("RECORD_FIGURES"):
            return document[found.end(1) : found.start(2)]
        self._document.write_text(before + text + after)
        return text

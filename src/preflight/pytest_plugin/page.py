"""The page of a run: the contract's verdicts and their measurements, in one self-contained file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from preflight.pytest_plugin.document import Record, findings, place, waiver_notes
from preflight.pytest_plugin.terminal import verdict

TEMPLATE = "page.html.jinja"
# Characters of an instruction or an output in a table.
SHOWN = 160


def write(folder: Path, document: Mapping[str, Any], tests: Counter[str]) -> Path:
    """Write index.html into `folder`, with the load run's figures if `folder` contains load.json.

    document: the content of preflight.json. tests: the number of tests by outcome, if the run had other tests than the contract.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(("html.jinja",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "duration": duration, "short": short, "points": points}
    environment.filters |= {"slowest": slowest, "marked": marked, "place": place}
    records = document["checks"]
    text = environment.get_template(TEMPLATE).render(
        spaces=[
            Card(space, [record for record in records if record["space"] == space["name"]])
            for space in document["spaces"]
        ],
        tests=tests,
        load=load_run(folder),
        hub=document["hub"],
        written=datetime.now(UTC),
    )
    page = folder / "index.html"
    page.write_text(text, encoding="utf-8")
    return page


@dataclass(frozen=True)
class Card:
    """One Space on the page."""

    space: Mapping[str, Any]
    """The Space's entry in the document."""
    records: list[Record]

    @property
    def name(self) -> str:
        return str(self.space["name"])

    @property
    def anchor(self) -> str:
        return "space-" + "".join(c if c.isalnum() else "-" for c in self.name)

    @property
    def findings(self) -> list[tuple[Record, Record]]:
        """Each finding with its record, the worst first; waived ones last."""
        return [*findings(self.records), *findings(self.records, waived=True)]

    @property
    def not_judged(self) -> list[Record]:
        return [record for record in self.records if record["outcome"] == "error"]

    @property
    def skipped(self) -> Counter[str]:
        return Counter(
            record["reason"] for record in self.records if record["outcome"] == "skipped"
        )

    @property
    def verdict(self) -> str:
        return verdict(self.space)

    @property
    def state(self) -> str:
        """good, bad, or none if nothing was judged."""
        if self.space["verdict"] != "held":
            return "bad"
        return "good" if self.space["held"] or self.space["found"] else "none"

    @property
    def notes(self) -> list[str]:
        return waiver_notes(self.space)

    def rows(self, what: str) -> list[Record]:
        """The rows that the checks added to the page under this name (`findings.show`)."""
        return [row for record in self.records for row in record["shown"].get(what, [])]

    def first(self, what: str) -> Record | None:
        return next(iter(self.rows(what)), None)

    @cached_property
    def cors(self) -> Grid:
        """Origin by route: whether a page of that origin can read the answer, and whether that is correct."""
        grid = Grid()
        for row in self.rows("cors"):
            good = row["readable"] == row["listed"]
            text = f"{row['status']} {'readable' if row['readable'] else 'refused'}"
            origin = "" if row["origin"] == row["kind"] else row["origin"]
            grid.put(Heading(row["kind"], origin), row["route"], Cell(text, good))
        return grid

    @cached_property
    def environment(self) -> Grid:
        """Variable by fault, for starts in which only one variable was invalid."""
        grid = Grid()
        for row in self.rows("environment"):
            if row["refused"] and len(row["names"]) == 1 and not row["kind"].startswith("all at"):
                grid.put(Heading(row["names"][0]), row["kind"], Cell(outcome_of(row), row["good"]))
        return grid

    @property
    def environment_else(self) -> list[Record]:
        """The other starts: with several invalid variables, or with a valid environment."""
        alone = {(row.title, kind) for row, kind in self.environment.cells}
        return [
            {**row, "outcome": outcome_of(row)}
            for row in self.rows("environment")
            if not (len(row["names"]) == 1 and (row["names"][0], row["kind"]) in alone)
        ]


@dataclass(frozen=True)
class Heading:
    """The heading of a row."""

    title: str
    detail: str = ""


@dataclass(frozen=True)
class Cell:
    """The outcome, and whether it is correct."""

    text: str
    good: bool


@dataclass
class Grid:
    """A table of cells. Rows and columns are in the order of their first cells."""

    cells: dict[tuple[Heading, str], Cell] = field(default_factory=dict)

    def put(self, row: Heading, column: str, cell: Cell) -> None:
        self.cells[row, column] = cell

    @property
    def rows(self) -> list[Heading]:
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for _, column in self.cells))


def outcome_of(row: Record) -> str:
    """What the Space did in one environment."""
    if row["code"] is None:
        return f"serves, {duration(row['seconds'])}" if row["serves"] else "kept running"
    return f"exit code {row['code']}, {duration(row['seconds'])}"


def load_run(folder: Path) -> Record | None:
    """The figures of the last load run; None if its file is absent or invalid."""
    try:
        found = json.loads((folder / "load.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or not {"verdict", "requests", "watched"} <= set(found):
        return None
    # The load run may be older than this run.
    made = datetime.fromtimestamp((folder / "load.json").stat().st_mtime, UTC)
    return {**found, "made": made}


def marked(text: str) -> Markup:
    """Text, in which the parts between backticks are code."""
    parts = [
        f"<code>{part}</code>" if number % 2 else part
        for number, part in enumerate(str(escape(text)).split("`"))
    ]
    return Markup("".join(parts))


def points(values: Sequence[float], seconds: Sequence[float]) -> str:
    """The points of an SVG polyline in a box of 300 by 60; the largest value is at the top."""
    top, last = max(values) or 1, seconds[-1] or 1
    return " ".join(
        f"{300 * second / last:.1f},{58 - 56 * value / top:.1f}"
        for second, value in zip(seconds, values, strict=True)
    )


def slowest(request: Record) -> float:
    """The highest known percentile of a request, in ms."""
    return float(max(request[key] or 0 for key in ("p50", "p95", "p99")))


def size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"

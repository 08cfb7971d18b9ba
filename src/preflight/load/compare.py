"""Compare two sets of runs, or two runs: what got slower beyond the noise. Nothing here needs Locust."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

# The gap, as a share, that must separate the runs of both sets.
TOLERANCE = 0.1
# Milliseconds by which two single runs of one image differ on a quiet machine: four runs of a small Space had p50
# from 1.7 to 2.5 ms, each with 1,500 samples. Several runs in turns show their own noise instead.
START_NOISE = 1.0
# The share of requests that may fail in addition.
MORE_FAILURES = 0.01
PERCENTILES = {"p50": 0.5, "p95": 0.95}
# The difference between the times of a fixed piece of work that counts as the same machine.
CALIBRATION = 0.2
# Standard deviations around a percentile of a run; the true value is outside in 1 of 400 cases.
SURE = 3.0

# A run's figures for each request name: `latencies`, `samples`, `failures` as in load.json.
Figures = Mapping[str, Mapping[str, Any]]


class CannotCompare(Exception):
    """No comparison is possible; the text says why and what to do."""


def of_reports(old: Path, new: Path) -> list[Row]:
    """A row for each percentile of each request name in two load.json files. Raises CannotCompare if the
    runs, the machines or the machine's speed differ."""
    before, after = _read(old), _read(new)
    for key in ("model", "arrivals", "shape", "people"):
        first, second = before[key], after[key]
        if key == "arrivals" and first and second:
            first, second = first["rate"], second["rate"]
        if first != second:
            raise CannotCompare(
                f"{key} differs: {first} in {old}, {second} in {new}; run both with the same options"
            )
    _check_machines(before["machine"], after["machine"])
    rows = []
    earlier, later = figures_of(before), figures_of(after)
    for name in sorted(earlier.keys() & later.keys()):
        if not earlier[name]["samples"] or not later[name]["samples"]:
            continue
        more = _failed(later[name]) - _failed(earlier[name])
        for percentile, share in PERCENTILES.items():
            ranges = [bounds(run[name]["latencies"], share) for run in (earlier, later)]
            if ranges[0] and ranges[1]:
                rows.append(Row(name, percentile, ranges[0], ranges[1], more, START_NOISE))
    if not rows:
        raise CannotCompare("no request name has enough samples in both runs")
    return rows


def _read(path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text())
        if report["verdict"] == "invalid":
            raise CannotCompare(f"{path} holds an invalid run: {'; '.join(report['reasons'][:2])}")
        return {key: report[key] for key in ("model", "arrivals", "shape", "people", "machine", "requests")}  # fmt: skip
    except OSError as error:
        raise CannotCompare(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError):
        raise CannotCompare(
            f"{path} is not a load.json of this version; run `preflight load` again"
        ) from None


def _check_machines(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    if (old["cpu"], old["cpus"]) != (new["cpu"], new["cpus"]):
        raise CannotCompare(
            f"the runs are from different machines: {old['cpus']} CPUs {old['cpu']}, {new['cpus']} CPUs {new['cpu']}"
        )
    ratio = new["calibration_ms"] / old["calibration_ms"]
    if not 1 / (1 + CALIBRATION) <= ratio <= 1 + CALIBRATION:
        raise CannotCompare(
            f"the machine took {ratio:.2f} times as long for its fixed piece of work; run both again, "
            "one after the other, without other load"
        )


def _failed(row: Mapping[str, Any]) -> float:
    return float(row["failures"] / row["samples"])


def figures_of(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of a load.json, by request name."""
    return {row["name"]: row for row in report["requests"] if row["verdict"] != "not run"}


def bounds(latencies: Mapping[str, int], share: float) -> tuple[float, float] | None:
    """The range in milliseconds in which the percentile of a run lies, by its number of samples: ranks of
    order statistics are binomial. None for too few samples."""
    count = sum(latencies.values())
    spread = SURE * math.sqrt(share * (1 - share) / count) if count else 1.0
    if share <= spread or share + spread >= 1:
        return None
    return value_at(latencies, share - spread), value_at(latencies, share + spread)


@dataclass(frozen=True)
class Row:
    """A percentile of a request name: its milliseconds in each run, in the order of the runs, or its
    range for a single run."""

    name: str
    percentile: str
    old: Sequence[float]
    new: Sequence[float]
    more_failures: float  # share of the requests
    noise: float = 0.0  # milliseconds that are no difference

    @property
    def ratio(self) -> float:
        return median(self.new) / median(self.old)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest ratio of two consecutive runs."""
        ratios = [new / old for old, new in zip(self.old, self.new, strict=True)]
        return min(ratios), max(ratios)

    @property
    def change(self) -> str:
        """ "slower" if the quickest new run is slower than the slowest old run by TOLERANCE; "faster"
        vice versa, beyond `noise`. Five and five equal runs separate completely in 1 of 126 cases (Mann-Whitney), and
        there are twenty rows: hence the tolerance."""
        if self.more_failures > MORE_FAILURES:
            return f"{self.more_failures:.1%} more fail"
        if min(self.new) > max(self.old) * (1 + TOLERANCE) + self.noise:
            return "slower"
        if max(self.new) * (1 + TOLERANCE) + self.noise < min(self.old):
            return "faster"
        return "same"

    @property
    def worse(self) -> bool:
        return self.change not in ("same", "faster")


def compare(old: Sequence[Figures], new: Sequence[Figures]) -> list[Row]:
    """A row for each percentile of each request name. Raises CannotCompare without a common request."""
    rows = []
    for name in sorted(set.intersection(*(set(run) for run in (*old, *new)))):
        failed = [sum(r[name]["failures"] for r in runs) for runs in (old, new)]
        samples = [sum(r[name]["samples"] for r in runs) for runs in (old, new)]
        if not all(samples):
            continue
        more = failed[1] / samples[1] - failed[0] / samples[0]
        for percentile, share in PERCENTILES.items():
            values = [
                [value_at(r[name]["latencies"], share) for r in runs if r[name]["latencies"]]
                for runs in (old, new)
            ]
            if len(values[0]) == len(old) and len(values[1]) == len(new):
                rows.append(Row(name, percentile, values[0], values[1], more))
    if not rows:
        raise CannotCompare("no request name has samples in all runs")
    return rows


def value_at(latencies: Mapping[str, int], share: float) -> float:
    """Milliseconds that `share` of the samples do not exceed, with three digits."""
    rank = sum(latencies.values()) * share
    for value, count in sorted((float(key), count) for key, count in latencies.items()):
        rank -= count
        if rank <= 1e-9:
            return max(0.01, value)
    raise ValueError("no samples")


def table(rows: Sequence[Row], old: str, new: str) -> str:
    head = ["request", "", "old, ms", "new, ms", "ratio", "spread", ""]
    lines = [
        [
            row.name if row.percentile == "p50" else "",
            row.percentile,
            f"{median(row.old):.1f}",
            f"{median(row.new):.1f}",
            f"{row.ratio:.2f}",
            "{:.2f} to {:.2f}".format(*row.spread),
            row.change,
        ]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in [head, *lines]]
    worse = [f"{row.name}: {row.percentile} {row.change}" for row in rows if row.worse]
    verdict = "slower (exit code 1)" if worse else "no slower (exit code 0)"
    return "\n".join([*text, f"Comparison of {new} with {old}: {verdict}", *worse])

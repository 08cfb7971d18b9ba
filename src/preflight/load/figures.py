"""The figures of a run, as plain values. Nothing here needs Locust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True)
class Figures:
    """The figures of a request name in a run."""

    samples: int = 0
    failures: int = 0
    unanswered: int = 0  # failures without a status
    limited: int = 0  # 429 responses, not among the samples
    latencies: Mapping[float, int] = field(default_factory=dict)  # milliseconds -> samples
    errors: tuple[str, ...] = ()  # most frequent first

    def percentile(self, key: str) -> float | None:
        """Milliseconds for a key of PERCENTILES; None for too few samples."""
        return quantile(self.latencies, PERCENTILES[key])


@dataclass(frozen=True)
class Generator:
    """The histograms that a generator process reported about itself."""

    # Percent of a core, used or waited for -> seconds.
    cpu: Mapping[int, int] = field(default_factory=dict)
    late: Mapping[int, int] = field(default_factory=dict)  # milliseconds -> timers


@dataclass(frozen=True)
class Arrivals:
    """The open model: how many visits were due, and how many of them found no free person."""

    rate: str  # in words: "50 a second", "10 to 200 a second"
    due: int = 0
    dropped: int = 0


@dataclass(frozen=True)
class Run:
    """A run or a part of it, with all generator processes."""

    seconds: float
    people: Mapping[str, int]  # chosen class of people -> number
    figures: Mapping[str, Figures]
    targets: Mapping[str, str] = field(default_factory=dict)  # Space -> URL
    # The planned people, and for how many seconds all of them were active; None: not counted.
    wanted: int = 0
    complete: float | None = None
    arrivals: Arrivals | None = None  # None: the closed model
    generators: Mapping[str, Generator] = field(default_factory=dict)
    steal: float = 0.0  # steal and busy: as in Limits
    busy: float = 0.0
    growth: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # Space -> per hour
    # In a run that waits for Spaces to wake: Space -> seconds until its first response; None without a
    # response.
    woke: Mapping[str, float | None] = field(default_factory=dict)
    # Spaces that responded and then stopped -> second of the last response.
    died: Mapping[str, float] = field(default_factory=dict)
    # Targets on other machines whose load ended after a burst of 5xx -> number of 5xx.
    burst: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()  # further reasons that make the run invalid
    stopped: bool = False  # ended early, because the verdict could not change any more

    @property
    def cpu(self) -> float:
        """Share of a core that the busiest process used or waited for, in four seconds out of five."""
        return max((nearest_rank(g.cpu, 0.8) for g in self.generators.values()), default=0) / 100

    @property
    def late_ms(self) -> float:
        """Delay of the timers (p95) of the worst process, in milliseconds."""
        return max((nearest_rank(g.late, 0.95) for g in self.generators.values()), default=0)

    def called(self, space: str) -> str:
        """A Space's name; for a single unnamed target, its URL."""
        return space or self.targets.get("", "the target")


def space_of(name: str) -> str:
    """The Space of a request name `METHOD space/path`; empty for `METHOD /path`."""
    return name.partition(" ")[2].partition("/")[0]


def quantile(latencies: Mapping[float, int], share: float) -> float | None:
    """The latency that `share` of the samples do not exceed. None if too few samples exist for one of them
    to exceed it: a p99 of fifty samples is their maximum."""
    if sum(latencies.values()) < samples_for(share):
        return None
    return nearest_rank(latencies, share)


def samples_for(share: float) -> int:
    """The least number of samples of which one is beyond the percentile `share`."""
    return round(1 / (1 - share))


def nearest_rank(histogram: Mapping[float, int] | Mapping[int, int], share: float) -> float:
    """The value at `share` of a histogram; 0 for an empty one."""
    rank = math.ceil(sum(histogram.values()) * share)
    for value, count in sorted(histogram.items()):
        rank -= count
        if rank <= 0:
            return value
    return 0


def since(now: Run, then: Run) -> Run:
    """The part of a run between two moments."""

    def less(a: Mapping[Any, int], b: Mapping[Any, int]) -> dict[Any, int]:
        return {key: count for key in a if (count := a[key] - b.get(key, 0))}

    figures = {}
    for name, seen in now.figures.items():
        before = then.figures.get(name, Figures())
        figures[name] = replace(
            seen,
            samples=seen.samples - before.samples,
            failures=seen.failures - before.failures,
            unanswered=seen.unanswered - before.unanswered,
            limited=seen.limited - before.limited,
            latencies=less(seen.latencies, before.latencies),
        )
    generators = {}
    for process, g in now.generators.items():
        earlier = then.generators.get(process, Generator())
        generators[process] = Generator(less(g.cpu, earlier.cpu), less(g.late, earlier.late))
    return replace(
        now,
        seconds=now.seconds - then.seconds,
        people=then.people,
        figures=figures,
        generators=generators,
        complete=None,
    )


def three_digits(milliseconds: float) -> float:
    """Round a latency for the histogram to three significant digits, as HdrHistogram does by default in
    wrk2. Locust's two digits would change a p99 by up to 5 %."""
    if milliseconds < 10:
        return round(milliseconds, 2)
    if milliseconds < 100:
        return round(milliseconds, 1)
    if milliseconds < 1000:
        return round(milliseconds)
    return round(milliseconds, -1 if milliseconds < 10_000 else -2)

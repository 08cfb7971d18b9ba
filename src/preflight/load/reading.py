"""Reads the parts of a Run from Locust's counts and the reports of all generator processes."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from locust import stats as locust_stats
from locust.stats import StatsError

from preflight.load.figures import Arrivals, Figures, Generator, space_of, three_digits
from preflight.load.people import LIMITED, WAKING
from preflight.load.plan import Rate
from preflight.load.witness import Witness

# Seconds and requests without a response after which a Space counts as dead.
SILENT_SECONDS, SILENT_REQUESTS = 2.0, 5
# Locust's extension point for the histogram. Source: docs.locust.io, customizing response time bucketing
locust_stats.bucket_response_time = three_digits  # type: ignore[assignment]


def figures(stats: Any, witnesses: Iterable[Witness]) -> dict[str, Figures]:
    """The figures of each request name."""
    errors: dict[str, Counter[str]] = defaultdict(Counter)
    for error in stats.errors.values():
        text = StatsError.parse_error(error.error)
        text = re.sub(r"""^(?:CatchResponseError|Exception)\(['"](.*)['"]\)$""", r"\1", text)
        errors[f"{error.method} {error.name}".removesuffix(LIMITED)][text] += error.occurrences
    entries = {f"{method} {name}": entry for (name, method), entry in stats.entries.items()}
    unanswered: Counter[str] = sum((w.unanswered for w in witnesses), Counter())
    found = {}
    for name in {e.removesuffix(LIMITED) for e in entries if not e.endswith(WAKING)}:
        entry, limited = entries.get(name), entries.get(name + LIMITED)
        found[name] = Figures(
            samples=entry.num_requests if entry else 0,
            # An invalid 429, such as without Retry-After, also counts as a failure.
            failures=sum(e.num_failures for e in (entry, limited) if e),
            unanswered=unanswered[name],
            limited=limited.num_requests if limited else 0,
            latencies=dict(entry.response_times) if entry else {},
            errors=tuple(f"{count} of: {text}" for text, count in errors[name].most_common()),
        )
    return found


def generators(witnesses: dict[str, Witness]) -> dict[str, Generator]:
    """The histograms of each generator process."""
    return {id: Generator(cpu=dict(w.cpu), late=dict(w.late)) for id, w in witnesses.items()}


def steal(witnesses: Iterable[Witness]) -> float:
    """The largest share of CPU, 0..1, that a host took from a generator's machine."""
    return max((sum(w.steal) / len(w.steal) for w in witnesses if w.steal), default=0)


def arrivals(rate: Rate | None, witnesses: Iterable[Witness]) -> Arrivals | None:
    """Due and dropped arrivals of the open model; None in the closed model."""
    if rate is None:
        return None
    kept = [*witnesses]
    return Arrivals(rate.words, sum(w.due for w in kept), sum(w.dropped for w in kept))


def died(witnesses: Iterable[Witness], began: float, now: float) -> dict[str, float]:
    """The Spaces that responded and then stopped, with the second of their last response."""
    last: dict[str, float] = {}
    unanswered: Counter[str] = Counter()
    for witness in witnesses:
        for space, when in witness.answered.items():
            last[space] = max(when, last.get(space, 0.0))
            unanswered[space] += witness.silent[space]
    return {
        space: max(0.0, when - began)
        for space, when in last.items()
        if now - when >= SILENT_SECONDS and unanswered[space] >= SILENT_REQUESTS
    }


def silent(witnesses: Iterable[Witness]) -> bool:
    """Whether a Space does not respond at the moment. It may still recover."""
    return any(count >= SILENT_REQUESTS for w in witnesses for count in w.silent.values())


def bursts(witnesses: Iterable[Witness]) -> dict[str, int]:
    """The targets on other machines whose load ended, with their 5xx responses in a row."""
    return {space: count for w in witnesses for space, count in w.bursts.items()}


def woke(stats: Any) -> dict[str, float | None]:
    """In a run with --shape wake: seconds until each sleeping Space responded; None without a response."""
    asleep, answered = dict[str, float](), set[str]()
    for (name, method), entry in stats.entries.items():
        space = space_of(f"{method} {name}")
        if name.endswith(WAKING):
            last = (entry.last_request_timestamp or 0.0) - stats.start_time
            asleep[space] = max(asleep.get(space, 0.0), last)
        else:
            answered.add(space)
    return {space: seconds if space in answered else None for space, seconds in asleep.items()}

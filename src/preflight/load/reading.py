"""Locust's counts and the reports of all generator processes, read as a Run."""

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

# Seconds and requests without an answer, after which a Space that had answered counts as dead.
SILENT_SECONDS, SILENT_REQUESTS = 2.0, 5
# Locust's own extension point for the histogram. Source: docs.locust.io, customizing response time bucketing
locust_stats.bucket_response_time = three_digits  # type: ignore[assignment]


def figures(stats: Any, witnesses: Iterable[Witness]) -> dict[str, Figures]:
    """What was seen of each request name."""
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
            # A 429 that is not right, say without Retry-After, counts as a failure too.
            failures=sum(e.num_failures for e in (entry, limited) if e),
            unanswered=unanswered[name],
            limited=limited.num_requests if limited else 0,
            latencies=dict(entry.response_times) if entry else {},
            errors=tuple(f"{count} of: {text}" for text, count in errors[name].most_common()),
        )
    return found


def generators(witnesses: dict[str, Witness]) -> dict[str, Generator]:
    """What each generator process reported about itself."""
    return {id: Generator(cpu=dict(w.cpu), late=dict(w.late)) for id, w in witnesses.items()}


def steal(witnesses: Iterable[Witness]) -> float:
    """The largest share of CPU that a host took from a generator's machine."""
    return max((sum(w.steal) / len(w.steal) for w in witnesses if w.steal), default=0)


def arrivals(rate: Rate | None, witnesses: Iterable[Witness]) -> Arrivals | None:
    """How the timetable of the open model was kept; None in the closed model."""
    if rate is None:
        return None
    kept = [*witnesses]
    return Arrivals(rate.words, sum(w.due for w in kept), sum(w.dropped for w in kept))


def died(witnesses: Iterable[Witness], began: float, now: float) -> dict[str, float]:
    """The Spaces that answered and then no more, with the second of their last answer."""
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
    """Whether a Space does not answer just now; whether it died, the next seconds tell."""
    return any(count >= SILENT_REQUESTS for w in witnesses for count in w.silent.values())


def bursts(witnesses: Iterable[Witness]) -> dict[str, int]:
    """The Spaces of others that the load has left alone, with their answers 5xx in a row."""
    return {space: count for w in witnesses for space, count in w.bursts.items()}


def woke(stats: Any) -> dict[str, float | None]:
    """Of a run with --shape wake: seconds until each Space answered by itself; None for one that did
    not."""
    asleep, answered = dict[str, float](), set[str]()
    for (name, method), entry in stats.entries.items():
        space = space_of(f"{method} {name}")
        if name.endswith(WAKING):
            last = (entry.last_request_timestamp or 0.0) - stats.start_time
            asleep[space] = max(asleep.get(space, 0.0), last)
        else:
            answered.add(space)
    return {space: seconds if space in answered else None for space, seconds in asleep.items()}

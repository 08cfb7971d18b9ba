"""Judges a run by slo.toml: held, crossed or invalid. Nothing here needs Locust."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from preflight.load.figures import PERCENTILES, Figures, Run, samples_for, space_of
from preflight.load.slo import Limits, Slo, Thresholds

HELD, CROSSED, INVALID = "held", "crossed", "invalid"
# Further states of a row.
NOT_RUN, NOT_JUDGED = "not run", "not judged"
# k6 has distinct codes too; it uses 99 where we use 1. Source: grafana/k6 errext/exitcodes
EXIT_CODES = {HELD: 0, CROSSED: 1, INVALID: 2}
GROWING = {
    "memory": "MB of memory",
    "files": "open files",
    "connections": "connections",
    "disk": "MB on disk",
}
# The share of the open model's arrivals that must have been served, and the share of the run in which all
# people must have been active.
OFFERED, COMPLETE = 0.99, 1 / 3


@dataclass
class Row:
    """A line of the verdict."""

    name: str
    slo: Slo | None
    figures: Figures
    rate: float
    # HELD, CROSSED, INVALID, NOT_RUN, or NOT_JUDGED (the run ended early, or the Space did not wake).
    state: str
    reasons: list[str]


@dataclass
class Verdict:
    """The result of a run."""

    state: str
    reasons: list[str]  # each names a request, or the fault that makes the run invalid
    rows: list[Row]
    run: Run
    notes: list[str] = field(default_factory=list)  # other results, such as the capacity

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.state]


def judge(thresholds: Thresholds, run: Run) -> Verdict:
    """Judge a run. Every request name of slo.toml whose people took part must have samples and hold, and
    every name with samples must be in slo.toml.

    An invalid run is never "crossed", because "crossed" means a fault of the Space. A Space that died under
    load has such a fault, whatever its machine did meanwhile.
    """
    rows = [_row(slo, run) for slo in thresholds.slos.values()]
    for name, seen in run.figures.items():
        if name not in thresholds.slos:
            rate = seen.samples / run.seconds if run.seconds else 0.0
            rows.append(
                Row(name, None, seen, rate, CROSSED, ["slo.toml has no table for this name"])
            )
    notes = [f"{space} woke after {s:.1f} s" for space, s in run.woke.items() if s is not None]
    if dead := [*_dead(run)]:
        return Verdict(CROSSED, dead, rows, run, notes)
    _excuse_the_unreached(rows)
    faults = [*run.faults, *_faults(thresholds.limits, run)]
    too_few = [row for row in rows if row.state == INVALID]
    faults += [f"{row.name}: {reason}" for row in too_few for reason in row.reasons]
    if faults:
        return Verdict(INVALID, faults, rows, run, notes)
    crossed = [f"{row.name}: {r}" for row in rows if row.state == CROSSED for r in row.reasons]
    for space, growth in run.growth.items():
        for key, unit in GROWING.items():
            actual, limit = growth.get(key, 0.0), getattr(thresholds.growth, key)
            if actual > limit:
                crossed.append(f"{space}: grows by {actual:.0f} {unit} an hour > {limit:g}")
    for space, seconds in run.woke.items():
        if seconds is None:
            crossed.append(f"{space}: did not wake within {run.seconds:.0f} s")
        elif seconds > thresholds.wake.seconds:
            crossed.append(f"{space}: woke after {seconds:.1f} s > {thresholds.wake.seconds:g} s")
    return Verdict(CROSSED if crossed else HELD, crossed, rows, run, notes)


def capacities(thresholds: Thresholds, steps: Sequence[Run]) -> dict[str, tuple[str, bool]]:
    """For each Space, the rate of the last step of rising load at which its thresholds held, in words,
    and whether a later step crossed."""
    found: dict[str, tuple[str, bool]] = {}
    for space in sorted({space_of(name) for step in steps for name in step.figures}):
        held = "less than the first step"
        slos = [slo for slo in thresholds.slos.values() if space_of(slo.name) == space]
        for step in steps:
            people = sum(step.people.values())
            rows = [_row(replace(slo, rate=0, samples=0), step) for slo in slos]
            reasons = list(_starved(thresholds.limits, step))
            reasons += [
                f"{row.name}: {r}" for row in rows if row.state == CROSSED for r in row.reasons
            ]
            if reasons:
                found[space] = f"{held}; with {people} people {reasons[0]}", True
                break
            held = f"{sum(row.rate for row in rows):.0f} requests a second, {people} people"
            found[space] = f"{held}, and more", False
    return found


def hopeless(slos: Mapping[str, Slo], run: Run, planned: float) -> bool:
    """Whether a run of `planned` seconds will certainly cross a threshold, even if the rest is perfect and
    twice as fast as so far. Always false in the first five seconds."""
    if run.seconds < 5 or planned <= run.seconds:
        return False
    growth = 1 + 2 * (planned - run.seconds) / run.seconds
    for name, slo in slos.items():
        seen = run.figures.get(name, Figures())
        if seen.samples < _needed(slo):
            continue
        if seen.failures > slo.failures * seen.samples * growth:
            return True
        for key, share in PERCENTILES.items():
            limit = slo.limit(key)
            if limit is None:
                continue
            slow = sum(count for ms, count in seen.latencies.items() if ms > limit)
            if slow > (1 - share) * seen.samples * growth:
                return True
    return False


def silent_spaces(figures: Mapping[str, Figures], at_least: int = 1) -> list[str]:
    """The Spaces with `at_least` samples that answered no request."""
    made: dict[str, int] = {}
    answered: dict[str, int] = {}
    for name, seen in figures.items():
        space = space_of(name)
        total = seen.samples + seen.limited
        made[space] = made.get(space, 0) + total
        answered[space] = answered.get(space, 0) + total - seen.unanswered
    return [space for space, total in made.items() if total >= at_least and not answered[space]]


def _row(slo: Slo, run: Run) -> Row:
    seen = run.figures.get(slo.name, Figures())
    asleep = run.woke.get(space_of(slo.name), 0.0)
    seconds = run.seconds - (asleep or 0.0)
    rate = seen.samples / seconds if seconds else 0.0
    row = Row(slo.name, slo, seen, rate, HELD, [])
    if slo.by not in run.people:
        row.state = NOT_RUN
        return row
    needed = _needed(slo)
    if asleep is None or (run.stopped and seen.samples < needed):
        row.state = NOT_JUDGED
        return row
    for key in PERCENTILES:
        actual, limit = seen.percentile(key), slo.limit(key)
        if actual is not None and limit is not None and actual > limit:
            row.reasons.append(f"{key} {actual:g} ms > {limit:g} ms")
    failed = seen.failures / seen.samples if seen.samples else 0.0
    if failed > slo.failures:
        errors = f" ({'; '.join(seen.errors[:3])})" if seen.errors else ""
        row.reasons.append(f"{failed:.1%} failed > {slo.failures:.1%}{errors}")
    if seen.limited > slo.limited * (seen.limited + seen.samples):
        row.reasons.append(
            f"{seen.limited} responses 429, more than {slo.limited:.0%}: the Space limits people below "
            "its limit, or does not distinguish them by X-Forwarded-For"
        )
    if seen.samples and rate < slo.rate:
        row.reasons.append(f"{rate:.2g} requests a second < {slo.rate:g}")
    if row.reasons:
        row.state = CROSSED
    if not seen.samples and not seen.limited:
        row.state = INVALID
        row.reasons = ["no request was made; correct the name, or run longer"]
    elif seen.samples and seen.samples < needed:
        row.state = INVALID
        row.reasons.insert(
            0, f"only {seen.samples} samples, {_why(slo, needed)}; run longer or with more people"
        )
    return row


def _excuse_the_unreached(rows: Sequence[Row]) -> None:
    """Excuse later steps without samples: a visit ends at the first step that fails, so the missing samples
    are that step's fault, not the run's."""
    failing = {
        row.slo.by
        for row in rows
        if row.slo
        and row.state == CROSSED
        and row.figures.failures > row.slo.failures * row.figures.samples
    }
    for row in rows:
        if row.state == INVALID and row.slo and row.slo.by in failing:
            row.state, row.reasons = NOT_JUDGED, []


def _needed(slo: Slo) -> int:
    """The number of samples that the table or its highest percentile requires."""
    needed = [
        samples_for(share) for key, share in PERCENTILES.items() if slo.limit(key) is not None
    ]
    return max(int(slo.samples), *needed) if needed else int(slo.samples)


def _why(slo: Slo, needed: int) -> str:
    for key, share in PERCENTILES.items():
        if needed > slo.samples and samples_for(share) == needed:
            return f"{key} needs {needed}"
    return f"{needed} are needed"


def _dead(run: Run) -> Iterable[str]:
    for space, second in run.died.items():
        yield (
            f"{run.called(space)}: answered until second {second:.0f} and then no more: the Space "
            "died or hangs under load; see its log"
        )
    for space, count in run.burst.items():
        yield (f"{run.called(space)}: {count} responses 5xx in a row, so the load on it ended")


def _faults(limits: Limits, run: Run) -> Iterable[str]:
    here = sum(run.people.values())
    for kind, count in run.people.items():
        if not count:
            yield f"there was no {kind}; use more people (-u)"
    if here < run.wanted and not run.stopped:
        yield f"only {here} of {run.wanted} people started; use a longer -t or a higher -r"
    elif run.complete is not None and run.complete < run.seconds * COMPLETE and not run.stopped:
        yield (
            f"all {run.wanted} people were active for only {run.complete:.0f} s of {run.seconds:.0f} s; "
            "use a longer -t or a higher -r"
        )
    if run.arrivals and run.arrivals.dropped > (1 - OFFERED) * run.arrivals.due:
        yield (
            f"the generator could not keep the rate: {run.arrivals.dropped} of {run.arrivals.due} arrivals "
            f"found all {here} people waiting for a response; use more people (-u), a lower --rate, "
            "or more generators"
        )
    if not run.woke and not any(seen.samples for seen in run.figures.values()):
        yield "no request was made"
    for space in silent_spaces(run.figures):
        yield f"{run.called(space)}: no request was answered; start it, or correct its URL"
    yield from _starved(limits, run)


def _starved(limits: Limits, run: Run) -> Iterable[str]:
    if run.cpu > limits.cpu:
        yield (
            f"the generator was CPU-bound (used or waited for {run.cpu:.0%} of a core > "
            f"{limits.cpu:.0%}); use --processes, more workers, or another machine"
        )
    if run.late_ms > limits.late_ms:
        yield (
            f"the generator was late ({run.late_ms:g} ms > {limits.late_ms:g} ms): it or its "
            "machine was starved, and every latency includes this delay"
        )
    if run.steal > limits.steal:
        yield f"the host took {run.steal:.0%} of this machine's CPU (> {limits.steal:.0%})"
    if run.busy > limits.busy:
        yield (
            f"this machine had other work: {run.busy:.0%} of its CPU was in use before or after "
            f"the load (> {limits.busy:.0%})"
        )

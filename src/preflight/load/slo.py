"""The thresholds of slo.toml, and what a run makes of them. Nothing here needs Locust."""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HELD, CROSSED, INVALID = "held", "crossed", "invalid"
# k6 has distinct codes too; it uses 99 where we use 1. Source: grafana/k6 errext/exitcodes
EXIT_CODES = {HELD: 0, CROSSED: 1, INVALID: 2}
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
GROWING = {
    "memory": "MB of memory",
    "files": "open files",
    "connections": "connections",
    "disk": "MB on disk",
}


class SloError(ValueError):
    """slo.toml cannot be used; the text names the table, the key and what to do."""


@dataclass(frozen=True)
class Slo:
    """What one request name must hold."""

    name: str  # "METHOD space/path"
    by: str  # the class of people who make this request
    p50: float  # milliseconds
    p95: float
    p99: float
    failures: float  # share of samples, 0..1
    samples: int  # fewer make the run invalid
    rate: float  # samples per second, at least
    limited: float  # share of answers that may be 429, 0..1
    why: str


@dataclass(frozen=True)
class Limits:
    """What makes a run worth judging. Beyond these the generator, not the Space, was measured."""

    # Of one core, 0..1, that a generator process may use or wait for in four seconds out of five.
    cpu: float
    late_ms: float  # how late a timer of the generator may be (p95): each answer is late by as much
    steal: float  # share of this machine's CPU taken by its host, 0..1
    busy: float  # share of this machine's CPU in use before or after the load, 0..1


@dataclass(frozen=True)
class Growth:
    """How much a Space may grow in an hour, watched by --watch."""

    memory: float  # MB
    files: float  # open files
    connections: float
    disk: float  # MB


@dataclass(frozen=True)
class Wake:
    """How a Space may wake."""

    seconds: float  # until its first answer


@dataclass(frozen=True)
class Figures:
    """What a run saw of one request name."""

    samples: int = 0
    failures: int = 0
    unanswered: int = 0  # of the failures: no status came back
    limited: int = 0  # answers 429, not among the samples
    latencies: Mapping[int, int] = field(default_factory=dict)  # milliseconds -> samples
    errors: tuple[str, ...] = ()  # most frequent first


@dataclass(frozen=True)
class Generator:
    """What one generator process said about itself; histograms, a sample each."""

    # Percent of a core, used or waited for -> seconds.
    cpu: Mapping[int, int] = field(default_factory=dict)
    late: Mapping[int, int] = field(default_factory=dict)  # milliseconds -> timers


@dataclass(frozen=True)
class Run:
    """A whole run, or a part of it; all generator processes together."""

    seconds: float
    people: Mapping[str, int]  # each class of people that was chosen -> how many there were
    figures: Mapping[str, Figures]
    generators: Mapping[str, Generator] = field(default_factory=dict)
    steal: float = 0.0  # these two as in Limits
    busy: float = 0.0
    growth: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # Space -> per hour
    # In a run that waits for Spaces to wake: Space -> seconds until its first own answer, None when
    # there was none.
    woke: Mapping[str, float | None] = field(default_factory=dict)
    faults: tuple[str, ...] = ()  # further reasons to call the run invalid
    stopped: bool = False  # ended early, since nothing could change the verdict any more

    @property
    def cpu(self) -> float:
        """What the busiest process used or waited for in four seconds out of five, of one core."""
        return max((nearest_rank(g.cpu, 0.8) for g in self.generators.values()), default=0) / 100

    @property
    def late_ms(self) -> int:
        return max((nearest_rank(g.late, 0.95) for g in self.generators.values()), default=0)


@dataclass
class Row:
    """One line of the verdict."""

    name: str
    slo: Slo | None
    figures: Figures
    rate: float
    # HELD, CROSSED, INVALID, "not run", or "not judged" in a run that was ended early and for a
    # Space that did not wake.
    state: str
    reasons: list[str]

    def percentile(self, key: str) -> int | None:
        """Milliseconds; None where there are too few samples to tell: a p99 of fifty samples is
        their maximum."""
        return quantile(self.figures.latencies, PERCENTILES[key])


@dataclass
class Verdict:
    state: str
    reasons: list[str]  # every one names a request, or the fault that makes the run invalid
    rows: list[Row]
    run: Run
    notes: list[str] = field(default_factory=list)  # found out besides, say the capacity

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.state]


@dataclass(frozen=True)
class Thresholds:
    """slo.toml."""

    limits: Limits
    growth: Growth
    wake: Wake
    slos: Mapping[str, Slo]


def load(path: Path) -> Thresholds:
    """Read slo.toml: tables `generator`, `growth` and `wake`, and one for each request name.

    Raises SloError when the file can't be read, or a key is missing, unknown or of a wrong type.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SloError(f"{path}: {error}") from None
    for table in ("generator", "growth", "wake"):
        if table not in tables:
            raise SloError(f"{path}: the table [{table}] is missing")
    limits = _read(path, "generator", tables.pop("generator"), Limits)
    growth = _read(path, "growth", tables.pop("growth"), Growth)
    wake = _read(path, "wake", tables.pop("wake"), Wake)
    if not tables:
        raise SloError(f"{path}: no request name has a table")
    slos = {
        name: _read(path, name, {"name": name, "limited": 0.0, **table}, Slo)
        for name, table in tables.items()
    }
    return Thresholds(limits, growth, wake, slos)


def _read(path: Path, name: str, table: dict[str, Any], kind: type[Any]) -> Any:
    fields = kind.__annotations__
    for key in table.keys() - fields.keys():
        raise SloError(f"{path}: [{name}] has an unknown key {key}; known are {', '.join(fields)}")
    for key, wanted in fields.items():
        if key not in table:
            raise SloError(f"{path}: [{name}] lacks {key}")
        value = table[key]
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if not (isinstance(value, str) if wanted is str else number):
            what = "a text" if wanted is str else "a number, 0 or more"
            raise SloError(f"{path}: [{name}] {key} must be {what}")
    return kind(**table)


def quantile(latencies: Mapping[int, int], share: float) -> int | None:
    """The latency within which `share` of the samples lie; None when there are too few samples for
    one of them to lie beyond."""
    if sum(latencies.values()) < round(1 / (1 - share)):
        return None
    return nearest_rank(latencies, share)


def nearest_rank(histogram: Mapping[int, int], share: float) -> int:
    rank = math.ceil(sum(histogram.values()) * share)
    for value in sorted(histogram):
        rank -= histogram[value]
        if rank <= 0:
            return value
    return 0


def since(now: Run, then: Run) -> Run:
    """The part of a run between two looks at it."""

    def less(new: Mapping[Any, int], old: Mapping[Any, int]) -> dict[Any, int]:
        return {key: n - old.get(key, 0) for key, n in new.items() if n > old.get(key, 0)}

    figures = {}
    for name, new in now.figures.items():
        old = then.figures.get(name, Figures())
        figures[name] = replace(
            new,
            samples=new.samples - old.samples,
            failures=new.failures - old.failures,
            unanswered=new.unanswered - old.unanswered,
            limited=new.limited - old.limited,
            latencies=less(new.latencies, old.latencies),
        )
    generators = {}
    for process, g in now.generators.items():
        before = then.generators.get(process, Generator())
        generators[process] = Generator(less(g.cpu, before.cpu), less(g.late, before.late))
    seconds = now.seconds - then.seconds
    return replace(now, seconds=seconds, people=then.people, figures=figures, generators=generators)


def judge(thresholds: Thresholds, run: Run) -> Verdict:
    """Every request name of slo.toml whose people took part must have been seen and hold; every
    name that was seen must be in slo.toml. An invalid run is never called crossed: whoever reads
    "crossed" will look for the fault in the Space."""
    slos = thresholds.slos
    rows = [_row(slo, run) for slo in slos.values()]
    for name, seen in run.figures.items():
        if name not in slos:
            rate = seen.samples / run.seconds if run.seconds else 0.0
            reason = "slo.toml does not know this name"
            rows.append(Row(name, None, seen, rate, CROSSED, [reason]))
    notes = [f"{space} woke after {s:.1f} s" for space, s in run.woke.items() if s is not None]
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
    """For each Space, the rate at which its thresholds last held over steps of rising load, in
    words, and whether its limit was found."""
    found: dict[str, tuple[str, bool]] = {}
    for space in sorted({space_of(name) for step in steps for name in step.figures}):
        held = "less than the first step"
        slos = [slo for slo in thresholds.slos.values() if space_of(slo.name) == space]
        for step in steps:
            people = sum(step.people.values())
            rows = [_row(replace(slo, rate=0, samples=0), step) for slo in slos]
            reasons = list(_starved(thresholds.limits, step))
            reasons += [f"{row.name}: {reason}" for row in rows for reason in row.reasons]
            if reasons:
                found[space] = f"{held}; with {people} people {reasons[0]}", True
                break
            held = f"{sum(row.rate for row in rows):.0f} requests a second, {people} people"
            found[space] = f"{held}, and more", False
    return found


def space_of(name: str) -> str:
    return name.partition(" ")[2].partition("/")[0]


def _row(slo: Slo, run: Run) -> Row:
    seen = run.figures.get(slo.name, Figures())
    asleep = run.woke.get(space_of(slo.name), 0.0)
    seconds = run.seconds - (asleep or 0.0)
    rate = seen.samples / seconds if seconds else 0.0
    row = Row(slo.name, slo, seen, rate, HELD, [])
    if slo.by not in run.people:
        row.state = "not run"
        return row
    if asleep is None:
        row.state = "not judged"
        return row
    if run.stopped and seen.samples < slo.samples:
        row.state = "not judged"
        return row
    for key in PERCENTILES:
        actual, limit = row.percentile(key), getattr(slo, key)
        if actual is not None and actual > limit:
            row.reasons.append(f"{key} {actual} ms > {limit:g} ms")
    failed = seen.failures / seen.samples if seen.samples else 0.0
    if failed > slo.failures:
        errors = f" ({'; '.join(seen.errors[:3])})" if seen.errors else ""
        row.reasons.append(f"{failed:.1%} failed > {slo.failures:.1%}{errors}")
    if seen.limited > slo.limited * (seen.limited + seen.samples):
        row.reasons.append(
            f"{seen.limited} answers 429, more than {slo.limited:.0%}: the Space limits people who "
            "keep to the limit, or does not tell them apart by X-Forwarded-For"
        )
    if not seen.samples:
        row.reasons.append("no request was made")
    elif rate < slo.rate:
        row.reasons.append(f"{rate:.2g} requests a second < {slo.rate:g}")
    if row.reasons:
        row.state = CROSSED
    if 0 < seen.samples < slo.samples:
        row.state = INVALID
        row.reasons.insert(0, f"only {seen.samples} samples, {slo.samples} are needed; run longer")
    return row


def _faults(limits: Limits, run: Run) -> Iterable[str]:
    for kind, count in run.people.items():
        if not count:
            yield f"there was no {kind}; use more people (-u)"
    if not run.woke and not any(seen.samples for seen in run.figures.values()):
        yield "no request was made"
    for space in silent_spaces(run.figures):
        yield f"{space}: no request was answered; is it up, and is its URL right?"
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
            "machine was starved, and every latency includes this"
        )
    if run.steal > limits.steal:
        yield f"the host took {run.steal:.0%} of this machine's CPU (> {limits.steal:.0%})"
    if run.busy > limits.busy:
        yield (
            f"this machine does other work: {run.busy:.0%} of its CPU was in use before or after "
            f"the load (> {limits.busy:.0%})"
        )


def silent_spaces(figures: Mapping[str, Figures], at_least: int = 1) -> list[str]:
    """The Spaces of which no request got any answer, among those with `at_least` samples."""
    asked: dict[str, int] = {}
    answered: dict[str, int] = {}
    for name, seen in figures.items():
        space = space_of(name)
        total = seen.samples + seen.limited
        asked[space] = asked.get(space, 0) + total
        answered[space] = answered.get(space, 0) + total - seen.unanswered
    return [space for space, total in asked.items() if total >= at_least and not answered[space]]


def hopeless(slos: Mapping[str, Slo], run: Run, planned: float) -> bool:
    """Whether a run of `planned` seconds will cross a threshold whatever still happens, even if the
    rest came twice as fast as so far and was perfect. True from the fifth second on at most."""
    if run.seconds < 5 or planned <= run.seconds:
        return False
    growth = 1 + 2 * (planned - run.seconds) / run.seconds
    for name, slo in slos.items():
        seen = run.figures.get(name, Figures())
        if seen.samples < slo.samples:
            continue
        if seen.failures > slo.failures * seen.samples * growth:
            return True
        for key, share in PERCENTILES.items():
            limit = getattr(slo, key)
            slow = sum(count for ms, count in seen.latencies.items() if ms > limit)
            if quantile(seen.latencies, share) and slow > (1 - share) * seen.samples * growth:
                return True
    return False

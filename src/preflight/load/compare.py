"""The same load on the images of two refs, in turns: what got slower, beyond the noise?

    python -m preflight.load.compare REF [--with REF] [--rounds 5] [--seconds 15] [--users 10]

Exits 0 when nothing got slower, 1 when something did, 2 when that can't be told. There is no
baseline file: figures of another machine, or of another hour, are no measure for this one.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

from preflight.engine import base_images
from preflight.engine import install as engine

SPACES = ("backend-py", "backend-node")
# Between the runs of both there must be a gap as wide as this share.
TOLERANCE = 0.1
# By how much more of the requests may fail.
MORE_FAILURES = 0.01
PERCENTILES = {"p50": 0.5, "p95": 0.95}
COMMAND_DEADLINE = 900

# A run's figures for each request name: `latencies`, `samples`, `failures` as in load.json.
Figures = Mapping[str, Mapping[str, Any]]


class CannotTell(Exception):
    """There is no comparison; the text says why and what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make load-compare", description=__doc__)
    parser.add_argument("ref", help="the old one: a branch, a tag, a commit")
    parser.add_argument(
        "--with", dest="new", default="", help="the new one; else the working folder"
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each")
    parser.add_argument("--seconds", type=int, default=15, help="length of a run")
    parser.add_argument("--users", type=int, default=10)
    options = parser.parse_args()
    if options.rounds < 3:
        parser.error("--rounds must be 3 or more: of two runs each nothing can be told")
    engine.limit_to(engine.ensure())
    try:
        with ExitStack() as stack:
            old, new = (
                stack.enter_context(Side(name, ref))
                for name, ref in (("old", options.ref), ("new", options.new))
            )
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            load = ["-u", options.users, "-r", options.users]
            runs = measure(
                [*old.targets, *load],
                [*new.targets, *load],
                options.rounds,
                options.seconds,
                without_limits(folder / "slo.toml"),
            )
    except CannotTell as error:
        print(f"Comparison: invalid (exit code 2): {error}", file=sys.stderr)
        return 2
    rows = compare(*runs)
    print(table(rows, options.ref, options.new or "the working folder"))
    return 1 if any(row.worse for row in rows) else 0


def measure(
    old: Sequence[object], new: Sequence[object], rounds: int, seconds: int, slo: Path
) -> tuple[list[Figures], list[Figures]]:
    """Figures of `rounds` runs with the options `old`, and with `new`, in turns: what the machine
    does meanwhile meets both. One more run of each comes first and does not count: it warms up."""
    runs: tuple[list[Figures], list[Figures]] = ([], [])
    for number in range(rounds + 1):
        for options, figures in zip((old, new), runs, strict=True):
            length = seconds if number else min(seconds, 5)
            done = run_load([*options, "-t", f"{length}s", "--slo", slo])
            if number:
                figures.append(done)
                print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return runs


def run_load(options: Sequence[object]) -> Figures:
    """Figures of one run. A run that the gate calls invalid is made once more; raises CannotTell
    when the second is invalid too."""
    reason = ""
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "load.html"
            command = [sys.executable, "-m", "locust", "-f", "loadtests", "--headless"]
            done = subprocess.run(
                [*command, "--html", str(report), *map(str, options)],
                capture_output=True,
                text=True,
                timeout=COMMAND_DEADLINE,
            )
            if not report.with_suffix(".json").exists():
                raise CannotTell("\n".join(done.stderr.strip().splitlines()[-5:]))
            verdict = json.loads(report.with_suffix(".json").read_text())
            if verdict["verdict"] != "invalid":
                rows = verdict["requests"]
                return {row["name"]: row for row in rows if row["verdict"] != "not run"}
            reason = "; ".join(verdict["reasons"])
    raise CannotTell(f"a run was invalid twice: {reason}")


def without_limits(path: Path) -> Path:
    """Writes loadtests/slo.toml with everything allowed to the Spaces, and the same asked of the
    generator: a slow one is compared, not judged."""
    tables = tomllib.loads((Path() / "loadtests" / "slo.toml").read_text())
    allowed = {"p50": 1e9, "p95": 1e9, "p99": 1e9}
    allowed |= {"failures": 1, "rate": 0, "limited": 1, "samples": 1}
    lines = []
    for name, given in tables.items():
        values = {**given, **(allowed if "by" in given else {})}
        lines += [f'["{name}"]', *(f"{key} = {json.dumps(v)}" for key, v in values.items())]
    path.write_text("\n".join(lines))
    return path


@dataclass(frozen=True)
class Row:
    """One percentile of one request name: milliseconds of each run, in the order of the runs."""

    name: str
    percentile: str
    old: Sequence[float]
    new: Sequence[float]
    more_failures: float  # share of the requests

    @property
    def ratio(self) -> float:
        return median(self.new) / median(self.old)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest ratio of two runs that followed each other."""
        ratios = [new / old for old, new in zip(self.old, self.new, strict=True)]
        return min(ratios), max(ratios)

    @property
    def change(self) -> str:
        """Slower only when the quickest new run is by TOLERANCE slower than the slowest old one,
        and the other way round. Five and five runs of equals come to lie apart, by however little,
        once in 126 times (Mann-Whitney), and there are twenty rows: hence the tolerance."""
        if self.more_failures > MORE_FAILURES:
            return f"{self.more_failures:.1%} more fail"
        if min(self.new) > max(self.old) * (1 + TOLERANCE):
            return "slower"
        if max(self.new) * (1 + TOLERANCE) < min(self.old):
            return "faster"
        return "same"

    @property
    def worse(self) -> bool:
        return self.change not in ("same", "faster")


def compare(old: Sequence[Figures], new: Sequence[Figures]) -> list[Row]:
    """A row for each percentile of each request name. Raises CannotTell when there is none."""
    rows = []
    for name in sorted(set.intersection(*(set(run) for run in (*old, *new)))):
        failed = [sum(r[name]["failures"] for r in runs) for runs in (old, new)]
        asked = [sum(r[name]["samples"] for r in runs) for runs in (old, new)]
        if not all(asked):
            continue
        more = failed[1] / asked[1] - failed[0] / asked[0]
        for percentile, share in PERCENTILES.items():
            values = [
                [value_at(r[name]["latencies"], share) for r in runs if r[name]["latencies"]]
                for runs in (old, new)
            ]
            if len(values[0]) == len(old) and len(values[1]) == len(new):
                rows.append(Row(name, percentile, values[0], values[1], more))
    if not rows:
        raise CannotTell("no request was made to both")
    return rows


def value_at(latencies: Mapping[str, int], share: float) -> float:
    """Milliseconds within which `share` of the samples lie. Locust rounds them to 1 ms below 100,
    to 10 below 1000 (Source: locust/stats.py), so it is interpolated as in
    `statistics.median_grouped`."""
    rank = sum(latencies.values()) * share
    for value in sorted(map(int, latencies)):
        count = latencies[str(value)]
        if rank <= count:
            width = 10.0 ** max(0, len(str(value)) - 2)
            return max(0.05, value + width * (rank / count - 0.5))
        rank -= count
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


class Side:
    """Both Spaces of a ref (of the working folder, when empty) as compose.yaml runs them, on ports
    of their own. Raises CannotTell when they can't be built or don't start."""

    def __init__(self, name: str, ref: str) -> None:
        self.ref, self.project = ref, f"load-compare-{os.getpid()}-{name}"
        self._scratch = tempfile.TemporaryDirectory()
        self.folder, self._offline = Path.cwd(), False

    def __enter__(self) -> Self:
        if self.ref:
            self.folder = Path(self._scratch.name)
            done = subprocess.run(
                ["git", "archive", self.ref, *SPACES], capture_output=True, timeout=60
            )
            if done.returncode:
                raise CannotTell(f"{self.ref}: {done.stderr.decode().strip()}")
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
                archive.extractall(self.folder, filter="data")
        images = {image for name in SPACES for image in named(self.folder / name)}
        self._offline = bool(base_images.ensure(sorted(images)))
        print(f"building and starting {self.ref or 'the working folder'} …", file=sys.stderr)
        try:
            self._compose("up", "--build", "--wait", "--quiet-pull", *SPACES)
        except CannotTell:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._compose("down", "--volumes", "--rmi", "local", "--timeout", "1")
        self._scratch.cleanup()

    @property
    def targets(self) -> list[str]:
        found = []
        for name in SPACES:
            port = self._compose("port", name, "7860").strip().rpartition(":")[2]
            found += [f"--{name}", f"http://{engine.host()}:{port}"]
        return found

    def _compose(self, *arguments: str) -> str:
        differences = Path(self._scratch.name) / "compose.differences.yaml"
        differences.write_text("services:\n" + "".join(map(self._differences, SPACES)))
        files = [Path() / "compose.yaml", differences]
        if self._offline:
            files.insert(1, Path() / "compose.offline.yaml")
        command = ["docker", "compose", "--project-name", self.project]
        command += [f"--file={path}" for path in files]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=COMMAND_DEADLINE
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-15:])
            raise CannotTell(f"{self.ref or 'the working folder'}: compose failed:\n{last}")
        return done.stdout

    def _differences(self, name: str) -> str:
        address = "127.0.0.1" if engine.host() == "127.0.0.1" else "0.0.0.0"
        return (
            f"  {name}:\n    build: {{ context: {json.dumps(str(self.folder / name))} }}\n"
            f"    ports: !override ['{address}::7860']\n"
        )


def named(folder: Path) -> list[str]:
    return base_images.named_in((folder / "Dockerfile").read_text())


if __name__ == "__main__":
    sys.exit(main())

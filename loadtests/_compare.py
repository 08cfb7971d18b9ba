"""Run the same load on the images of two refs, in turns, and report what got slower beyond the noise.

    python -m loadtests._compare REF [--with REF] [--rounds 5] [--seconds 15] [--users 10]

Exits 0 if nothing got slower, 1 if something did, 2 if no comparison is possible. There is no baseline
file: figures from another machine or another hour are not comparable. The name starts with an underscore
so that Locust ignores this file (Source: locust/util/directory.py).
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
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from preflight.engine import base_images
from preflight.engine import install as engine
from preflight.engine.compose import Compose
from preflight.engine.docker import DockerError
from preflight.load.compare import CannotCompare, Figures, compare, figures_of, table

SPACES = ("backend-py", "backend-node")
COMMAND_DEADLINE = 900


def main() -> int:
    parser = argparse.ArgumentParser(prog="make load-compare", description=__doc__)
    parser.add_argument("ref", help="old ref: a branch, a tag or a commit")
    parser.add_argument(
        "--with", dest="new", default="", help="new ref; by default the working folder"
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of runs on each ref")
    parser.add_argument("--seconds", type=int, default=15, help="length of a run in seconds")
    parser.add_argument("--users", type=int, default=10, help="number of people")
    options = parser.parse_args()
    if options.rounds < 3:
        parser.error("--rounds must be 3 or more: two runs on each ref prove nothing")
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
    except CannotCompare as error:
        print(f"Comparison: invalid (exit code 2): {error}", file=sys.stderr)
        return 2
    rows = compare(*runs)
    print(table(rows, options.ref, options.new or "the working folder"))
    return 1 if any(row.worse for row in rows) else 0


def measure(
    old: Sequence[object], new: Sequence[object], rounds: int, seconds: int, slo: Path
) -> tuple[list[Figures], list[Figures]]:
    """Figures of `rounds` runs with the options `old`, and with `new`. The runs take turns, so other work
    of the machine affects both. An extra run of each comes first as a warm-up and does not count."""
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
    """Figures of one run, repeated once if the gate calls it invalid. Raises CannotCompare if the second
    run is invalid too."""
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
                raise CannotCompare("\n".join(done.stderr.strip().splitlines()[-5:]))
            verdict = json.loads(report.with_suffix(".json").read_text())
            if verdict["verdict"] != "invalid":
                return figures_of(verdict)
            reason = "; ".join(verdict["reasons"])
    raise CannotCompare(f"a run was invalid twice: {reason}")


def without_limits(path: Path) -> Path:
    """Write a copy of loadtests/slo.toml without limits for the Spaces: a slow Space is compared, not
    judged. The generator's limits stay. Returns the path."""
    tables = tomllib.loads((Path() / "loadtests" / "slo.toml").read_text())
    allowed = {"failures": 1, "rate": 0, "limited": 1, "samples": 1}
    judged = ("p50", "p95", "p99", "p999")
    lines = []
    for name, given in tables.items():
        kept = {key: value for key, value in given.items() if key not in judged}
        values = {**kept, **(allowed if "by" in given else {})}
        lines += [f'["{name}"]', *(f"{key} = {json.dumps(v)}" for key, v in values.items())]
    path.write_text("\n".join(lines))
    return path


class Side:
    """Both Spaces of a ref (an empty ref is the working folder) as compose.yaml runs them, on free ports.
    Raises CannotCompare if they can't be built or don't start."""

    def __init__(self, name: str, ref: str) -> None:
        self.ref, self.called = ref, ref or "the working folder"
        self._scratch = tempfile.TemporaryDirectory()
        self.folder = Path.cwd()
        differences = Path(self._scratch.name) / "compose.differences.json"
        ports = {"BACKEND_PY_PORT": "0", "BACKEND_NODE_PORT": "0"}
        if engine.host() != "127.0.0.1":
            ports["HOST_ADDRESS"] = "0.0.0.0"
        self.compose = Compose(
            ["compose.yaml", differences], f"load-compare-{os.getpid()}-{name}", ports
        )
        self._differences = differences

    def __enter__(self) -> Self:
        if self.ref:
            self.folder = Path(self._scratch.name)
            done = subprocess.run(
                ["git", "archive", self.ref, *SPACES], capture_output=True, timeout=60
            )
            if done.returncode:
                raise CannotCompare(f"{self.ref}: {done.stderr.decode().strip()}")
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
                archive.extractall(self.folder, filter="data")
        services = {name: {"build": self._build(self.folder / name)} for name in SPACES}
        # JSON is YAML.
        self._differences.write_text(json.dumps({"services": services}))
        print(f"building and starting {self.called} …", file=sys.stderr)
        try:
            self.compose.run("build", *SPACES, deadline=COMMAND_DEADLINE)
            self.compose.up(*SPACES)
        except DockerError as error:
            self.__exit__()
            raise CannotCompare(f"{self.called}: {error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        self.compose.down("--rmi", "local")
        self._scratch.cleanup()

    @property
    def targets(self) -> list[str]:
        found = []
        for name in SPACES:
            port = self.compose.run("port", name, "7860").strip().rpartition(":")[2]
            found += [f"--{name}", f"http://{engine.host()}:{port}"]
        return found

    def _build(self, folder: Path) -> dict[str, Any]:
        """How Compose builds a folder, with stand-ins for base images that no registry provides."""
        named = base_images.named_in((folder / "Dockerfile").read_text())
        stand_ins = base_images.ensure(named)
        contexts = {image: f"docker-image://{other}" for image, other in stand_ins.items()}
        return {"context": str(folder), "additional_contexts": contexts}


if __name__ == "__main__":
    sys.exit(main())

"""`preflight load`: the gate for any Space, by its URL, its folder or its name on the Hub.

Locust runs in a separate process, because importing it patches the standard library.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from preflight.engine import install
from preflight.engine.container import Container
from preflight.engine.docker import DockerError
from preflight.engine.edge import Edge
from preflight.engine.image import build_space
from preflight.engine.live import Live
from preflight.engine.run import Run
from preflight.engine.start import start
from preflight.load import care, plan, watch
from preflight.load.draft import NothingToRepeat, draft
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.hub_profile import HUB
from preflight.model.program import typed
from preflight.model.space import SpaceError, space_of_folder

CALLERS = Path(__file__).with_name("callers.py")
SPACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SECONDS = 30
# Seconds beyond the planned length: Locust's start, the last responses, the reports.
DEADLINE = 120
# Quiet requests of each path for the draft: to this machine, and to another.
OWN_SAMPLES, OTHERS_SAMPLES = 20, 4


class CannotLoad(Exception):
    """There is no verdict; the text says why and what to do."""


@dataclass(frozen=True)
class Wanted:
    """The options of `preflight load`; the shape or the rate decides an empty value."""

    target: str  # URL, folder or OWNER/NAME
    report: Path  # the folder of load.html, .md, .xml, .json and .prom
    slo: Path | None = None
    users: int | None = None
    rate: float = 0.0
    seconds: int | None = None
    shape: str = "steady"
    think: float = 0.2
    ca: str = ""
    yes_load_this: bool = False
    max_rate: float = 0.0
    more: tuple[str, ...] = ()  # passed on to Locust


@dataclass(frozen=True)
class Target:
    """What the run loads. folder, container: set only for a Space that was built here."""

    url: str
    ca: str = ""
    folder: Path | None = None
    container: Container | None = None


def load(wanted: Wanted) -> int:
    """Make a run and judge it. Returns 0 held, 1 crossed, 2 invalid or no run; prints the reason."""
    try:
        if importlib.util.find_spec("locust") is None:
            raise CannotLoad("Locust is not installed; pip install 'preflight-for-spaces[load]'")
        wanted.report.mkdir(parents=True, exist_ok=True)
        # Keeps the reports out of the user's repository.
        wanted.report.joinpath(".gitignore").write_text("*\n")
        with opened(wanted) as target:
            return run(wanted, target, _slo(wanted, target))
    except (CannotLoad, care.NotYours, NothingToRepeat, SpaceError, DockerError,
            EnvironmentDeclarationError) as error:  # fmt: skip
        print(f"Load: invalid (exit code 2): {error}", file=sys.stderr, flush=True)
    except install.Failure:
        print("Load: invalid (exit code 2): no Docker engine answers", file=sys.stderr, flush=True)
    return 2


def smoke(folder: Path, report: Path) -> int:
    """Load the Space in a folder for 30 s, for `preflight push --load`. Returns the exit code of `load`.

    The thresholds are those of its slo.toml, or of a draft for this run. The reports go to the folder
    `report`. The engine's cache provides the layers that the checks judged.
    """
    with tempfile.TemporaryDirectory(prefix="preflight-load-") as scratch:
        own = folder / "slo.toml"
        slo = own if own.is_file() else Path(scratch) / "slo.toml"
        return load(Wanted(str(folder), report, slo=slo, shape="smoke"))


@contextmanager
def opened(wanted: Wanted) -> Iterator[Target]:
    """The target, running. Raises CannotLoad, NotYours, SpaceError, DockerError."""
    text = wanted.target
    if Path(text).is_dir():
        with started(Path(text), wanted.report) as target:
            yield target
        return
    if urlsplit(text).scheme in ("http", "https") and urlsplit(text).netloc:
        url = text.rstrip("/")
    elif SPACE_ID.fullmatch(text):
        owner, _, name = text.partition("/")
        url = f"https://{HUB.host(name, owner)}"
    else:
        raise CannotLoad(
            f"{text!r} is invalid: name a folder, a URL such as http://127.0.0.1:7860, or a Space's OWNER/NAME"
        )
    rate = plan.RAMP.fullmatch(wanted.shape)
    highest = max(float(rate[1]), float(rate[2])) if rate else wanted.rate
    care.check(wanted, {"": url}, highest, _seconds(wanted))
    yield Target(url, wanted.ca)


@contextmanager
def started(folder: Path, reports: Path) -> Iterator[Target]:
    """The Space in a folder, built and run as on the Hub, behind the edge.

    Raises CannotLoad when it does not start, SpaceError, DockerError.
    """
    install.limit_to(install.ensure())
    space, runs = space_of_folder(folder), Run(reports.resolve())
    container: Container | None = None
    try:
        print(f"load: building {space.name} …", file=sys.stderr, flush=True)
        image = build_space(runs, space)
        print(f"load: starting {space.name} …", file=sys.stderr, flush=True)
        outcome = start(runs, space, image, observed=False)
        container = outcome.container
        if outcome.failure or container is None:
            what = outcome.failure.actual if outcome.failure else "it does not start"
            raise CannotLoad(
                f"{space.name} does not serve: {what}; see: {typed(f'check {folder}')}"
            )
        if install.host() != "127.0.0.1":
            # The edge's names resolve to this machine, but the engine runs on another.
            yield Target(container.url, folder=folder, container=container)
            return
        with Edge(runs, {space.name: container}, {"X_FORWARDED_FOR": "kept"}) as edge:
            host = HUB.host(space.name).replace(".hf.space", ".hf.localhost")
            authority = str(edge.space(space.name).http.verify)
            yield Target(f"https://{host}:{edge.port}", authority, folder, container)
    finally:
        if container:
            container.remove()
        runs.remove(keep_material=False)


def run(wanted: Wanted, target: Target, slo: Path) -> int:
    """Run Locust on a running target. Returns the exit code; raises CannotLoad without a verdict."""
    page = wanted.report.resolve() / "load.html"
    verdict = page.with_suffix(".json")
    verdict.unlink(missing_ok=True)
    command = [sys.executable, "-m", "locust", *_options(wanted, target, slo, page)]
    seconds = _seconds(wanted)
    print(f"load: {seconds} s on {target.url} …", file=sys.stderr, flush=True)
    environment = {**os.environ, "LOCUST_SLO": str(slo)}
    with subprocess.Popen(command, env=environment) as process:
        try:
            code = _wait(process, seconds + DEADLINE)
        finally:
            if process.poll() is None:
                process.kill()
    if code not in (0, 1, 2):
        raise CannotLoad(f"Locust ended with exit code {code} and without a verdict")
    if not verdict.is_file():
        if code != 2:
            raise CannotLoad(f"Locust wrote no verdict (exit code {code})")
        return 2
    if target.container:
        _print_end(target.container)
    print(f"  report: {page}", flush=True)
    return int(json.loads(verdict.read_text())["exit_code"])


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int:
    """Wait for the exit code. Ctrl-C reaches both processes; Locust then ends and judges the run."""
    while True:
        try:
            return process.wait(deadline)
        except KeyboardInterrupt:
            deadline = DEADLINE
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            raise CannotLoad(f"Locust did not end within {deadline:g} s") from None


def _options(wanted: Wanted, target: Target, slo: Path, page: Path) -> list[str]:
    """Locust's arguments."""
    people = slo.with_name("loadfile.py")
    files = f"{CALLERS},{people}" if people.is_file() else str(CALLERS)
    options = ["-f", files, "--headless", "--only-summary", "--loglevel", "ERROR"]
    # Locust's tables go to a file: the verdict's table has the same figures, with their limits.
    options += ["--json-file", str(page.with_name("locust")), "--html", str(page)]
    options += ["--host", target.url, "--slo", str(slo), "--shape", wanted.shape]
    options += ["--run-time", f"{_seconds(wanted)}s", "--think", f"{wanted.think:g}"]
    options += ["--rate", f"{wanted.rate:g}"] if wanted.rate else []
    options += ["--users", str(wanted.users)] if wanted.users else []
    options += ["--ca", target.ca] if target.ca else []
    options += ["--yes-load-this"] if wanted.yes_load_this else []
    options += ["--max-rate", f"{wanted.max_rate:g}"] if wanted.max_rate else []
    if target.container and install.host() == "127.0.0.1":
        watched = f"container:{target.container.id}"
        # Only root may inspect another user's process.
        with suppress(watch.WatchError):
            watch.find(watched)
            options += ["--watch", f"target={watched}"]
    return [*options, *wanted.more]


def _seconds(wanted: Wanted) -> int:
    kind = "ramp:LOW..HIGH" if wanted.shape.startswith("ramp:") else wanted.shape
    return wanted.seconds or plan.SHAPES[kind][1] or SECONDS


def _slo(wanted: Wanted, target: Target) -> Path:
    """The path of slo.toml, drafted if absent. Raises CannotLoad, NothingToRepeat."""
    path = (wanted.slo or (target.folder or Path()) / "slo.toml").resolve()
    if path.is_file():
        return path
    own = care.is_own(target.url)
    space = Live("target", target.url, writes=own)
    if target.ca:
        space.http.verify = target.ca
    try:
        text = draft(space.get, OWN_SAMPLES if own else OTHERS_SAMPLES, wanted.target)
    except requests.RequestException as error:
        raise CannotLoad(
            f"{target.url} does not answer ({error}); start it, or correct the URL"
        ) from None
    path.write_text(text)
    print(f"load: drafted {path} from a quiet run; check it and keep it", file=sys.stderr)
    return path


def _print_end(container: Container) -> None:
    """Print how the container ended, if it no longer runs."""
    state = container.state
    if state["Status"] != "running":
        killed = ", killed for its memory" if state.get("OOMKilled") else ""
        print(
            f"  the Space's container ended with exit code {state['ExitCode']}{killed}; its last lines:"
        )
        for line in container.logs().splitlines()[-10:]:
            print(f"    {line[:400]}")

"""pytest plugin: `--changed` leaves out the tests that passed on exactly these files.

A verdict is valid until an input of the test changes: the engine, or a file of the checkout that git
does not ignore. A test in a folder named after a Space reads no other Space. A verdict expires after
a day, because base images and packages change without a change here. The contract always runs: it
takes a minute and comes before a push.

Every run records the passed tests in pytest's cache.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from preflight.engine.docker import docker
from preflight.model.space import SpaceError, spaces_of_compose

STANDS_FOR = 24 * 60 * 60
ALWAYS = "src/preflight/contract/"
# With these options the tests judge something other than the files of this checkout.
_ELSEWHERE = ("--space", "--ref", "--live", "--hub", "--reuse", "--online")
_RECORD = "preflight/passed"
_STANDING = pytest.StashKey[frozenset[str]]()
_LEFT_OUT = pytest.StashKey[int]()


class Verdicts:
    """The passed tests of the checkout at `root`, each with a digest of all its inputs.

    Raises OSError, CalledProcessError or SpaceError when `root` is not a git checkout with Spaces.
    """

    def __init__(self, root: Path, cache: pytest.Cache) -> None:
        self._root = root
        self._cache = cache
        self._engine = docker("info", "--format", "{{.ID}} {{.ServerVersion}}", check=False).stdout
        self._digests = digests_of_files(root)
        self._passed: set[str] = set()
        self._not_passed: set[str] = set()

    def standing(self) -> frozenset[str]:
        """The tests whose verdict is still valid."""
        return frozenset(
            test
            for test, (digest, _) in self._of_a_day().items()
            if digest == self._digest(test) and not test.startswith(ALWAYS)
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._not_passed.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        recorded = self._of_a_day()
        for test in self._not_passed:
            recorded.pop(test, None)
        # If a file changed during the run, it is unknown which version the tests read.
        if digests_of_files(self._root) == self._digests:
            for test in self._passed - self._not_passed:
                recorded[test] = (self._digest(test), time.time())
        self._cache.set(_RECORD, recorded)

    def _of_a_day(self) -> dict[str, tuple[str, float]]:
        recorded: dict[str, tuple[str, float]] = self._cache.get(_RECORD, {})
        oldest = time.time() - STANDS_FOR
        return {test: verdict for test, verdict in recorded.items() if verdict[1] > oldest}

    def _digest(self, test: str) -> str:
        own = [
            name for name in self._digests if test.startswith(f"tests/{name.replace('-', '_')}/")
        ]
        read = ["", *own] if own else sorted(self._digests)
        parts = [self._engine, *(self._digests[name] for name in read)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def digests_of_files(root: Path) -> dict[str, str]:
    """Digests: of the files of each Space in compose.yaml, by its name; of all other files, by ""."""
    folders = {
        space.working_folder: space.name for space in spaces_of_compose(root / "compose.yaml")
    }
    digests = {name: hashlib.sha256() for name in ("", *folders.values())}
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in sorted(filter(None, set(listed))):
        path = root / name
        space = next((folders[folder] for folder in path.parents if folder in folders), "")
        # A file that was deleted but is still in git's index has no content.
        content = path.read_bytes() if path.is_file() else b""
        executable = path.is_file() and path.stat().st_mode & 0o100
        digests[space].update(f"{name}\0{executable}\0{len(content)}\0".encode() + content)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("preflight").addoption(
        "--changed",
        action="store_true",
        help="leave out tests that passed within a day on exactly these files, except the contract",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    config.stash[_STANDING] = frozenset(getattr(config, "workerinput", {}).get("standing", ()))
    elsewhere = any(config.getoption(option) for option in _ELSEWHERE)
    if hasattr(config, "workerinput") or not hasattr(config, "cache") or elsewhere:
        return
    try:
        verdicts = Verdicts(config.rootpath, config.cache)
    except (OSError, subprocess.CalledProcessError, SpaceError):
        return  # No verdict is valid, so every test runs.
    config.pluginmanager.register(verdicts)
    if config.getoption("--changed"):
        config.stash[_STANDING] = verdicts.standing()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All xdist workers have to leave out the same tests."""
    node.workerinput["standing"] = sorted(node.config.stash[_STANDING])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    standing = config.stash[_STANDING]
    left_out = [item for item in items if item.nodeid in standing]
    items[:] = [item for item in items if item.nodeid not in standing]
    config.hook.pytest_deselected(items=left_out)
    config.stash[_LEFT_OUT] = len(left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    config: Any = session.config
    if hasattr(config, "workerinput"):
        config.workeroutput["left_out"] = config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    left_out = getattr(node, "workeroutput", {}).get("left_out", 0)
    node.config.stash[_LEFT_OUT] = max(left_out, node.config.stash.get(_LEFT_OUT, 0))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    left_out = config.stash.get(_LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(
            f"{left_out} tests were not run: they passed within a day on exactly these files. "
            "`make test` runs them.",
            yellow=True,
        )

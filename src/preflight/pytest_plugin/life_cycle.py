"""pytest plugin: a run always cleans up, and keeps the logs that explain a failure."""

from __future__ import annotations

import signal
from collections.abc import Generator
from typing import Any

import pytest

from preflight.engine.base_images import described, stood_in_for
from preflight.engine.docker import DockerError, NoDocker, docker
from preflight.engine.install import last_words
from preflight.engine.run import LABEL, ONCE, Run, remove_leftovers, remove_old_folders
from preflight.model.hub_profile import HUB
from preflight.model.problems import CannotJudge
from preflight.model.space import NoFolder
from preflight.pytest_plugin import CONTRACT
from preflight.pytest_plugin.running import FAILED, run_of
from preflight.pytest_plugin.targets import SPACES

# All files of such a folder go to the same xdist worker, since each worker starts the upstreams and Spaces again.
ONE_WORKER = ("tests/backend_py/", "tests/backend_node/")

_KEPT = pytest.StashKey[str]()
_LEFT = pytest.StashKey[str]()
_STAND_INS = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts a background job with SIGINT ignored, and this run's child processes would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # CI ends a job with SIGTERM; the clean-up must run then too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    for assignment in config.getoption("--hub"):
        try:
            HUB.override(assignment)
        except ValueError as error:
            raise pytest.UsageError(f"--hub {assignment}: {error}") from None


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup() -> Generator[None, object, object]:
    """Skip a check that needs the Space's folder if only its URL is known."""
    try:
        return (yield)
    except NoFolder as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    try:
        return (yield)
    except NoFolder as reason:
        pytest.skip(str(reason))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each xdist worker the controller's run."""
    node.workerinput["preflight_run"] = run_of(node.config).id


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, run all checks of a Space on one worker, which starts its containers once.
    The files of each folder in ONE_WORKER share a worker too."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    names = sorted((space.name for space in config.stash[SPACES]), key=len, reverse=True)

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            if CONTRACT in (config.rootpath / file).parents:
                parameters = nodeid.rpartition("[")[2].rstrip("]")
                return next((name for name in names if name in parameters), file)
            return next((folder for folder in ONE_WORKER if file.startswith(folder)), file)

    return Scheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the stand-ins that a finished xdist worker has used."""
    names = getattr(node, "workeroutput", {}).get("stand_ins", [])
    node.config.stash.setdefault(_STAND_INS, set()).update(names)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        unjudged = (DockerError, CannotJudge)
        by_docker = call.excinfo is not None and call.excinfo.errisinstance(unjudged)
        if by_docker and not item.session.shouldstop and (problem := engine_problem()):
            # No other test can pass. pytest exits with code 2.
            item.session.shouldstop = problem
    return report


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    """This run: its id, its folder, its clean-up. Raises CannotJudge if no Docker engine answers."""
    if problem := engine_problem():
        raise CannotJudge(problem)
    run = run_of(pytestconfig)
    run.once("leftovers", remove_leftovers)
    return run


def engine_problem() -> str:
    """Why no engine answers and what to do, in one line; empty if an engine answers."""
    try:
        docker("version", "--format", "{{.Server.Version}}", deadline=20)
    except NoDocker:
        return "no Docker engine: the command `docker` is not installed. Install Docker Desktop or Docker Engine (https://docs.docker.com/engine/install/), then run this again"
    except DockerError as error:
        why = (last_words() or str(error).splitlines()[-1]).rstrip(".")
    else:
        return ""
    return f"no Docker engine answers: {why}. Start it (Docker Desktop, or: sudo systemctl start docker), then run this again"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config: Any = session.config
    run = run_of(config)
    if hasattr(config, "workerinput"):
        config.workeroutput["stand_ins"] = sorted(stood_in_for)
        return
    # Without an engine, the fixture `run` failed and nothing was created.
    if not (run.folder / ONCE).exists():
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        bad = exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if bad:
            _keep_logs(run)
        keep = config.getoption("--reuse") or (config.getoption("--keep") and bad)
        if keep:
            run.remove_all_but_the_stack()
            config.stash[_KEPT] = run.id
        else:
            run.remove(keep_material=bad)
        remove_old_folders(run.folder.parent)
    except DockerError as error:
        config.stash[_LEFT] = str(error)
        session.exitstatus = exitstatus if bad else pytest.ExitCode.TESTS_FAILED
    finally:
        signal.signal(signal.SIGINT, previous)


def pytest_report_header(config: pytest.Config) -> str:
    return f"after a failure, logs and states are in {run_of(config).folder}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    stand_ins = sorted(config.stash.setdefault(_STAND_INS, set()) | stood_in_for)
    if stand_ins:
        terminalreporter.write_line(
            f"NO IMAGE REGISTRY ANSWERED: stand-ins replaced {', '.join(map(described, stand_ins))}. "
            "Sizes and base layers differ from the Hub's.",
            yellow=True,
        )
    left = config.stash.get(_LEFT, None)
    if left:
        terminalreporter.write_line(
            f"THE CLEAN-UP FAILED; the next run removes the leftovers. {left}",
            red=True,
        )
    kept = config.stash.get(_KEPT, None)
    if kept:
        terminalreporter.write_line(
            f"the stack is still running. Inspect: docker compose -p {kept} ps · logs. Remove: "
            f"docker compose -p {kept} down --volumes --remove-orphans",
            yellow=True,
        )


def _keep_logs(run: Run) -> None:
    """Save the complete log and the state of each of the run's containers in the run's folder."""
    mark = f"--filter=label={LABEL}={run.id}"
    listed = docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}", mark).stdout
    # Imported here: checks of a folder alone do not need most of the engine.
    from preflight.engine.container import Container

    for line in listed.splitlines():
        container_id, name = line.split()
        Container(name, container_id, port=0).save(run.folder)

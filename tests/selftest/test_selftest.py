"""The contract must catch each broken Space by the named check, and by no other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path, PurePath
from typing import Any

import pytest

from preflight.model.problems import Severity
from tests.selftest.cases import SOUND, Broken
from tests.selftest.declared_cases import DECLARATION, DOCKERFILE, WARNED
from tests.selftest.image_cases import IMAGES, TREE
from tests.selftest.push_cases import METADATA, PUSH
from tests.selftest.running_cases import RUNNING
from tests.selftest.serving_cases import CORS, ENVIRONMENT, SHUTDOWN, START
from tests.selftest.visitor_cases import VISITORS
from tests.spaces import folder_of

HERE = Path(__file__).parent
OF_FILES = (*METADATA, *PUSH, *DECLARATION, *DOCKERFILE, *WARNED)
OF_ANSWERS = (*START, *ENVIRONMENT, *CORS, *SHUTDOWN)
ALL = (*OF_FILES, *OF_ANSWERS, *RUNNING, *VISITORS, *IMAGES, *TREE)
CASES = tuple(case for case in ALL if case.check)
# Sound Spaces that look like broken ones.
ALIKE = tuple(case for case in ALL if not case.check)
ROOT = HERE.parents[1]
FOLDER_CHECKS = [
    f"src/preflight/contract/test_{name}.py"
    for name in ("metadata", "push", "tree", "declaration", "dockerfile", "build")
]
FOLDER_CHECKS.append("src/preflight/contract/test_hour.py::test_workers_fit_the_cpus")
# Not judged when a single folder is the target.
ALL_CHECKS = ["src/preflight/contract", "--ignore=tests/stack/test_independence.py"]
FOLDERS_TIMEOUT_S = 300
CONTAINERS_TIMEOUT_S = 600
AT_ONCE = 6
# A run waits for the engine about a third of its time.
RUNS_AT_ONCE = 2

NOT_OF_ONE_FOLDER = {
    # tests/hostile has a Space for each answer that is not HTTP.
    "start.answers_in_http",
    # Needs a browser: tests/browser/test_rendering.py has its Spaces.
    "page.renders_in_the_frame",
    # Needs the network: the Hub's endpoint returns the verdict.
    "metadata.hub_accepts_the_metadata",
    # Needs a service that two replicas share; a folder has none.
    "shutdown.two_replicas_serve_at_once",
    # Judged for the Spaces of compose.yaml together.
    *(
        f"isolation.{name}"
        for name in ("shares_no_network_and_no_volume", "neither_reaches_the_other")
    ),
    *(
        f"isolation.{name}"
        for name in ("shares_no_layer_of_its_own", "serves_while_the_other_is_dead")
    ),
    "isolation.serves_as_fast_while_the_other_is_loaded",
}
"""Checks without a broken Space here, each with the reason."""

LEFT_TO_THE_WHOLE = pytest.param(
    None, id="none", marks=pytest.mark.skip(reason="`make selftest` runs the sound Spaces")
)

Records = dict[str, list[dict[str, Any]]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    everything = metafunc.config.getoption("--selftest") == "all"
    chosen = [case for case in CASES if everything or case.sample]
    sound = [Broken(name, "", base=name) for name in SOUND]
    alike = [case for case in ALIKE if everything or case.sample]
    for name, cases in {
        "broken": [case for case in chosen if case.needs == "folder"],
        "broken_running": [case for case in chosen if case.needs == "container"],
        "sound": [*sound, *(case for case in alike if case.needs == "folder")],
        "sound_running": [
            *(sound if everything else []),
            *(case for case in alike if case.needs == "container"),
        ],
    }.items():
        if name in metafunc.fixturenames:
            parameters = [pytest.param(case, id=case.id) for case in cases]
            metafunc.parametrize(name, parameters or [LEFT_TO_THE_WHOLE])


def selected(request: pytest.FixtureRequest, *names: str) -> list[Broken]:
    """The cases of this run's tests, so that `-k` builds and runs no other."""
    found: dict[str, Broken] = {}
    for item in request.session.items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        # LEFT_TO_THE_WHOLE is not a case.
        cases = [case for name, case in parameters.items() if name in names]
        found |= {case.id: case for case in cases if isinstance(case, Broken)}
    return list(found.values())


@pytest.fixture(scope="module")
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The verdicts on every Space that needs only its folder, from one run of the contract."""
    cases = selected(request, "broken", "sound")
    return judge(cases, tmp_path_factory.mktemp("spaces"), FOLDER_CHECKS, FOLDERS_TIMEOUT_S)


@pytest.fixture(scope="module")
def records_running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Records:
    """The verdicts on every Space that has to be built and run, from runs over a few Spaces each."""
    cases = selected(request, "broken_running", "sound_running")
    everything = request.config.getoption("--selftest") == "all"
    checks = ALL_CHECKS if everything else [*ALL_CHECKS, own_modules(cases)]

    def records_of(batch: tuple[Broken, ...]) -> Records:
        settings = [f"--hub={setting}" for setting in batch[0].hub]
        top = tmp_path_factory.mktemp("running")
        return judge(list(batch), top, [*checks, *settings], CONTAINERS_TIMEOUT_S)

    # Each run keeps its Spaces until it ends: only a few at a time, so that they do not slow each other.
    batches = [
        batch
        for _, alike in groupby(sorted(cases, key=hub_of), key=hub_of)
        for batch in batched(alike, AT_ONCE)
    ]
    with ThreadPoolExecutor(RUNS_AT_ONCE) as pool:
        return {case: own for found in pool.map(records_of, batches) for case, own in found.items()}


def own_modules(cases: list[Broken]) -> str:
    """The option that judges each case by the module of its check alone.

    The whole contract starts a Space twenty times. A Space that does not start gets the whole
    contract, which then costs nothing.
    """
    chosen = [
        case.id
        if case.check == "start.serves"
        else f"({case.id} and test_{case.check.partition('.')[0]}.py)"
        for case in cases
    ]
    return f"-k={' or '.join(chosen)}"


def hub_of(case: Broken) -> tuple[str, ...]:
    """The settings of the Hub under which the contract judges a case."""
    return case.hub


def batched(cases: Iterable[Broken], size: int) -> Iterator[tuple[Broken, ...]]:
    left = iter(cases)
    while batch := tuple(islice(left, size)):
        yield batch


def judge(cases: list[Broken], top: Path, checks: list[str], timeout_s: float) -> Records:
    """Run the contract over the cases' Spaces; the records of each, by its case's id."""
    folders = {make(case, top / case.id).name: case.id for case in cases}
    spaces = [f"--space={top / case.id / (case.folder or case.id)}" for case in cases]
    command = [
        *(sys.executable, "-m", "pytest", *checks, *spaces, f"--report-dir={top}"),
        *("-q", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={top / 'junit.xml'}"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), (
        f"the contract did not run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    records: Records = {case.id: [] for case in cases}
    for record in json.loads((top / "preflight.json").read_text(encoding="utf-8"))["checks"]:
        records[folders[record["space"]]].append(record)
    return records


def make(case: Broken, top: Path) -> Path:
    """The case's Space, as a separate git repository."""
    folder = top / (case.folder or case.id)
    shutil.copytree(folder_of(case.base), folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    if case.earlier:
        write(folder, case.earlier)
        commit(folder, "Files that are taken out again")
        for name in case.earlier:
            (folder / name).unlink()
    for name, replacements in case.edit.items():
        text = (folder / name).read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text, f"{case.id}: {name} has no {old!r} to change"
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    write(folder, case.files)
    commit(folder, "The Space")
    for command in case.git:
        git(folder, *command)
    write(folder, case.uncommitted)
    return folder


def write(folder: Path, files: Mapping[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.unlink()
        elif isinstance(content, PurePath):
            path.symlink_to(content)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", f"--message={message}")


def git(folder: Path, *arguments: str) -> None:
    who = {
        f"GIT_{role}_{part}": "selftest@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for part in ("NAME", "EMAIL")
    }
    # The user's git configuration (signing, hooks, LFS filters) must not matter.
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        timeout=60,
        env=os.environ | who | alone,
    )


def found(records: list[dict[str, Any]]) -> dict[str, set[tuple[str, str]]]:
    """Severity and text of each finding, by check; also of a check that could not judge."""
    return {
        record["id"]: {(each["severity"], each["actual"]) for each in record["findings"]}
        or {("error", record["reason"])}
        for record in records
        if record["outcome"] in ("found", "error")
    }


def caught_as_named(case: Broken, records: list[dict[str, Any]]) -> None:
    findings = found(records)
    assert set(findings) == {case.check, *case.also}, f"found: {findings}"
    consequences = {severity for check in case.also for severity, _ in findings[check]}
    assert consequences <= {Severity.ADVICE}, f"found: {findings}"
    own = next(record["severity"] for record in records if record["id"] == case.check)
    severities = [severity for severity, _ in findings[case.check]]
    assert min(map(Severity, severities), key=list(Severity).index) == (case.severity or own), (
        f"found: {findings}"
    )


def test_broken_space_is_caught_by_its_check_alone(broken: Broken, records: Records) -> None:
    """The named check, and no other, must find the fault in the folder."""
    caught_as_named(broken, records[broken.id])


def test_broken_running_space_is_caught_by_its_check_alone(
    broken_running: Broken, records_running: Records
) -> None:
    """The named check, and no other, must find the fault in the built and running Space."""
    caught_as_named(broken_running, records_running[broken_running.id])


def test_sound_folder_passes_without_a_finding(sound: Broken, records: Records) -> None:
    """A sound folder must pass without a finding, with any declaration."""
    assert found(records[sound.id]) == {}


def test_sound_space_passes(sound_running: Broken, records_running: Records) -> None:
    """A sound Space must be built and run with advice at most.

    A Space that promises more than the Hub requires must get no advice either.
    """
    findings = found(records_running[sound_running.id])
    severities = {severity for each in findings.values() for severity, _ in each}
    promises = (folder_of(sound_running.base) / "preflight.toml").is_file()
    assert severities <= (set() if promises else {Severity.ADVICE}), findings


def test_every_check_has_a_broken_space() -> None:
    """Each check must have a broken Space: a check that no Space fails may be unable to fail."""
    checks = {
        f"{path.stem.removeprefix('test_')}.{name.removeprefix('test_')}"
        for path in (ROOT / "src" / "preflight" / "contract").glob("test_*.py")
        for name in re.findall(r"(?m)^def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert checks - {case.check for case in CASES} - NOT_OF_ONE_FOLDER == set()

"""pytest plugin: the Spaces that the contract checks, and the fixture `space`.

A test that takes `space` runs once for each Space; its id is the Space's name. Without an option, the
targets are the Spaces of `compose.yaml`, with their working folders.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from preflight.model.frontmatter import FrontMatterError
from preflight.model.frontmatter_keys import SDKS
from preflight.model.git import GitError, Repository
from preflight.model.policy import PolicyError
from preflight.model.program import typed
from preflight.model.space import Space, SpaceError, space_of_folder, spaces_of_compose
from preflight.pytest_plugin.values import with_values
from preflight.rules.fixing import can_be_fixed, fix_folder
from preflight.rules.tree import fill_submodules

SPACES = pytest.StashKey[list[Space]]()
EXPORTS = pytest.StashKey[Path]()
CLONES = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--browser"):
        from preflight.engine.rendering import missing

        if reason := missing():
            raise pytest.UsageError(f"--browser: {reason}")
    try:
        spaces = config.stash[SPACES] = _targets(config)
        # Read here, so that an invalid `preflight.toml` ends the run instead of failing each check.
        _ = [space.policy for space in spaces]
    except (SpaceError, GitError, PolicyError) as error:
        raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config: pytest.Config) -> None:
    for made in (config.stash.get(EXPORTS, None), config.stash.get(CLONES, None)):
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "space" in metafunc.fixturenames:
        spaces = metafunc.config.stash[SPACES]
        ids = [space.name for space in spaces]
        metafunc.parametrize("space", spaces, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def space(request: pytest.FixtureRequest) -> Space:
    """One Space under test."""
    target = request.param
    assert isinstance(target, Space)
    return target


@pytest.fixture(scope="session")
def spaces(request: pytest.FixtureRequest) -> list[Space]:
    """All Spaces under test."""
    return request.config.stash[SPACES]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for space in config.stash.get(SPACES, []):
        # A clean export must not be fixed, and a URL has no folder.
        if space.source and not space.ref and can_be_fixed(space.source):
            terminalreporter.write_line(
                f"{space.name}/README.md has faults that --fix corrects: {typed(f'check {shlex.quote(str(space.source))} --fix')}"
            )


def _targets(config: pytest.Config) -> list[Space]:
    folders: list[str] = config.getoption("--space")
    ref = config.getoption("--ref")
    if config.getoption("--fix") and (ref or not folders):
        raise SpaceError("--fix changes working folders: write --space DIR --fix, without --ref")
    compose = config.invocation_params.dir / "compose.yaml"
    if folders:
        # Relative to the current folder, as for any path option.
        spaces = [_target(config, folder) for folder in folders]
        if config.getoption("--fix") and not hasattr(config, "workerinput"):
            _fix(config, spaces)
    else:
        spaces = spaces_of_compose(compose) if compose.is_file() else []
    if ref:
        exports = config.stash[EXPORTS] = Path(tempfile.mkdtemp(prefix="preflight-ref-"))
        spaces = [_committed(space, ref, exports / str(n)) for n, space in enumerate(spaces)]
    live = [_live(target, spaces) for target in config.getoption("--live")]
    if live and ref:
        raise SpaceError("--live and --ref exclude each other: a URL serves what was pushed")
    judged = [space for space in spaces if not _is_of_another_kind(space)]
    if spaces and not judged and not live:
        pytest.exit(
            "; ".join(f"{space.name} is not a Docker Space" for space in spaces)
            + ": `sdk` in README.md names another SDK, which the Hub builds without a Dockerfile. "
            "Preflight checks only Docker Spaces",
            returncode=pytest.ExitCode.NO_TESTS_COLLECTED,
        )
    return [with_values(config, space) for space in _named_apart(live or judged)]


def _is_of_another_kind(space: Space) -> bool:
    """Whether it is a Gradio, Streamlit or static Space. If it has a Dockerfile, its `sdk` is invalid instead."""
    try:
        sdk = space.front_matter.get("sdk")
    except FrontMatterError:
        return False
    return sdk in SDKS and sdk != "docker" and not (space.folder / "Dockerfile").exists()


def _target(config: pytest.Config, named: str) -> Space:
    """The Space that `--space` names: a folder, or `hf:OWNER/NAME`."""
    if named.startswith("hf:"):
        from preflight.pytest_plugin import hub_space

        if CLONES not in config.stash:
            config.stash[CLONES] = Path(tempfile.mkdtemp(prefix="preflight-hub-"))
        return hub_space.clone(named, config.stash[CLONES])
    return space_of_folder(config.invocation_params.dir / named)


def _fix(config: pytest.Config, spaces: list[Space]) -> None:
    lines = []
    for space in spaces:
        difference = fix_folder(space.folder)
        lines.append(difference or f"--fix: nothing mechanical to fix in {space.name}/README.md")
    # Printed even with -q, and before the first check.
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n".join(lines), flush=True)


def _committed(space: Space, ref: str, export: Path) -> Space:
    folder = space.working_folder
    assert folder is not None
    repository = Repository.of_folder(folder, ref)
    if repository is None:
        raise SpaceError(f"--ref {ref}: {folder} is not in a git repository")
    repository.export(export)
    fill_submodules(repository, export)
    return replace(space, source=export, ref=ref)


def _live(option: str, spaces: list[Space]) -> Space:
    name, _, url = option.partition("=")
    if not name or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise SpaceError(f"--live {option}: write NAME=URL, for example web=https://a-b.hf.space")
    known = next((space for space in spaces if space.name == name), Space(name, source=None))
    return replace(known, url=url.rstrip("/"))


def _named_apart(spaces: list[Space]) -> list[Space]:
    """Two folders can have the same name; their parents' names then distinguish them."""
    counts = Counter(space.name for space in spaces)
    named: list[Space] = []
    for space in spaces:
        name = space.name
        if counts[name] > 1 and space.working_folder is not None:
            name = f"{space.working_folder.parent.name}/{name}"
        if any(known.name == name for known in named):
            raise SpaceError(f"two targets have the name {name}; name each folder once")
        named.append(replace(space, name=name))
    return named

"""The files: the app's user may write what the app writes, and reads what the build has fetched."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from preflight.contract.findings import material, not_promised, require_none, violated
from preflight.contract.test_push import repository_of
from preflight.engine.answering import Answering
from preflight.engine.container import Container
from preflight.engine.forms import refused_writes, send_forms
from preflight.engine.image import BuildError, Image, build_space
from preflight.engine.layers import Contents, home_of, uid_of
from preflight.engine.ownership import Owner, own_files
from preflight.engine.run import Run
from preflight.engine.start import Start, start
from preflight.engine.visitor import Visit
from preflight.model.problems import Problem
from preflight.model.space import Space
from preflight.rules.dockerfile import Dockerfile, DockerfileError
from preflight.rules.left_behind import left_behind
from preflight.rules.repository import ignored_in_build
from preflight.rules.sources import Sources
from preflight.rules.tree import may_be_needed
from preflight.rules.writing import database_problem, path_problems


@pytest.fixture
def dockerfile(space: Space) -> Dockerfile:
    """The Space's Dockerfile, which tells its own steps from those of its base image."""
    try:
        return Dockerfile.of_folder(space.folder)
    except (FileNotFoundError, DockerfileError):
        pytest.skip("needs a Dockerfile that can be read")


@pytest.fixture
def owner(image: Image, contents: Contents) -> Owner:
    """The user that the app runs as; a check of its permissions needs one other than root."""
    uid = uid_of(image, contents)
    if uid == 0:
        not_promised("the app runs as root, who may read and write each file")
    return Owner.of(uid, home_of(image, contents), contents)


@pytest.fixture
def sources(space: Space, dockerfile: Dockerfile) -> Sources:
    """The Space's own code."""
    return Sources.of_folder(space.folder, dockerfile)


def test_data_can_be_written(
    image: Image,
    contents: Contents,
    dockerfile: Dockerfile,
    owner: Owner,
    sources: Sources,
    visited: Visit,
    subject: Answering,
    container: Container,
) -> None:
    """Databases, uploads and caches that the app writes belong to the user that it runs as.

    Severity: breaks

    On the Hub: the page is shown and each write fails with 500: "attempt to write a readonly
    database", PermissionError: [Errno 13] Permission denied, EACCES

    Fix: Make the file and its folder as the app's user: USER before the RUN, or COPY --chown.

    Source: sqlite.org/rescode.html, SQLITE_READONLY; github.com/docusealco/docuseal/issues/300;
    observed: the Hub runs the image's own USER.
    """
    settings = "\n".join(image.config.get("Env") or [])
    workdir = str(image.config.get("WorkingDir") or "/")
    problems: list[Problem] = []
    databases = []
    for path, entry in own_files(contents, dockerfile):
        if entry.database and not (owner.may_write(path) and owner.may_write_in(path)):
            shown = f"{owner.name_of(entry.uid)}, mode {entry.mode & 0o777:o}"
            problem = database_problem(path, shown, owner.shown, sources, settings)
            problems += [problem] if problem else []
            databases.append(path)
    problems += path_problems(
        sources, workdir, owner.home, owner.may_create, owner.shown, databases
    )
    # A form of the page shows what happens; the log says why.
    failed = send_forms(subject, visited)
    problems += refused_writes(container.logs(), failed, already=problems)
    require_none(problems)


def test_fetched_content_is_in_reach(
    image: Image, contents: Contents, dockerfile: Dockerfile, owner: Owner, sources: Sources
) -> None:
    """What a build step as root puts into root's home, the app's user finds in its own.

    Severity: breaks

    On the Hub: the Space is "Running" and each request that needs the content answers 500:
    "Executable doesn't exist at …/.cache/ms-playwright", LookupError: Resource punkt not found,
    FileNotFoundError

    Fix: Run the step as the app's user, after USER; or set the variable that moves the content, such
    as PLAYWRIGHT_BROWSERS_PATH, NLTK_DATA or HF_HOME, to a folder outside of any home.

    Source: github.com/microsoft/playwright/issues/31746; nltk.org/data.html.
    """
    environment = dict(line.partition("=")[::2] for line in image.config.get("Env") or [])
    fetched = [
        path
        for path, entry in own_files(contents, dockerfile, steps="RUN")
        if path.startswith("/root/") and not entry.folder
    ]
    require_none(
        left_behind(
            fetched,
            owner.home,
            owner.shown,
            environment,
            owner.may_search("/root"),
            sources,
            contents.entries,
        )
    )


def test_commit_builds_and_serves(
    run: Run, space: Space, dockerfile: Dockerfile, started: Start
) -> None:
    """Where the build takes files that .gitignore keeps out of the push, the committed files build and serve as well.

    Severity: breaks

    On the Hub: ModuleNotFoundError, "Cannot find module" or "no such table": a folder such as lib/,
    dist/ or data/ that this disk holds and .gitignore names

    Fix: Take the files out of .gitignore (`!lib/`) and commit them, or make them in the Dockerfile.

    Source: gitignore(5); hub-docs spaces-sdks-docker.md: the image is built from the repository.
    """
    if space.ref or started.container is None or started.failure:
        not_promised("the working folder is not what is built here, or it does not serve itself")
    repository = repository_of(space)
    if repository is None:
        not_promised("nothing of the folder is committed to a git repository")
    taken = ignored_in_build(dockerfile, space.folder, repository)
    ignored = [one for one in taken if may_be_needed(one)]
    if not ignored:
        not_promised("the build takes no file that .gitignore keeps out of the push")
    shown = ", ".join(ignored[:4]) + (" …" if len(ignored) > 4 else "")
    expected = "a build and a start from what is committed alone"
    with tempfile.TemporaryDirectory(prefix="preflight-commit-") as scratch:
        repository.export(Path(scratch) / "tree")
        committed = replace(space, name=f"{space.name}-committed", source=Path(scratch) / "tree")
        try:
            image = build_space(run, committed)
        except BuildError as error:
            material(error.log)
            violated(
                expected=expected,
                actual=f"without {shown}, which .gitignore names, the build fails: {str(error)[:400]}",
            )
    alone = start(run, committed, image, observed=False)
    status = 0
    if alone.container:
        if not alone.failure:
            status = alone.container.get("/").status_code
        alone.container.remove()
    if alone.failure:
        violated(
            expected=expected,
            actual=f"without {shown}, which .gitignore names, it does not serve: {alone.failure.actual}",
        )
    if status >= 400 > started.container.get("/").status_code:
        violated(
            expected=expected,
            actual=f"without {shown}, which .gitignore names, GET / answers {status}",
        )

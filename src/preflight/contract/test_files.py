"""The files: the app's user can write the app's data, and read what the build has fetched."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from preflight.contract.findings import material, not_promised, require_none, violated
from preflight.engine.container import Container
from preflight.engine.forms import failed_requests, refused_writes
from preflight.engine.image import BuildError, Image, build_space
from preflight.engine.layers import Contents, home_of, uid_of
from preflight.engine.ownership import Owner, own_files
from preflight.engine.run import Run
from preflight.engine.start import Start, start
from preflight.engine.visitor import Answer, Visit
from preflight.model.git import Repository
from preflight.model.problems import Problem
from preflight.model.space import Space
from preflight.rules.dockerfile import Dockerfile
from preflight.rules.left_behind import left_behind
from preflight.rules.repository import ignored_in_build
from preflight.rules.sources import Sources
from preflight.rules.tree import may_be_needed
from preflight.rules.writing import database_problem, path_problems


@pytest.fixture
def owner(image: Image, contents: Contents) -> Owner:
    """The user that the app runs as. Skips for root, whose permissions need no check."""
    uid = uid_of(image, contents)
    if uid == 0:
        not_promised("the app runs as root, which can read and write each file")
    return Owner.of(uid, home_of(image, contents), contents)


def test_data_can_be_written(
    image: Image,
    contents: Contents,
    dockerfile: Dockerfile,
    owner: Owner,
    sources: Sources,
    visited: Visit,
    posted: dict[str, Answer],
    container: Container,
) -> None:
    """The app's user can write the app's databases, uploads and caches.

    Severity: breaks

    On the Hub: the page loads, but each write fails with 500: "attempt to write a readonly
    database", PermissionError: [Errno 13] Permission denied, EACCES

    Fix: Create the file and its folder as the app's user: put USER before the RUN, or use COPY --chown.

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
    # The page's forms and posts show whether a write fails; the log shows why.
    failed = failed_requests(visited, posted)
    problems += refused_writes(container.logs(), failed, already=problems)
    require_none(problems)


def test_fetched_content_is_in_reach(
    image: Image, contents: Contents, dockerfile: Dockerfile, owner: Owner, sources: Sources
) -> None:
    """If a build step, as root, fetches content into root's home, the app's user still finds it.

    Severity: breaks

    On the Hub: the Space is "Running", but each request that needs the content answers 500:
    "Executable doesn't exist at …/.cache/ms-playwright", LookupError: Resource punkt not found,
    FileNotFoundError

    Fix: Run the step as the app's user, after USER. Or move the content to a folder outside any home,
    with a variable such as PLAYWRIGHT_BROWSERS_PATH, NLTK_DATA or HF_HOME.

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
    run: Run, space: Space, dockerfile: Dockerfile, committed: Repository | None, started: Start
) -> None:
    """If the build uses files that .gitignore excludes from the push, the committed files alone build and serve too.

    Severity: breaks

    On the Hub: ModuleNotFoundError, "Cannot find module" or "no such table": this disk has a folder
    such as lib/, dist/ or data/ that .gitignore names

    Fix: Add an exception to .gitignore (`!lib/`) and commit the files, or create them in the Dockerfile.

    Source: gitignore(5); hub-docs spaces-sdks-docker.md: the image is built from the repository.
    """
    if space.ref or started.container is None or started.failure:
        not_promised(
            "the build does not use the working folder, or the Space does not serve with it"
        )
    if committed is None:
        not_promised("nothing of the folder is committed to a git repository")
    taken = ignored_in_build(dockerfile, space.folder, committed)
    ignored = [path for path in taken if may_be_needed(path)]
    if not ignored:
        not_promised("the build uses no file that .gitignore excludes from the push")
    shown = ", ".join(ignored[:4]) + (" …" if len(ignored) > 4 else "")
    expected = "a build and a start from the committed files alone"
    with tempfile.TemporaryDirectory(prefix="preflight-commit-") as scratch:
        committed.export(Path(scratch) / "tree")
        exported = replace(space, name=f"{space.name}-committed", source=Path(scratch) / "tree")
        try:
            image = build_space(run, exported)
        except BuildError as error:
            material(error.log)
            violated(
                expected=expected,
                actual=f"without {shown}, which .gitignore names, the build fails: {str(error)[:400]}",
            )
    alone = start(run, exported, image, observed=False)
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

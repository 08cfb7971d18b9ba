"""What a build reads: Variables that reach no step, folders of this machine, unmaintained base images."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dockerfile import Command  # type: ignore[import-not-found]

from preflight.model.context import context_files
from preflight.model.environment import EnvironmentDeclaration
from preflight.model.problems import Problem, Severity
from preflight.rules.dockerfile import Dockerfile, Stage, at, environment_of, script_of

# A build tool puts variables of these names into the bundle; only a rebuild changes them.
_BUNDLED = re.compile(
    r"\b(?:VITE|NEXT_PUBLIC|REACT_APP|NUXT_PUBLIC|PUBLIC|VUE_APP|GATSBY|EXPO_PUBLIC)_[A-Z0-9_]+\b"
)
_BUNDLES = re.compile(
    r"\b(npm|pnpm|yarn|bun)\s+(run\s+)?build|\b(vite|next|nuxt|astro|webpack|react-scripts|ng|gatsby|parcel)\s+build",
)
_FRONT_END = {".js", ".jsx", ".ts", ".tsx", ".mjs", ".vue", ".svelte", ".astro", ".html"}
_SET_IN_FILES = (".env", ".env.production", ".env.local", ".env.production.local")
_INSTALLED = {
    "node_modules": r"\b(npm|pnpm|yarn|bun)\s+(ci|i|install|add)\b|\byarn\s*($|&&)",
    ".venv": r"\b(pip|uv|poetry|pdm)\s+\S*(install|sync)",
}
_INSTALLED["venv"] = _INSTALLED[".venv"]
_BUILT = {"dist": _BUNDLES.pattern, "build": _BUNDLES.pattern, ".next": _BUNDLES.pattern}
_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.lock", "pylock.toml")


def argument_problems(
    dockerfile: Dockerfile, folder: Path, declaration: EnvironmentDeclaration | None
) -> Iterator[Problem]:
    """Variables that a build step reads and that its stage has no ARG for."""
    declared = (
        {variable.name: variable for variable in declaration.variables_public}
        if declaration
        else {}
    )
    before = _before_from(folder)
    for stage in dockerfile.stages:
        known: set[str] = set()
        for command in stage.chain:
            known |= {name for name, _, _ in environment_of([command], arguments=True)}
            if command.cmd != "RUN" or command not in stage.commands:
                continue
            script = script_of(command)
            for name in dict.fromkeys(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)\b(?![^}]*:-)", script)):
                set_here = re.search(
                    rf"\b(export\s+)?{name}=|\bread\b.*\b{name}\b|\bfor\s+{name}\b", script
                )
                if name not in known and not set_here and (name in declared or name in before):
                    yield _empty(name, command, "this step reads it", name in before)
            if _BUNDLES.search(script):
                yield from _bundled(stage, command, known, folder, set(declared))


def _bundled(
    stage: Stage, command: Command, known: set[str], folder: Path, declared: set[str]
) -> Iterator[Problem]:
    for name, place, has_default in front_end_variables(folder):
        if name in known:
            continue
        required = name in declared and not has_default
        problem = _empty(name, command, f"{place} reads it", False)
        severity = (
            Severity.BREAKS if required else Severity.ADVICE if has_default else Severity.RISK
        )
        yield Problem(
            problem.expected, problem.actual, problem.fix, severity=severity, **at(command)
        )


def _empty(name: str, command: Command, why: str, before_from: bool) -> Problem:
    where = (
        "is declared before FROM, where no step sees it"
        if before_from
        else "is absent in this stage"
    )
    return Problem(
        f"ARG {name} in the stage, before the step that reads it",
        f"{why}, and ARG {name} {where}: the value is empty in the build",
        f"Write ARG {name} below FROM, before this step. The Hub passes each Variable as a build "
        "argument. Only a rebuild changes the bundle.",
        severity=Severity.RISK,
        **at(command),
    )


def _before_from(folder: Path) -> set[str]:
    """Names of the ARGs before the first FROM."""
    text = (folder / "Dockerfile").read_text(encoding="utf-8", errors="replace")
    head = re.split(r"(?mi)^\s*FROM\s", text, maxsplit=1)[0]
    return set(re.findall(r"(?mi)^\s*ARG\s+(\w+)", head))


def front_end_variables(folder: Path) -> list[tuple[str, str, bool]]:
    """Variables that enter the bundle: name, place of the first use, whether each use has a fallback."""
    found: dict[str, tuple[str, bool]] = {}
    given = set()
    for name in sorted(context_files(folder)):
        path = folder / name
        if "node_modules" in path.parts or not path.is_file() or path.stat().st_size > 400_000:
            continue
        if path.name in _SET_IN_FILES:
            text = path.read_text(encoding="utf-8", errors="replace")
            given |= set(re.findall(r"(?m)^\s*([A-Z][A-Z0-9_]+)=", text))
        if path.suffix not in _FRONT_END:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for match in re.finditer(r"(?:import\.meta\.env|process\.env|env)\.(\w+)", text):
            variable = match[1]
            if not _BUNDLED.fullmatch(variable):
                continue
            rest = text[match.end() : match.end() + 12]
            fallback = bool(re.match(r"\s*(\|\||\?\?|\?)", rest))
            line = text.count("\n", 0, match.start()) + 1
            place, earlier = found.get(variable, (f"{name}:{line}", True))
            found[variable] = place, earlier and fallback
    return [
        (name, place, fallback) for name, (place, fallback) in found.items() if name not in given
    ]


def copied_over_problems(
    dockerfile: Dockerfile, folder: Path, tracked: set[str] | None
) -> Iterator[Problem]:
    """Folders of this machine that a COPY writes over the result of an earlier step.

    tracked: the committed paths; None without a repository, and then each file counts.
    """
    here = {name.split("/")[0] for name in context_files(folder) if "/" in name}
    for stage in dockerfile.stages:
        for name, pattern in {**_INSTALLED, **_BUILT}.items():
            if name not in here:
                continue
            made = False
            for command in stage.chain:
                made = made or (
                    command.cmd == "RUN" and re.search(pattern, script_of(command)) is not None
                )
                whole = command.cmd in ("COPY", "ADD") and command.value[0].rstrip("/") in (".", "")
                if not (made and whole and not any("--from" in flag for flag in command.flags)):
                    continue
                pushed = tracked is None or any(path.startswith(f"{name}/") for path in tracked)
                yield Problem(
                    f"{name} in .dockerignore, because a step of the build creates it",
                    f"COPY . overwrites the {name} that a RUN created with the {name} of this machine"
                    + (
                        ""
                        if pushed
                        else "; the Hub has no such folder, so its image differs from the one built here"
                    ),
                    f"Write {name} into .dockerignore and .gitignore.",
                    severity=Severity.RISK if pushed else Severity.ADVICE,
                    **at(command),
                )
                break


@dataclass(frozen=True)
class Support:
    """The date until which a system or a language is maintained. gone: the mirrors have removed its packages."""

    name: str
    until: datetime.date
    gone: bool


def support_of(base: str) -> list[Support]:
    """The maintenance of a base image, by its name and tag."""
    known = tomllib.loads(Path(__file__).with_name("end_of_life.toml").read_text(encoding="utf-8"))
    repository, _, tag = base.partition("@")[0].rpartition("/")[2].partition(":")
    found = []
    for suite, facts in known["debian"].items():
        if suite in tag or (
            repository == "debian" and _DEBIAN.get(suite) == tag.partition("-")[0].partition(".")[0]
        ):
            found.append(Support(f"Debian {suite}", facts["until"], facts.get("gone", False)))
    if repository in ("ubuntu", "python", "node", "centos"):
        versions = known[repository]
        version = next(
            (
                candidate
                for candidate in sorted(versions, key=len, reverse=True)
                if re.match(rf"{re.escape(candidate)}(?!\d)", tag)
            ),
            None,
        )
        if version:
            facts = versions[version]
            found.append(
                Support(
                    f"{repository.capitalize()} {version}", facts["until"], facts.get("gone", False)
                )
            )
    return found


_DEBIAN = {
    "jessie": "8",
    "stretch": "9",
    "buster": "10",
    "bullseye": "11",
    "bookworm": "12",
    "trixie": "13",
}


def ended_problems(dockerfile: Dockerfile, today: datetime.date) -> Iterator[Problem]:
    """Base images whose maintenance has ended by `today`."""
    for stage in dockerfile.stages:
        if stage.parent is not None:
            continue
        installs = any(
            re.search(r"\b(apt-get|apt|yum|dnf)\s+(-\S+\s+)*(update|install)", script_of(command))
            for command in stage.commands
            if command.cmd == "RUN"
        )
        for support in support_of(stage.base):
            if support.until >= today:
                continue
            lost = support.gone and installs
            yield Problem(
                "a base image that is maintained",
                f"FROM {stage.base}: the maintenance of {support.name} ended on {support.until}"
                + (
                    "; the mirrors have removed its packages, and apt-get update fails with 404"
                    if lost
                    else ""
                ),
                "Use a maintained base image, such as python:3.12-slim-bookworm or node:24-bookworm-slim.",
                severity=Severity.RISK if lost else Severity.ADVICE,
                file="Dockerfile",
                line=stage.line,
            )


def unpinned_problems(dockerfile: Dockerfile, folder: Path) -> Iterator[Problem]:
    """Requirements without a version, in a folder without a lock file."""
    if any((folder / lock).is_file() for lock in _LOCKS):
        return
    for stage in dockerfile.stages:
        for command in stage.commands:
            if command.cmd != "RUN":
                continue
            for name in re.findall(
                r"pip3?\s+install\b[^&;|]*?(?:-r|--requirement)[ =]?(\S+)", script_of(command)
            ):
                yield from _unpinned(folder, name.rpartition("/")[2])


def _unpinned(folder: Path, name: str) -> Iterator[Problem]:
    path = next(iter(sorted(folder.rglob(name))), None)
    if path is None or not path.is_file():
        return
    loose = []
    raw = path.read_bytes()
    # PowerShell's `pip freeze > requirements.txt` writes UTF-16, and pip reads it by its byte order mark.
    utf_16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    lines = raw.decode("utf-16" if utf_16 else "utf-8", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-") and not re.search(r"==|===|@\s*\S+|--hash", text):
            loose.append((number, text))
    if loose:
        place = path.relative_to(folder).as_posix()
        yield Problem(
            f"a version for each requirement of {place}, or a lock file",
            f"{', '.join(text for _, text in loose[:4])}{' …' if len(loose) > 4 else ''}: each build may install another release",
            "Write NAME==VERSION; `uv pip compile` or `pip freeze` lists the installed versions.",
            file=place,
            line=loose[0][0],
        )

"""A Dockerfile, read by BuildKit's own parser, and the rules that need no build."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dockerfile import Command, GoParseError, parse_string  # type: ignore[import-not-found]

from preflight.model.environment import EnvironmentDeclaration
from preflight.model.problems import Problem

INSTRUCTIONS = set(
    [
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ]
)


class DockerfileError(Exception):
    """A Dockerfile that BuildKit would refuse before the first step; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.actual)
        self.problem = problem


@dataclass
class Stage:
    """One `FROM` and what follows. `base` has the ARGs before it filled in."""

    base: str
    name: str | None
    line: int
    parent: Stage | None
    commands: list[Command] = field(default_factory=list)

    @property
    def chain(self) -> Iterator[Command]:
        """All commands whose result this stage has, its parents' first."""
        if self.parent is not None:
            yield from self.parent.chain
        yield from self.commands

    @property
    def root_base(self) -> str:
        """The external image at the start of the chain."""
        return self.base if self.parent is None else self.parent.root_base

    def last(self, instruction: str) -> Command | None:
        """The command that decides: the last of its kind in the chain."""
        return next((one for one in reversed([*self.chain]) if one.cmd == instruction), None)


@dataclass(frozen=True)
class Source:
    """A file or folder of the build context that a step takes, as written."""

    pattern: str
    line: int


@dataclass(frozen=True)
class Dockerfile:
    """The stages of a Dockerfile; the last is what runs."""

    stages: tuple[Stage, ...]

    @property
    def final(self) -> Stage:
        return self.stages[-1]

    @classmethod
    def of_folder(cls, folder: Path) -> Dockerfile:
        """Read the Dockerfile at the folder's root.

        Raises:
            FileNotFoundError: when there is none.
            DockerfileError: when BuildKit would refuse it.
        """
        text = (folder / "Dockerfile").read_bytes().decode("utf-8", "replace")
        try:
            commands = parse_string(text.removeprefix("\ufeff"))
        except GoParseError as error:
            raise DockerfileError(
                Problem("a Dockerfile that BuildKit reads", str(error))
            ) from error
        return cls(tuple(_stages(commands)))

    @cached_property
    def sources(self) -> list[Source]:
        """What COPY, ADD and bind mounts take from the build context."""
        found = []
        names = {stage.name for stage in self.stages if stage.name}
        for stage in self.stages:
            for one in stage.commands:
                found += [Source(pattern, one.start_line) for pattern in _taken(one, names)]
        return found


def shell_form_problems(file: Dockerfile) -> Iterator[Problem]:
    """CMD or ENTRYPOINT that a shell runs: the shell is PID 1 and keeps SIGTERM to itself."""
    for name in ("ENTRYPOINT", "CMD"):
        command = file.final.last(name)
        if command is None or command.json:
            continue
        text = " ".join(command.value)
        if not text.lstrip().startswith("exec "):
            yield Problem(
                f"{name} in exec form, so that the app is PID 1 and gets SIGTERM",
                f"{_at(command)}: {name} {text}",
                # Exec form expands no variable; `exec` keeps the shell from staying.
                f"Write {name} " + (f"exec {text}" if "$" in text else json.dumps(_words(text))),
            )


DEVELOPMENT_SERVERS: tuple[tuple[str, str], ...] = (
    (r"--reload\b", "`--reload` watches files and runs the app in a child"),
    (r"\bnodemon\b", "nodemon is for development"),
    (r"\bnode\b.*\s--watch\b", "`node --watch` is for development"),
    (r"\b(npm|pnpm|yarn|bun)\s+(run\s+\S+|start|dev|serve)\b", "the package manager is PID 1"),
    (r"\b(yarn|pnpm)\s+\w+\s*$", "the package manager is PID 1"),
    (r"\bflask\b.*\brun\b", "`flask run` is Flask's development server"),
    (r"\bmanage\.py\s+runserver\b", "`runserver` is Django's development server"),
    (r"\b(next|nuxt|vite|astro)\s+dev\b", "`dev` is a development server"),
    (r"\bfastapi\s+dev\b", "`fastapi dev` is for development"),
    (r"\b(ts-node-dev|tsx\s+watch)\b", "a watching runner is for development"),
    (r"--debug\b", "`--debug` is for development"),
)


def development_server_problems(file: Dockerfile) -> Iterator[Problem]:
    """A start command for development, or one that puts a package manager between init and app."""
    words: list[str] = []
    for name in ("ENTRYPOINT", "CMD"):
        command = file.final.last(name)
        words += command.value if command else ()
    text, last = " ".join(words), file.final.last("CMD") or file.final.last("ENTRYPOINT")
    for pattern, why in DEVELOPMENT_SERVERS:
        if last is not None and re.search(pattern, text):
            yield Problem(
                "a start command for production that is the app itself",
                f"{_at(last)}: {text} ({why})",
            )
            return
    for name, value, command in _environment_of(file.final.chain):
        if name in ("FLASK_DEBUG", "FLASK_ENV", "NODE_ENV", "DEBUG") and value.lower() in (
            *("1", "true", "development"),
        ):
            yield Problem("no development mode in the image", f"{_at(command)}: ENV {name}={value}")


def base_tag_problems(file: Dockerfile) -> Iterator[Problem]:
    """A base image without a tag, or `latest`: another image at each build."""
    for stage in file.stages:
        if stage.parent is not None or stage.base == "scratch" or "$" in stage.base:
            continue
        if "@" in stage.base:
            continue
        tag = stage.base.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            yield Problem(
                "a base image with a version tag or a digest",
                f"Dockerfile:{stage.line}: FROM {stage.base}",
            )


def recursive_chown_problems(file: Dockerfile) -> Iterator[Problem]:
    """A RUN that only changes owners or modes recursively: it stores every file a second time."""
    for command in file.final.chain:
        if command.cmd != "RUN":
            continue
        steps = [step for step in re.split(r"&&|;|\n", _script(command)) if step.strip()]
        if steps and all(re.match(r"\s*ch(own|mod|grp)\s+(-\w*R|--recursive)", s) for s in steps):
            yield Problem(
                "owners set where files arrive: COPY --chown=1000:1000",
                f"{_at(command)}: RUN {_script(command).strip()[:80]}",
            )


def secret_name_problems(
    file: Dockerfile, declaration: EnvironmentDeclaration
) -> Iterator[Problem]:
    """ARG or ENV named like a declared Secret, in any stage."""
    secrets = {variable.name for variable in declaration.secrets}
    for stage in file.stages:
        for name, _, command in _environment_of(stage.commands, arguments=True):
            if name in secrets:
                yield Problem(
                    f"no {command.cmd} for the Secret {name}",
                    f"{_at(command)}: {command.cmd} {name}",
                    f"At build: RUN --mount=type=secret,id={name},mode=0444 … "
                    f"$(cat /run/secrets/{name}). At run time the Hub sets it; delete the line.",
                )


def defaulted_problems(file: Dockerfile, declaration: EnvironmentDeclaration) -> Iterator[Problem]:
    """ENV that sets a required Variable: a Space that lost it would start all the same."""
    required = {v.name for v in declaration.variables_public if v.required is not False}
    for name, value, command in _environment_of(file.final.chain):
        if name in required and value:
            yield Problem(
                f"no default in the image for the required Variable {name}",
                f"{_at(command)}: ENV {name}={value}",
                f"Delete the line; enter {name} in the Space's settings.",
            )


def owned_by_1000(base: str) -> str | None:
    """The name of the user that has uid 1000 in a known base image; None when there is none."""
    repository, _, tag = base.partition("@")[0].rpartition("/")[2].partition(":")
    if repository == "node":
        return "node"
    if repository == "ubuntu":
        # Ubuntu's images have the user since 23.04. Source: bugs.launchpad.net 2005129.
        version = re.match(r"(\d+)\.(\d+)", tag)
        newer = version is not None and int(version.group(1)) >= 24
        return (
            "ubuntu" if newer or tag.startswith(("noble", "plucky", "latest")) or not tag else None
        )
    return None


_ADDS_1000 = re.compile(
    r"\b(useradd|adduser)\b(?![^&;|\n]*(?:\s-o\b|--non-unique))"
    r"[^&;|\n]*?(?:\s-[a-zA-Z]*u[ =]?|\s--uid[ =])1000\b"
)
_REMOVES = re.compile(r"\b(userdel|deluser)\b[^&;|\n]*?\b(node|ubuntu)\b|\busermod\b[^&;|\n]*-u")


def uid_taken_problems(file: Dockerfile) -> Iterator[Problem]:
    """`useradd -u 1000` on a base image where that uid has an owner already."""
    for stage in file.stages:
        owner = owned_by_1000(stage.root_base)
        freed = False
        for command in stage.chain if owner else ():
            script = _script(command) if command.cmd == "RUN" else ""
            freed = freed or bool(_REMOVES.search(script))
            if not freed and command in stage.commands and _ADDS_1000.search(script):
                yield Problem(
                    f"the user that {stage.root_base} has for uid 1000: {owner}",
                    f"{_at(command)}: RUN {script.strip()[:80]}",
                    f"Delete the step and write USER 1000; home is /home/{owner}.",
                )


def health_command_problems(file: Dockerfile) -> Iterator[Problem]:
    """HEALTHCHECK with curl or wget on a base that has none and gets none."""
    command = file.final.last("HEALTHCHECK")
    text = " ".join(command.value) if command else ""
    tool = re.search(r"\b(curl|wget)\b", text)
    if command is None or tool is None:
        return
    base = file.final.root_base
    slim = re.search(r"slim|distroless|^scratch$|^debian|^ubuntu", base)
    alpine = "alpine" in base and tool.group() == "curl"  # busybox brings wget
    installed = re.compile(rf"\b(install|add)\b[^&;|]*\b{tool.group()}\b", re.DOTALL)
    copied = any(
        one.cmd == "COPY" and tool.group() in " ".join(one.value) for one in file.final.chain
    )
    if (slim or alpine) and not copied:
        scripts = (_script(one) for one in file.final.chain if one.cmd == "RUN")
        if not any(installed.search(script) for script in scripts):
            yield Problem(
                "a HEALTHCHECK with the image's own runtime",
                f"{_at(command)}: HEALTHCHECK uses {tool.group()}, which {base} does not have",
            )


def port_problems(file: Dockerfile, app_port: int) -> Iterator[Problem]:
    """EXPOSE, or the port in HEALTHCHECK, that is not `app_port`."""
    values = {name: value for name, value, _ in _environment_of(file.final.chain, arguments=True)}

    def filled(text: str) -> str:
        return re.sub(r"\$\{?(\w+)(?::-(\w*))?\}?", lambda m: values.get(m[1]) or m[2] or "", text)

    exposed = [one for one in file.final.chain if one.cmd == "EXPOSE"]
    ports = [filled(port).partition("/")[0] for one in exposed for port in one.value]
    if exposed and all(ports) and str(app_port) not in ports:
        yield Problem(
            f"EXPOSE {app_port}, the README's `app_port`",
            f"{_at(exposed[-1])}: EXPOSE {' '.join(ports)}",
        )
    command = file.final.last("HEALTHCHECK")
    text = filled(" ".join(command.value)) if command else ""
    asked = re.search(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])\D{1,5}(\d{2,5})\b", text)
    if command is not None and asked and asked.group(1) != str(app_port):
        yield Problem(
            f"HEALTHCHECK asks port {app_port}, the README's `app_port`",
            f"{_at(command)}: it asks port {asked.group(1)}",
        )


def names_set(file: Dockerfile) -> set[str]:
    """Names of every ENV and ARG, in any stage."""
    commands = [one for stage in file.stages for one in stage.commands]
    return {name for name, _, _ in _environment_of(commands, arguments=True)}


HADOLINT_OFF = {
    "DL3006": "an untagged base is a check of its own",
    "DL3007": "`latest` is a check of its own",
    "DL3025": "shell form is a check of its own",
    "DL3008": "Debian removes old package versions, so a pinned apt package breaks the next build",
    "DL3018": "Alpine removes old package versions, so a pinned apk package breaks the next build",
    "DL3059": "steps are kept apart for the layer cache and their comments",
}
"""Hadolint's rules that are off, each with the reason."""


def hadolint(folder: Path, *, timeout_s: float = 30) -> tuple[list[Problem], list[str]]:
    """Hadolint's errors as problems and its warnings as text, for the Dockerfile in `folder`.

    Raises:
        OSError, subprocess.SubprocessError: when hadolint cannot run or does not end in time.
    """
    off = [f"--ignore={rule}" for rule in HADOLINT_OFF]
    # Hadolint 2.15 stops at this flag of Docker 25 and would judge nothing.
    text = (folder / "Dockerfile").read_text(encoding="utf-8", errors="replace")
    done = subprocess.run(
        # Beside this Python: the virtual environment need not be activated.
        [
            str(Path(sys.executable).parent / "hadolint"),
            "--no-color",
            "--format=json",
            "--no-fail",
            *off,
            "-",
        ],
        input=re.sub(r"--start-interval=\S+", "", text),
        cwd=folder,
        capture_output=True,
        timeout=timeout_s,
        check=True,
        text=True,
    )
    problems, warnings = [], []
    for one in json.loads(done.stdout):
        text = f"Dockerfile:{one['line']}: {one['code']} {one['message']}"
        if one["level"] == "error" and one["code"] != "DL1000":
            problems.append(Problem("no hadolint error", text))
        elif one["level"] in ("error", "warning"):
            warnings.append(text)
    return problems, warnings


def _stages(commands: tuple[Command, ...]) -> Iterator[Stage]:
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for one in commands:
        if one.cmd not in INSTRUCTIONS:
            _refuse(one, "a known instruction", f"unknown instruction: {one.cmd}")
        if not one.value:
            _refuse(one, f"{one.cmd} with an argument", f"{one.cmd} requires an argument")
        if one.cmd == "FROM":
            base = re.sub(
                r"\$\{?(\w+)(?::-([^}]*))?\}?",
                lambda match: arguments.get(match[1]) or match[2] or match[0],
                one.value[0],
            )
            name = one.value[2].lower() if len(one.value) == 3 else None
            parent = next((stage for stage in stages if stage.name == base.lower()), None)
            stages.append(Stage(base, name, one.start_line, parent))
        elif stages:
            stages[-1].commands.append(one)
        elif one.cmd == "ARG":
            for argument in one.value:
                key, _, value = argument.partition("=")
                arguments[key] = value.strip("\"'")
        else:
            _refuse(one, "FROM before any other step", f"{one.cmd} stands before the first FROM")
    if not stages:
        raise DockerfileError(Problem("at least one FROM", "Dockerfile: it has no FROM"))
    yield from stages


def _refuse(command: Command, expected: str, actual: str) -> None:
    raise DockerfileError(Problem(expected, f"{_at(command)}: {actual}"))


def _at(command: Command) -> str:
    return f"Dockerfile:{command.start_line}"


def _script(command: Command) -> str:
    """What a RUN does, with the text of its here-documents."""
    return "\n".join([" ".join(command.value), *(one.content for one in command.heredocs)])


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _environment_of(
    commands: Iterator[Command] | list[Command], *, arguments: bool = False
) -> Iterator[tuple[str, str, Command]]:
    """Name, value and command of each ENV (and ARG)."""
    for one in commands:
        if one.cmd == "ENV":
            for name, value in zip(one.value[::2], one.value[1::2], strict=False):
                yield name, value.strip("\"'"), one
        elif one.cmd == "ARG" and arguments:
            for argument in one.value:
                name, _, value = argument.partition("=")
                yield name, value.strip("\"'"), one


def _taken(command: Command, stages: set[str]) -> Iterator[str]:
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in command.flags)
    if command.cmd in ("COPY", "ADD") and "from" not in flags:
        for source in command.value[:-1]:
            if not source.startswith("<<") and "://" not in source and "$" not in source:
                yield source
    for flag in command.flags if command.cmd == "RUN" else ():
        name, _, value = flag.removeprefix("--").partition("=")
        options = dict(part.partition("=")[::2] for part in value.split(","))
        if name == "mount" and options.get("type", "bind") == "bind" and "from" not in options:
            source = options.get("source") or options.get("src")
            if source and "$" not in source:
                yield source

"""A Dockerfile, read by BuildKit's own parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypedDict

from dockerfile import Command, GoParseError, parse_string  # type: ignore[import-not-found]

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
    """A `FROM` with its steps. In `base`, the ARGs before it are filled in."""

    base: str
    name: str | None
    line: int
    parent: Stage | None
    commands: list[Command] = field(default_factory=list)

    @property
    def chain(self) -> Iterator[Command]:
        """All commands that made this stage, its parents' first."""
        if self.parent is not None:
            yield from self.parent.chain
        yield from self.commands

    @property
    def root_base(self) -> str:
        """The external image that the chain starts from."""
        return self.base if self.parent is None else self.parent.root_base

    def last(self, instruction: str) -> Command | None:
        """The command that takes effect: the last of its kind in the chain."""
        return next(
            (command for command in reversed([*self.chain]) if command.cmd == instruction), None
        )


@dataclass(frozen=True)
class Source:
    """A file or folder of the build context that a step takes, as written."""

    pattern: str
    line: int


@dataclass(frozen=True)
class Dockerfile:
    """The stages of a Dockerfile; the last one runs."""

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
    def built(self) -> list[Stage]:
        """The stages that the final one needs, in their order; BuildKit leaves out the others."""
        needed, found = [self.final], set()
        while needed:
            stage = needed.pop()
            if id(stage) in found:
                continue
            found.add(id(stage))
            needed += [stage.parent] if stage.parent else []
            for command in stage.commands:
                flags = dict(f.removeprefix("--").partition("=")[::2] for f in command.flags)
                taken = {flags.get("from", ""), *(m.get("from", "") for m in _mounts(command))}
                needed += [
                    other
                    for number, other in enumerate(self.stages)
                    if taken & {other.name or str(number), str(number)}
                ]
        return [stage for stage in self.stages if id(stage) in found]

    @cached_property
    def sources(self) -> list[Source]:
        """What COPY, ADD and bind mounts take from the build context."""
        found = []
        names = {stage.name for stage in self.stages if stage.name}
        for stage in self.stages:
            for command in stage.commands:
                found += [Source(pattern, command.start_line) for pattern in _taken(command, names)]
        return found


def names_set(file: Dockerfile) -> set[str]:
    """Names of every ENV and ARG, in any stage."""
    commands = [command for stage in file.stages for command in stage.commands]
    return {name for name, _, _ in environment_of(commands, arguments=True)}


def _stages(commands: tuple[Command, ...]) -> Iterator[Stage]:
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for command in commands:
        if command.cmd not in INSTRUCTIONS:
            _refuse(command, "a known instruction", f"unknown instruction: {command.cmd}")
        if not command.value:
            _refuse(
                command, f"{command.cmd} with an argument", f"{command.cmd} requires an argument"
            )
        if command.cmd == "FROM":
            base = re.sub(
                r"\$\{?(\w+)(?::-([^}]*))?\}?",
                lambda match: arguments.get(match[1]) or match[2] or match[0],
                command.value[0],
            )
            name = command.value[2].lower() if len(command.value) == 3 else None
            parent = next((stage for stage in stages if stage.name == base.lower()), None)
            stages.append(Stage(base, name, command.start_line, parent))
        elif stages:
            stages[-1].commands.append(command)
        elif command.cmd == "ARG":
            for argument in command.value:
                key, _, value = argument.partition("=")
                arguments[key] = value.strip("\"'")
        else:
            _refuse(
                command, "FROM before any other step", f"{command.cmd} comes before the first FROM"
            )
    if not stages:
        raise DockerfileError(Problem("at least one FROM", "it has no FROM", file="Dockerfile"))
    yield from stages


def _refuse(command: Command, expected: str, actual: str) -> None:
    raise DockerfileError(Problem(expected, actual, **at(command)))


class Place(TypedDict):
    file: str
    line: int


def at(command: Command) -> Place:
    return {"file": "Dockerfile", "line": command.start_line}


def script_of(command: Command) -> str:
    """What a RUN does, with the text of its here-documents."""
    return "\n".join([" ".join(command.value), *(heredoc.content for heredoc in command.heredocs)])


def optional_secrets(file: Dockerfile) -> Iterator[tuple[str, int]]:
    """Id and line of each build secret that a RUN mounts without `required`."""
    for stage in file.stages:
        for command in stage.commands:
            for options in _mounts(command):
                optional = options.get("required", "false") == "false"
                name = options.get("id") or (options.get("target") or "").rpartition("/")[2]
                if options.get("type") == "secret" and optional and name:
                    yield name, command.start_line


def environment_of(
    commands: Iterator[Command] | list[Command], *, arguments: bool = False
) -> Iterator[tuple[str, str, Command]]:
    """Name, value and command of each ENV (and ARG)."""
    for command in commands:
        if command.cmd == "ENV":
            for name, value in zip(command.value[::2], command.value[1::2], strict=False):
                yield name, value.strip("\"'"), command
        elif command.cmd == "ARG" and arguments:
            for argument in command.value:
                name, _, value = argument.partition("=")
                yield name, value.strip("\"'"), command


def _taken(command: Command, stages: set[str]) -> Iterator[str]:
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in command.flags)
    if command.cmd in ("COPY", "ADD") and "from" not in flags:
        for source in command.value[:-1]:
            if not source.startswith("<<") and "://" not in source and "$" not in source:
                yield source
    for options in _mounts(command):
        if options.get("type", "bind") == "bind" and "from" not in options:
            source = options.get("source") or options.get("src")
            if source and "$" not in source:
                yield source


def _mounts(command: Command) -> Iterator[dict[str, str]]:
    """The options of each `--mount` of a RUN."""
    for flag in command.flags if command.cmd == "RUN" else ():
        name, _, value = flag.removeprefix("--").partition("=")
        if name == "mount":
            yield dict(part.partition("=")[::2] for part in value.split(","))

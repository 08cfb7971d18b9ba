"""Packages that apt installs in a build step and that the base image's Debian release no longer has."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from preflight.model.problems import Problem
from preflight.rules.dockerfile import Dockerfile, Stage, at, script_of

# Releases, the oldest first, with their number.
_RELEASES = {"bookworm": "12", "trixie": "13"}
_INSTALL = re.compile(r"\bapt(?:-get)?\s+(?:-\S+\s+)*install\s+([^;&|\n]*)(\|\|)?")
_PACKAGE = re.compile(r"([a-z0-9][a-z0-9+.-]+)(?:[=:/]\S*)?")
# A step that may add another source of packages.
_OTHER_SOURCE = re.compile(r"sources\.list|apt-add-repository|add-apt-repository|/etc/apt/")


def removed_problems(file: Dockerfile) -> Iterator[Problem]:
    """Packages that `apt-get install` names in a stage that is built, absent from the stage's release."""
    for stage in file.built:
        release = release_of(stage.root_base)
        runs = [command for command in stage.chain if command.cmd == "RUN"]
        if release is None or any(_OTHER_SOURCE.search(script_of(run)) for run in runs):
            continue
        for run in runs:
            if run not in stage.commands:
                continue
            for name in _installed(script_of(run)):
                if name in _removed(release):
                    yield _problem(name, _removed(release)[name], stage, release, at(run)["line"])


def release_of(base: str) -> str | None:
    """The Debian release of an official image, by its name and tag; None when the tag does not tell it.

    Source: the tags of docker.com's official images debian, python and node, read 2026-11.
    """
    name, _, tag = (
        base.partition("@")[0].removeprefix("docker.io/").removeprefix("library/").partition(":")
    )
    if named := next((release for release in _RELEASES if release in tag), None):
        return named if name in ("debian", "python", "node") else None
    if re.search(r"alpine|windows|[a-z]{6,}", tag.replace("latest", "").replace("stable", "")):
        return None
    number = re.match(r"\d+(?:\.\d+)?", tag)
    version = tuple(int(part) for part in number[0].split(".")) if number else ()
    if name == "debian":
        major = str(version[0]) if version else "13"
        return next((release for release, own in _RELEASES.items() if own == major), None)
    if name == "python":
        return "trixie" if not version or version == (3,) or version >= (3, 9) else None
    if name == "node":
        return "bookworm" if version and 18 <= version[0] <= 24 else None
    return None


@cache
def _removed(release: str) -> dict[str, str]:
    """The packages that `release` no longer has, each with its successor or ""."""
    known = tomllib.loads(
        Path(__file__).with_name("removed_packages.toml").read_text(encoding="utf-8")
    )
    removed: dict[str, str] = {}
    for name in _RELEASES:
        removed |= known[name]
        if name == release:
            break
    return removed


def _installed(script: str) -> Iterator[str]:
    """The packages of each `apt-get install` whose failure ends the step."""
    for named, otherwise in _INSTALL.findall(script.replace("\\\n", " ")):
        if not otherwise:
            words = [_PACKAGE.fullmatch(word.strip("\"'")) for word in named.split()]
            yield from (word[1] for word in words if word)


def _problem(name: str, successor: str, stage: Stage, release: str, line: int) -> Problem:
    return Problem(
        f"packages that Debian {release} has",
        f"{name}: {stage.root_base} is Debian {release}, which does not have this package",
        f"Install {successor} instead."
        if successor
        else f"Leave {name} out, or use a base image with an older release, such as python:3.12-slim-bookworm.",
        file="Dockerfile",
        line=line,
    )

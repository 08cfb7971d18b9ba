"""A package that apt no longer has must be found in a Dockerfile, and nothing else in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight.rules.dockerfile import Dockerfile
from preflight.rules.packages import release_of, removed_problems

INSTALL = "RUN apt-get update && apt-get install -y \\\n    curl \\\n    {} \\\n && rm -rf /var/lib/apt/lists/*\n"
OLD = INSTALL.format("libgl1-mesa-glx")


@pytest.mark.parametrize(
    ("base", "release"),
    [
        ("python:3.10-slim", "trixie"),
        ("docker.io/library/python", "trixie"),
        ("python:3.12-slim-bookworm", "bookworm"),
        ("python:3.8-slim", None),
        ("python:3.11-alpine", None),
        ("python:3.9-slim-bullseye", None),
        ("bitnami/python:3.11", None),
        ("node:20-slim", "bookworm"),
        ("node:20@sha256:0", "bookworm"),
        ("node:16", None),
        ("debian:12-slim", "bookworm"),
        ("debian:stable-slim", "trixie"),
        ("ubuntu:24.04", None),
        ("nvidia/cuda:12.4.0-runtime-ubuntu22.04", None),
    ],
)
def test_the_release_of_a_base_image(base: str, release: str | None) -> None:
    assert release_of(base) == release


def found(text: str, folder: Path) -> list[tuple[str, int | None]]:
    """The package and the line of each problem."""
    (folder / "Dockerfile").write_text(text)
    problems = removed_problems(Dockerfile.of_folder(folder))
    return [(problem.actual.partition(":")[0], problem.line) for problem in problems]


@pytest.mark.parametrize(
    "text",
    [
        f"FROM python:3.10-slim\n{OLD}",
        "FROM python:3.10-slim\nRUN apt install libgl1-mesa-glx=22.3.6-1\n",
        f"FROM python:3.10-slim AS base\n{OLD}FROM base\n",
        f"FROM python:3.10-slim AS made\n{OLD}FROM scratch\nCOPY --from=made /usr/lib /usr/lib\n",
        f"FROM python:3.10-slim\n{OLD}FROM scratch\nRUN --mount=type=bind,from=0 true\n",
    ],
)
def test_must_find_a_package_that_the_release_lacks(text: str, tmp_path: Path) -> None:
    assert found(text, tmp_path) == [("libgl1-mesa-glx", 2)]


@pytest.mark.parametrize(
    "text",
    [
        f"FROM python:3.10-slim\n{INSTALL.format('libgl1')}",
        f"FROM python:3.10-slim-bookworm\n{OLD}",
        f"FROM python:3.10-slim AS unused\n{OLD}FROM python:3.10-slim\n",
        "FROM python:3.10-slim\nRUN apt-get install -y libgl1-mesa-glx || true\n",
        "FROM python:3.10-slim\nRUN pip install neofetch && echo apt-get install; echo neofetch\n",
        f"FROM python:3.10-slim\nRUN echo deb … >/etc/apt/sources.list.d/old.list\n{OLD}",
        f"FROM ubuntu:22.04\n{OLD}",
    ],
)
def test_must_accept_what_may_install(text: str, tmp_path: Path) -> None:
    assert found(text, tmp_path) == []

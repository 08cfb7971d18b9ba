"""The base images that a Dockerfile names, and their stand-ins for a machine without a registry."""

from __future__ import annotations

import pytest

from preflight.engine import base_images, stand_ins
from preflight.engine.base_images import (
    NoStandIn,
    described,
    ensure,
    named_in,
    syntax_in,
    without_syntax,
)
from preflight.engine.stand_ins import name_for, recipe_for


@pytest.mark.parametrize(
    ("dockerfile", "images"),
    [
        ("FROM python:3.12-slim\n", ["python:3.12-slim"]),
        ("FROM --platform=linux/amd64 node:20-alpine AS build\nFROM build\n", ["node:20-alpine"]),
        ("ARG VERSION=3.11\nFROM python:${VERSION}-slim\n", ["python:3.11-slim"]),
        ("FROM python:${VERSION:-3.10}\n", ["python:3.10"]),
        ("ARG BASE\nFROM $BASE\n", []),
        ("ARG A=debian:12\nFROM $A AS a\nFROM scratch\nCOPY --from=a / /\n", ["debian:12"]),
        ("FROM debian:12\nCOPY --from=ghcr.io/a/uv:1 /uv /bin/\n", ["debian:12", "ghcr.io/a/uv:1"]),
        ("FROM debian:12 \\\n  AS base\nFROM base\n", ["debian:12"]),
        (
            "FROM debian:12\nCOPY <<'END' a.py\nfrom os import environ\nEND\nFROM node:24\n",
            ["debian:12", "node:24"],
        ),
    ],
)
def test_the_images_of_a_dockerfile_are_named(dockerfile: str, images: list[str]) -> None:
    """An ARG before the first FROM must count with its default; stages and unknown names must not count."""
    assert named_in(dockerfile) == images


@pytest.mark.parametrize(
    ("dockerfile", "image", "without"),
    [
        ("# syntax=docker/dockerfile:1\nFROM a\n", "docker/dockerfile:1", "# \nFROM a\n"),
        ("# escape=`\n#Syntax = docker/dockerfile:1.7-labs\nFROM a\n", "docker/dockerfile:1.7-labs", "# escape=`\n# \nFROM a\n"),
        ("# a comment\n# syntax=docker/dockerfile:1\nFROM a\n", None, "# a comment\n# syntax=docker/dockerfile:1\nFROM a\n"),
        ("FROM a\n# syntax=b\n", None, "FROM a\n# syntax=b\n"),
    ],
)  # fmt: skip
def test_the_image_that_reads_a_dockerfile_is_named(
    dockerfile: str, image: str | None, without: str
) -> None:
    """Only a directive at the top of the file must count; without it, line numbers must stay."""
    assert syntax_in(dockerfile) == image
    assert without_syntax(dockerfile) == without


@pytest.mark.parametrize(
    ("image", "suite", "differs"),
    [
        ("python:3.11-slim-bookworm", "bookworm", ""),
        ("python:3.9", "bookworm", "Python 3.11 in the place of 3.9"),
        ("python:3.12-slim", "trixie", "Python 3.13 in the place of 3.12"),
        ("python:3.13.1-slim@sha256:0", "trixie", ""),
        ("docker.io/library/node:18-bullseye-slim", "bookworm", ""),
        ("node:24", "bookworm", ""),
        ("debian:bookworm-slim", "bookworm", ""),
        ("debian:13", "trixie", ""),
        ("ubuntu:22.04", "bookworm", "Debian bookworm in the place of Ubuntu"),
        ("nginx:stable", "bookworm", "Debian's nginx"),
        ("caddy", "bookworm", "Debian's Caddy 2.6"),
    ],
)
def test_a_usual_image_has_a_stand_in(image: str, suite: str, differs: str) -> None:
    """A stand-in must state its differences from the official image."""
    recipe = recipe_for(image)
    assert recipe and (recipe.suite, recipe.differs) == (suite, differs)


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11-alpine",
        "ghcr.io/acme/app:1",
        "node:16",
        "python:3.8",
        "alpine",
        "nginx:alpine",
        "caddy:2-alpine",
    ],
)
def test_an_unknown_image_must_have_no_stand_in(image: str) -> None:
    assert recipe_for(image) is None


def test_a_full_image_has_compilers_and_a_slim_one_has_none() -> None:
    """Stand-ins must have compilers as the official images do: builds of packages need them."""
    full, slim = recipe_for("python:3.11"), recipe_for("python:3.11-slim")
    assert full and slim
    assert "build-essential" in full.packages
    assert "build-essential" not in slim.packages


@pytest.mark.parametrize(
    ("image", "command"), [("caddy:2", '"caddy", "run"'), ("nginx:1", '"nginx", "-g"')]
)
def test_a_server_image_must_start_as_the_official_one(image: str, command: str) -> None:
    """A Dockerfile without CMD starts the server of its base image."""
    recipe = recipe_for(image)
    assert recipe and any(line.startswith(f"CMD [{command}") for line in recipe.config)


def test_a_stand_in_is_never_named_as_the_official_image() -> None:
    """A stand-in must not have the official name: a later build would silently use it."""
    assert name_for("python:3.11@sha256:0") == "standin/python:3.11"


def test_a_version_that_is_not_had_must_be_named() -> None:
    """A verdict reached with another version must name both versions."""
    assert described("python:3.9") == "python:3.9 (Python 3.11 in the place of 3.9)"
    assert described("python:3.11") == "python:3.11"


def test_an_unavailable_image_is_a_typed_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing stand-in must be a typed outcome: it is not the fault of the Space."""
    monkeypatch.setattr(base_images, "answers", lambda command: None)
    monkeypatch.setattr(base_images, "pull_image", lambda image, say: False)
    monkeypatch.setattr(stand_ins, "build", lambda image: None)
    with pytest.raises(NoStandIn) as error:
        ensure(["ghcr.io/acme/app:1"])
    assert "ghcr.io/acme/app:1" in error.value.message

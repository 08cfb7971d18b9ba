"""`preflight doctor`: what this machine lacks for a check, a push or a live Space, and what to do."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import click

from preflight.engine import browser, install

STATUS_PAGE = "https://status.huggingface.co/api/v2/status.json"
DISK_NEEDED = 5 * 1024**3
"""Bytes: two base images, two built ones and their layers."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. needed: a check can't run without it."""

    what: str
    found: str
    fix: str = ""
    needed: bool = False


@click.command()
def doctor() -> None:
    """Examine this machine: engine, disk, git, token, the Hub's status.

    Exit codes: 0 a check can run, 2 something that a check needs is missing.

    \b
    Example: preflight doctor
    """
    missing = False
    for finding in examine():
        mark = "ok  " if not finding.fix else "MISS" if finding.needed else "note"
        click.echo(f"{mark}  {finding.what:<10} {finding.found}")
        if finding.fix:
            click.echo(f"      {'':<10} fix: {finding.fix}")
        missing = missing or (finding.needed and bool(finding.fix))
    sys.exit(2 if missing else 0)


def examine() -> Iterator[Finding]:
    """The findings, each as soon as it is known."""
    yield from _engine()
    yield from _platform()
    yield from _disk()
    yield from _git()
    yield from _chromium()
    yield from _hub()


def _engine() -> Iterator[Finding]:
    found = install.look()
    if found is None:
        if install.refuses_this_user():
            yield Finding("engine", "it runs, but refuses this user", install.NOT_IN_GROUP, True)
        else:
            hint = "`preflight up` installs one on Debian and Ubuntu. " + install.INSTALL_HINT
            yield Finding("engine", "no Docker engine answers", hint, True)
        return
    oldest = ".".join(map(str, install.OLDEST_ENGINE))
    old = install.version_tuple(found.version) < install.OLDEST_ENGINE
    fix = f"update to {oldest} or newer" if old else ""
    memory = found.memory / 1024**3
    yield Finding("engine", f"{found.version}, {found.cpus} CPUs, {memory:.0f} GB", fix, True)
    if found.cpus < 2:
        yield Finding("CPUs", f"{found.cpus}; a Space has 2", "give the engine 2 CPUs, or expect slower starts than on the Hub")  # fmt: skip
    for plugin, name in (("compose", "Compose"), ("buildx", "Buildx")):
        version = found.plugins.get(plugin)
        fix = "" if version else f"install Docker's {plugin} plug-in"
        yield Finding(name, version or "missing", fix, True)


def _platform() -> Iterator[Finding]:
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        yield Finding("platform", "linux/amd64, as on the Hub")
        return
    yield Finding(
        "platform",
        f"{machine}; the Hub runs linux/amd64, which this machine emulates",
        "none needed: builds and starts take several times as long, and deadlines grow with them",
    )


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage("/").free
    fix = (
        "free some space: docker system df shows what the engine holds"
        if free < DISK_NEEDED
        else ""
    )
    yield Finding("disk", f"{free / 1024**3:.0f} GB free", fix)


def _git() -> Iterator[Finding]:
    version = install.answers(["git", "--version"])
    fix = "" if version else "install git"
    yield Finding("git", (version or "missing").strip().removeprefix("git version "), fix, True)
    if version:
        for name, command, why in (
            ("git-lfs", ["git", "lfs", "version"], "a push of binary files needs it"),
            ("subtree", ["git", "subtree", "-h"], "`preflight push` of a subfolder needs it"),
        ):
            there = _runs(command)
            fix = (
                ""
                if there
                else f"install {'git-lfs' if name == 'git-lfs' else 'git-subtree'}: {why}"
            )
            yield Finding(name, "installed" if there else "missing", fix)


def _chromium() -> Iterator[Finding]:
    found = browser.installed()
    fix = "" if found else "install Chromium for `check --browser`; everything else works without"
    yield Finding("browser", found or "no Chromium", fix)


def _hub() -> Iterator[Finding]:
    import requests
    from huggingface_hub import HfApi, get_token

    from preflight.cli.hub import HUB_ERRORS, said

    try:
        status = requests.get(STATUS_PAGE, timeout=5).json()["status"]["description"]
        yield Finding("Hub", f"its status page says: {status}")
    except (requests.RequestException, ValueError, KeyError):
        yield Finding("Hub", "its status page does not answer", "check the network before a push; a check needs none")  # fmt: skip
    if not get_token():
        yield Finding("token", "HF_TOKEN is not set", "read -rs HF_TOKEN && export HF_TOKEN, for push and live")  # fmt: skip
        return
    try:
        known = HfApi().whoami()
    except HUB_ERRORS as error:
        yield Finding("token", f"not accepted: {said(error)}", "make one with write access at huggingface.co/settings/tokens")  # fmt: skip
        return
    plan = (
        ""
        if known.get("isPro")
        else "creating a Docker Space needs a paid plan (HTTP 402 without one)"
    )
    yield Finding("token", f"of {known.get('name')}", plan)


def _runs(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    # `git … -h` prints the usage and exits with 129.
    return done.returncode in (0, 129)

"""Commands in the documents must exist, with each option that they name."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from preflight.cli.main import preflight

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "backend-*/README.md", "tests/README.md", "llms.txt")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
# In a code block or in backticks.
QUOTED = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.S)
PLACEHOLDERS = re.compile(r"[…()\[\]{}<>|]")


def quoted(start: str) -> Iterator[tuple[str, list[str]]]:
    """The document and the words of each quoted command that starts with this word, once."""
    found = {
        (path.relative_to(ROOT).as_posix(), line.partition(" #")[0].strip())
        for path in DOCUMENTS
        for block in QUOTED.findall(path.read_text())
        for line in "".join(block).splitlines()
        if line.strip().startswith(f"{start} ")
    }
    for document, line in sorted(found):
        if not PLACEHOLDERS.search(line):
            yield document, shlex.split(line)[1:]


@cache
def options_of_pytest() -> str:
    """What `preflight check` passes on to pytest is checked by pytest."""
    command = [sys.executable, "-m", "pytest", "--help"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout


@pytest.mark.parametrize(
    ("document", "words"),
    list(quoted("preflight")),
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_documented_command_must_exist(document: str, words: list[str]) -> None:
    """The command, its group and each option must be known."""
    command: click.Command = preflight
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words[0])
        if inner is None and command is not preflight:
            # `preflight load TARGET`
            inner = command.get_command(click.Context(command), "run")
            assert inner is not None
            command = inner
            break
        assert inner is not None, f"{document}: there is no command {words[0]}"
        command, words = inner, words[1:]
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    known |= {"--help", "--version"}
    for word in words[: words.index("--") if "--" in words else None]:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known:
            passed_on = (
                command.context_settings.get("ignore_unknown_options")
                and option in options_of_pytest()
            )
            assert passed_on, f"{document}: preflight {command.name} has no option {option}"


def test_documented_targets_must_exist() -> None:
    """Each `make TARGET` must be a target of the Makefile."""
    targets = set(re.findall(r"(?m)^([a-z][\w-]*):", (ROOT / "Makefile").read_text()))
    named = {(document, words[0]) for document, words in quoted("make") if words}
    assert len(named) > 5
    assert {
        mention
        for mention in named
        if "=" not in mention[1] and mention[1] not in targets | {".venv/ready"}
    } == set()

"""Commands in the documents must exist, with each option that they name."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from preflight.cli.main import preflight
from tests.cli.documents import DOCUMENTS, ROOT, commands, lines, printed, same, section, typed

PLACEHOLDERS = re.compile(r"[()\[\]{}<>|$]")
# Reasons, each with the commands that can't be run as they stand.
REASONS: dict[str, list[str]] = tomllib.loads(
    Path(__file__).with_name("documented.toml").read_text()
)["reason"]
NOT_RUN = {command for listed in REASONS.values() for command in listed}


@cache
def run_by_tests() -> dict[str, str]:
    """The commands that a test takes from a document by `typed` or `section`, and the test's place.

    A function of the same file that a test uses counts as a test.
    """
    found: dict[str, str] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and (
                function.name.startswith("test_")
                or function.name in used
                or any("fixture" in ast.unparse(mark) for mark in function.decorator_list)
            ):
                where = f"{path.relative_to(ROOT)}::{function.name}"
                found |= dict.fromkeys(map(same, _taken(function)), where)
    return found


def _taken(function: ast.FunctionDef) -> Iterator[str]:
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            words = [str(word.value) for word in call.args if isinstance(word, ast.Constant)]
            if call.func.id == "typed" and words:
                yield typed(words[0])
            elif call.func.id == "section" and words:
                for block in section(*words):
                    yield from lines("sh", block)


# The other commands, one for each that are equal but for the Space's name: test_typed.py runs them.
RUN_HERE = list(
    {
        same(command): command
        for command in commands()
        if command not in NOT_RUN and same(command) not in run_by_tests()
    }.values()
)


def test_a_reason_must_belong_to_a_documented_command_that_no_test_runs() -> None:
    """Each command of documented.toml must be in a document, once, and in no test."""
    listed = [command for commands_of in REASONS.values() for command in commands_of]
    assert len(listed) == len(set(listed))
    assert set(listed) - commands().keys() == set(), "no document has it any more"
    taken = {command: run_by_tests().get(same(command)) for command in listed}
    assert {command: test for command, test in taken.items() if test} == {}, "a test runs it"


def quoted(start: str) -> Iterator[tuple[str, list[str]]]:
    """The document and the words of each documented command of this program."""
    for command, documents in commands().items():
        program, _, rest = command.removeprefix(".venv/bin/").partition(" ")
        if program == start and rest and not PLACEHOLDERS.search(rest):
            for document in documents:
                yield document, shlex.split(rest)


@cache
def options_of_pytest() -> str:
    """What `preflight check` passes on to pytest is checked by pytest."""
    command = [sys.executable, "-m", "pytest", "--help"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout


def in_the_program() -> Iterator[tuple[str, list[str]]]:
    """The file and the words of each command that the program prints."""
    for file, arguments in dict.fromkeys(printed()):
        if "…" not in arguments and arguments.strip():
            yield file, arguments.split()


@pytest.mark.parametrize(
    ("document", "words"),
    [*quoted("preflight"), *in_the_program()],
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


def test_a_python_module_that_is_named_must_exist() -> None:
    """`python -m preflight.…` must start a module, in each document and text of the program."""
    texts = [*map(ROOT.joinpath, DOCUMENTS), *(ROOT / "src").rglob("*.py")]
    named = {
        module
        for path in texts
        for module in re.findall(r"python3? -m (preflight[\w.]*\w)", path.read_text())
    }
    assert named
    assert {module for module in named if find_spec(module) is None} == set()


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


def test_must_lead_to_each_page_from_the_readme() -> None:
    """Links must reach each page of docs/, since a reader starts here."""
    reached, left = set[Path](), [ROOT / "README.md", ROOT / "SECURITY.md"]
    while left:
        page = left.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)#:]+\.md)", page.read_text())
        left += [(page.parent / link).resolve() for link in links]
    pages = {ROOT / name for name in DOCUMENTS if name.startswith("docs/")}
    assert pages - reached == set()

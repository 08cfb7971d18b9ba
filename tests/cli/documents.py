"""The commands of the documents: each line of a fenced block, and inline code that is a whole command."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.spaces import OWN

ROOT = Path(__file__).resolve().parents[2]

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/**/*.md",
        *(f"{name}/README.md" for name in OWN),
        "tests/README.md",
        "llms.txt",
    )
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+)`")
SHELLS = ("sh", "bash")
# A program and an argument; `make` alone lists the targets.
COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ +)*(?:make$|(?:\.venv/bin/)?(?:preflight|pytest|locust|hf|python3?|uvx?|pipx?|make|docker"
    r"|git|gh|curl|npm|npx|node|openssl|source) )"
)
# A command in a text of the program: as code, or behind a colon.
PRINTED = re.compile(r"(?:`|: )preflight ([a-z][^`\x22\n;()]*)")
# The names that a document gives to the reader's Space; a command is the same for each.
SPACE = re.compile(r"(?<![\w-])(?:\.\./)?(?:my-space|backend-py|backend-node|DIR)(?![\w-])")


@cache
def commands() -> dict[str, list[str]]:
    """Each documented command, with the documents that name it."""
    found: dict[str, list[str]] = {}
    for document in DOCUMENTS:
        for command in dict.fromkeys(_commands_of((ROOT / document).read_text())):
            found.setdefault(command, []).append(document)
    return found


def printed() -> Iterator[tuple[str, str]]:
    """The file and the arguments of each `preflight …` that the program prints, such as a rule's fix."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        file, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())
        # A module's docstring is not printed.
        tree.body = tree.body[bool(ast.get_docstring(tree)) :]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "typed":
                yield file, _text(node.args[0])
            for arguments in PRINTED.findall(_text(node)):
                yield file, arguments


def _text(node: ast.AST) -> str:
    """A string of the code; X stands for what it computes."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "X" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def typed(command: str, names: Mapping[str, str] | None = None) -> str:
    """A documented command, as its reader types it: with the reader's names in place of the document's.

    Raises AssertionError if no document has the command.
    """
    assert command in commands(), f"no document has the command `{command}`"
    for documented, actual in (names or {}).items():
        assert documented in command, f"`{command}` has no {documented}"
        command = command.replace(documented, actual)
    return command


def section(document: str, heading: str) -> list[str]:
    """The blocks of commands below a heading of a document."""
    text = (ROOT / document).read_text()
    found = re.search(rf"^#{{2,3}} {re.escape(heading)}$(.*?)(?=^#{{2,3}} |\Z)", text, re.M | re.S)
    assert found, f"{document} has no section {heading}"
    return [block for language, block in FENCED.findall(found[1]) if language in SHELLS]


def same(command: str) -> str:
    """The command with one name for each Space, without the folder of its program."""
    one_name = SPACE.sub("DIR", command.removeprefix(".venv/bin/"))
    return one_name.replace("OWNER/DIR", "OWNER/NAME")


def lines(language: str, block: str) -> Iterator[str]:
    """The commands of a block, each on one line, without the remark beside it."""
    for line in re.sub(r" *\\\n *", " ", block).splitlines():
        text = re.split(r"\s+# |(?<=\S) {2,}", line.strip())[0]
        # A workflow lists its commands.
        text = text.removeprefix("- " if language == "yaml" else "")
        if COMMAND.match(text) or (language in SHELLS and text and not text.startswith("#")):
            yield text


def _commands_of(text: str) -> Iterator[str]:
    for language, block in FENCED.findall(text):
        if language in ("", "yaml", *SHELLS):
            yield from lines(language, block)
    for code in INLINE.findall(FENCED.sub("", text)):
        # An ellipsis stands for arguments that the document has elsewhere.
        if COMMAND.match(code) and "…" not in code:
            yield code

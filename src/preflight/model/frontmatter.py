"""The README's front matter as the Hub reads it.

Source: huggingface_hub repocard.py ("exact same regex as in the Hub server").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypedDict

import yaml

from preflight.model.problems import Problem

DEFAULT_APP_PORT = 7860
LARGEST_FRONT_MATTER = 65536
"""Bytes that this harness reads. The Hub's own limit is not documented."""

# In JavaScript `\s` includes the byte order mark, in Python it does not: the Hub's server would
# see a block behind one and its Python client would not.
HUB_PATTERN = re.compile(r"(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")


README = "README.md"


class Place(TypedDict):
    """File and line of a problem."""

    file: str
    line: int


class FrontMatterError(Exception):
    """The front matter is not recognised or not readable; holds the problem to report."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.actual)
        self.problem = problem


@dataclass(frozen=True)
class FrontMatter:
    """A front matter that the Hub recognises: its values, and the line of README.md of each key."""

    values: dict[str, Any]
    lines: dict[str, int]
    duplicates: tuple[tuple[str, int, int], ...]
    """Keys that occur twice: name, first line, second line."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` when the key is absent."""
        return self.values.get(key, default)

    def at(self, key: str) -> Place:
        """The file and line of `key`, as arguments of `Problem`."""
        return {"file": README, "line": self.lines[key]}

    @classmethod
    def of_readme(cls, readme: bytes) -> FrontMatter:
        """Recognise and parse the block.

        Raises:
            FrontMatterError: with the problem, when the block is absent or is not a mapping.
        """
        text = text_of(readme)
        match = HUB_PATTERN.match(text)
        if match is None:
            raise FrontMatterError(_why_not_recognised(text))
        block = match.group(2)
        if len(block) > LARGEST_FRONT_MATTER:
            raise FrontMatterError(
                Problem(
                    f"a front matter of at most {LARGEST_FRONT_MATTER} bytes",
                    f"README.md's front matter has {len(block)}",
                    "Move the text below the closing `---`; only configuration belongs above it.",
                )
            )
        first_line = match.group(1).count("\n") + 1
        loader = _Yaml12Loader(block)
        try:
            node = loader.get_single_node()
            values = loader.construct_document(node) if node is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = first_line + (mark.line if mark else 0)
            raise FrontMatterError(
                Problem(
                    "YAML that can be read between the two `---` lines of README.md",
                    str(error.problem),
                    "Quote a value that has a `:` or `#` in it; indent with spaces, not tabs.",
                    file=README,
                    line=line,
                )
            ) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise FrontMatterError(
                Problem("YAML that can be read in README.md's front matter", str(error))
            ) from error
        finally:
            loader.dispose()
        if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
            kind = "nothing" if values is None else f"a {type(values).__name__}"
            raise FrontMatterError(
                Problem(
                    "`key: value` lines in README.md's front matter",
                    f"it holds {kind}",
                    file=README,
                    line=first_line,
                )
            )
        lines: dict[str, int] = {}
        duplicates = []
        for key_node, _ in node.value:
            key, line = str(key_node.value), first_line + key_node.start_mark.line
            if key in lines:
                duplicates.append((key, lines[key], line))
            lines.setdefault(key, line)
        return cls({str(key): value for key, value in values.items()}, lines, tuple(duplicates))


def means_a_space(readme: bytes) -> bool:
    """Whether a README is meant to be a Space's, also when its front matter is broken.

    A valid block means a Space when it has a key that only Spaces have. An invalid block means a
    Space when the file opens like a block, or names an `sdk` near its top.
    """
    try:
        return not _ONLY_SPACES.isdisjoint(FrontMatter.of_readme(readme).values)
    except FrontMatterError:
        head = [line.strip() for line in text_of(readme)[:4096].lstrip("\ufeff").splitlines()]
        opening = next((line for line in head if line), "")
        return opening.startswith("---") or any(
            re.match(r"(sdk|app_port|colorFrom|colorTo)\s*:", line) for line in head[:40]
        )


_ONLY_SPACES = {"sdk", "app_port", "colorFrom", "colorTo", "short_description", "emoji"}


def text_of(readme: bytes) -> str:
    # Not `str.splitlines` later on: a lone CR counts as the Hub's pattern counts it.
    return readme.decode("utf-8", "replace").removeprefix("\ufeff")


def _why_not_recognised(text: str) -> Problem:
    expected = "a block of YAML between two `---` lines at the top of README.md"
    if not text.strip():
        return Problem(expected, "README.md is absent or empty", file=README)
    start = len(text) - len(text.lstrip())
    lines = re.split(r"\r\n|\r|\n", text[: start + LARGEST_FRONT_MATTER])
    first = len(re.split(r"\r\n|\r|\n", text[:start])) - 1
    opening = lines[first].rstrip()
    at: Place = {"file": README, "line": first + 1}
    if opening == "---":
        if any(line.startswith("---") for line in lines[first + 1 :]):
            return Problem(
                expected,
                "the block opens, and no later line is `---` alone",
                "Write the closing `---` on a line of its own, with a line break after it.",
                **at,
            )
        return Problem(expected, "the block opens and is never closed", **at)
    if opening.lstrip().startswith("---"):
        return Problem(
            expected,
            f"the first line is {opening!r}",
            "The opening line is exactly three hyphens; nothing may follow them.",
            **at,
        )
    later = next((n for n, line in enumerate(lines) if line.rstrip() == "---"), None)
    if later is not None:
        return Problem(
            expected,
            f"text stands before the `---` of line {later + 1}",
            "Move the block to the very top of README.md.",
            **at,
        )
    return Problem(expected, "it starts with text and has no block", **at)


class _Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2, as the Hub's JavaScript reads it: `yes` and `on` are strings, `1:30` is too."""


_Yaml12Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Yaml12Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )

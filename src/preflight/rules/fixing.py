"""Fixes front matter where only one reading is possible, and leaves matters of taste.

`fixed` edits the lines of the block: comments, order and the text below it stay as they are. An
ambiguous value (a colour that the Hub does not know, a description that is too long) stays too;
its check reports it.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

import emoji

from preflight.model.frontmatter import (
    DEFAULT_APP_PORT,
    HUB_PATTERN,
    FrontMatter,
    FrontMatterError,
)
from preflight.model.frontmatter_keys import KEYS, KINDS
from preflight.rules.metadata import LOWEST_APP_PORT

_KEY_LINE = re.compile(r"(?P<key>[A-Za-z_][\w -]*?)(?P<gap>[ \t]*:[ \t]*)(?P<value>.*)")
_BOOLEANS = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}  # fmt: skip
_SPELLINGS = {"grey": "gray"}


def fix_folder(folder: Path) -> str:
    """Fix README.md of a Space folder; returns the difference as a unified diff, empty for none."""
    before, after = _before_and_after(folder)
    if after == before:
        return ""
    (folder / "README.md").write_bytes(after)
    return _difference(before, after, f"{folder.name}/README.md")


def can_be_fixed(folder: Path) -> bool:
    """Whether `fix_folder` would change anything."""
    before, after = _before_and_after(folder)
    return before != after


def _before_and_after(folder: Path) -> tuple[bytes, bytes]:
    readme, dockerfile = folder / "README.md", folder / "Dockerfile"
    if not readme.is_file():
        return b"", b""
    before = readme.read_bytes()
    text = dockerfile.read_text("utf-8", "replace") if dockerfile.is_file() else None
    return before, fixed(before, text)


def fixed(readme: bytes, dockerfile: str | None) -> bytes:
    """README.md with its front matter fixed.

    dockerfile: the text of the Dockerfile beside it, the source of `sdk` and `app_port`; None without
    a Dockerfile. Returns `readme` itself if there is nothing to fix, or if the Hub could not read
    the result either.
    """
    try:
        text = readme.decode("utf-8")
    except UnicodeDecodeError:
        return readme
    text = text.removeprefix("\ufeff").lstrip()
    head = re.match(r"---[ \t]*(\r\n|\r|\n)", text)
    if head is None:
        return readme
    if "\r" in text:
        text = re.sub(r"\r\n?", "\n", text)
    text = re.sub(r"\A---[ \t]*\n", "---\n", text)
    found = HUB_PATTERN.match(text)
    if found is None:
        return readme
    lines = _fixed_lines(found.group(2).split("\n"))
    lines = _without_doubles(lines) + _missing(lines, dockerfile)
    result = (found.group(1) + "\n".join(lines) + found.group(3) + text[found.end() :]).encode()
    # The Hub reads lines that end with CRLF too.
    same = result == readme.replace(b"\r\n", b"\n")
    return result if not same and _is_better(readme, result) else readme


def _fixed_lines(lines: list[str]) -> list[str]:
    """Each line by itself; those of a nested value keep all but their tabs."""
    result: list[str] = []
    for line in lines:
        indent = re.match(r"[ \t]*", line)
        assert indent is not None
        line = indent.group().replace("\t", "  ") + line[indent.end() :]
        entry = _KEY_LINE.fullmatch(line)
        result.append(line if entry is None or line[:1].isspace() else _fixed_entry(entry, lines))
    return result


def _fixed_entry(entry: re.Match[str], lines: list[str]) -> str:
    key, gap, value = entry["key"], entry["gap"], entry["value"]
    if key not in KEYS:
        known = [name for name in KEYS if _bare(name) == _bare(key)]
        taken = any(re.match(rf"{re.escape(name)}\s*:", line) for name in known for line in lines)
        if not known or taken:
            # The value is not ours to judge; a tab after the colon is invalid for every key.
            return f"{key}{gap.replace(chr(9), ' ')}{value}"
        key = known[0]
    if not value:
        return f"{key}:"
    value, comment = _apart(value)
    return f"{key}: {_fixed_value(key, value)}{comment}"


def _fixed_value(key: str, written: str) -> str:
    """The corrected value; the value itself if more than one correction is possible."""
    rule = KEYS[key]
    try:
        value: Any = FrontMatter.of_readme(f"---\nvalue: {written}\n---\n".encode()).get("value")
    except FrontMatterError:
        # YAML reads `title: A: B` as a mapping within a line.
        if rule.kind != "string" or written[:1] in "\"'[{&*!|>%@`":
            return written
        value = written
    if rule.kind == "integer" and isinstance(value, str) and value.strip().isdigit():
        return value.strip()
    if rule.kind == "boolean" and isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower(), written)
    if rule.kind == "string" and isinstance(value, int | float) and not rule.allowed:
        return f'"{written}"'
    if not isinstance(value, str):
        return written
    if key == "sdk":
        return next(iter(difflib.get_close_matches(_bare(value), ["docker"], 1, 0.7)), written)
    if rule.allowed and value not in rule.allowed:
        simple = re.sub(r"[ _]+", "-", value.strip().lower())
        simple = _SPELLINGS.get(simple, simple)
        return simple if simple in rule.allowed else written
    if key == "emoji" and not emoji.purely_emoji(value):
        drawn = emoji.emojize(value.strip(), language="alias")
        return drawn if emoji.is_emoji(drawn) else written
    if key == "base_path" and not value.startswith("/"):
        return f"/{value}" if "://" not in value else written
    if rule.kind == "string" and value == written and ": " in written:
        return json.dumps(written, ensure_ascii=False)
    return written


def _without_doubles(lines: list[str]) -> list[str]:
    """The lines without word-for-word repetitions."""
    kept: list[str] = []
    for line in lines:
        if line in kept and _KEY_LINE.fullmatch(line) and not line.endswith(":"):
            continue
        kept.append(line)
    return kept


def _missing(lines: list[str], dockerfile: str | None) -> list[str]:
    """Lines from the Dockerfile: `sdk: docker`, and a port other than the Hub's default."""
    if dockerfile is None:
        return []
    keys = {entry["key"] for line in lines if (entry := _KEY_LINE.fullmatch(line))}
    added = [] if "sdk" in keys else ["sdk: docker"]
    ports = {int(port) for port in re.findall(r"(?im)^\s*EXPOSE\s+(\d+)(?:/tcp)?\s*$", dockerfile)}
    if len(ports) == 1 and "app_port" not in keys:
        port = ports.pop()
        added += [f"app_port: {port}"] if LOWEST_APP_PORT <= port != DEFAULT_APP_PORT else []
    return added


def _is_better(before: bytes, after: bytes) -> bool:
    """Whether the Hub reads the result, with every key that it read before."""
    try:
        new = FrontMatter.of_readme(after)
    except FrontMatterError:
        return False
    try:
        old = FrontMatter.of_readme(before)
    except FrontMatterError:
        return True
    names = {_bare(name) for name in new.values}
    return all(_bare(name) in names for name in old.values) and all(
        name not in KEYS or value is None or KINDS[KEYS[name].kind](value)
        for name, value in new.values.items()
        if value != old.values.get(name)
    )


def _apart(value: str) -> tuple[str, str]:
    """A value and the comment behind it."""
    quoted = re.match(r"""("(?:\\.|[^"\\])*"|'(?:''|[^'])*')(\s+#.*|\s*)$""", value)
    if quoted:
        return quoted[1], quoted[2].rstrip()
    plain = re.match(r"(.*?)(\s+#.*|\s*)$", value)
    return (plain[1], plain[2].rstrip()) if plain else (value, "")


def _bare(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _difference(before: bytes, after: bytes, name: str) -> str:
    """A unified diff that makes carriage returns, tabs and byte order marks visible."""

    def shown(content: bytes) -> list[str]:
        text = content.decode("utf-8")
        for mark, word in {"\ufeff": "<BOM>", "\r": "<CR>", "\t": "<TAB>"}.items():
            text = text.replace(mark, word)
        return text.splitlines()

    return "\n".join(difflib.unified_diff(shown(before), shown(after), name, name, lineterm=""))

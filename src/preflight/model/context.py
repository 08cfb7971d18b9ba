"""The build context: the files that `docker build` sends, by the rules of `.dockerignore`.

Source: docs.docker.com/build/concepts/context, "dockerignore files".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


def context_files(folder: Path) -> Iterator[str]:
    """Paths of the files that `docker build` would send."""
    ignore = _Ignore.of_folder(folder)
    for top, folders, files in os.walk(folder):
        relative = Path(top).relative_to(folder)
        folders[:] = [child for child in folders if relative != Path() or child != ".git"]
        for name in [*files, *(child for child in folders if (Path(top) / child).is_symlink())]:
            path = (relative / name).as_posix()
            if path != ".git" and not ignore.excludes(path):
                yield path


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A pattern as Docker matches it: from the root, `*` within a name, `**` across; a folder's
    pattern matches all that is in it."""
    parts = []
    for part in re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", glob.removeprefix("./")):
        if part.startswith("**"):
            parts.append("(?:.*/)?" if part.endswith("/") else ".*")
        elif part == "*":
            parts.append("[^/]*")
        elif part == "?":
            parts.append("[^/]")
        elif part.startswith("[") and part.endswith("]"):
            parts.append(part.replace("[!", "[^"))
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts) + r"(?:/.*)?$")


@dataclass
class _Ignore:
    """`.dockerignore`: patterns from the context's root; the last match decides."""

    rules: list[tuple[bool, re.Pattern[str]]] = field(default_factory=list)

    @classmethod
    def of_folder(cls, folder: Path) -> _Ignore:
        # BuildKit prefers `Dockerfile.dockerignore` over `.dockerignore`.
        for name in ("Dockerfile.dockerignore", ".dockerignore"):
            if (folder / name).is_file():
                lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
                rules = [line.strip() for line in lines]
                return cls([_ignore_rule(rule) for rule in rules if rule and rule[0] != "#"])
        return cls()

    def excludes(self, path: str) -> bool:
        excluded = False
        for keeps, pattern in self.rules:
            if pattern.match(path):
                excluded = not keeps
        return excluded


def _ignore_rule(rule: str) -> tuple[bool, re.Pattern[str]]:
    return rule.startswith("!"), glob_pattern(rule.removeprefix("!").strip().strip("/") or ".")

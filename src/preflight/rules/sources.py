"""The Space's own source files: which of them run in the container, and which only in the build."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from preflight.model.context import context_files
from preflight.rules.dockerfile import Dockerfile, script_of

KINDS = {
    ".py",
    ".js",
    ".mjs",
    ".cjs",
    ".ts",
    ".mts",
    ".tsx",
    ".jsx",
    ".rb",
    ".php",
    ".go",
    ".rs",
    ".java",
    ".sh",
}
_NOT_OWN = {
    "node_modules",
    ".venv",
    "venv",
    "site-packages",
    "vendor",
    "dist",
    ".git",
    "test",
    "tests",
}
LARGEST = 400_000
MOST = 400


@dataclass(frozen=True)
class Sources:
    """Text by path below the Space's folder, as the build takes it."""

    files: dict[str, str]
    build_only: frozenset[str]

    @classmethod
    def of_folder(cls, folder: Path, dockerfile: Dockerfile) -> Sources:
        """Read the Space's own code, a few hundred files at most."""
        files: dict[str, str] = {}
        for name in sorted(context_files(folder)):
            path = PurePosixPath(name)
            if path.suffix not in KINDS or _NOT_OWN & set(path.parts) or len(files) >= MOST:
                continue
            if (folder / name).is_file() and (folder / name).stat().st_size <= LARGEST:
                files[name] = (folder / name).read_text(encoding="utf-8", errors="replace")
        return cls(files, frozenset(_build_only(files, dockerfile)))

    @cached_property
    def running(self) -> dict[str, str]:
        """The files that may run in the container."""
        return {name: text for name, text in self.files.items() if name not in self.build_only}


def _build_only(files: dict[str, str], dockerfile: Dockerfile) -> set[str]:
    """Files that only a RUN names: neither the start command nor another file names them."""
    steps = " ".join(
        script_of(command)
        for stage in dockerfile.stages
        for command in stage.commands
        if command.cmd == "RUN"
    )
    last = [dockerfile.final.last(name) for name in ("ENTRYPOINT", "CMD")]
    start = " ".join(" ".join(command.value) for command in last if command)
    found = set()
    for name in files:
        path = PurePosixPath(name)
        word = re.compile(rf"(?<![\w-]){re.escape(path.stem)}(?![\w-])")
        if not re.search(
            rf"(?<![\w-]){re.escape(path.name)}|-m\s+\S*\b{re.escape(path.stem)}\b", steps
        ):
            continue
        others = [text for other, text in files.items() if other != name]
        imported = re.compile(
            rf"(import|require|from|include|source|use)\b[^\n]*(?<![\w-]){re.escape(path.stem)}(?![\w-])"
        )
        if not word.search(start) and not any(imported.search(text) for text in others):
            found.add(name)
    return found

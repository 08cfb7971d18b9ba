"""Broken Spaces: a sound one of `spaces/` with one change each, and the check that must see it.

That check has to find it, at its own severity or the one named, and no other. `edit` replaces text,
`files` writes files (None deletes one, a path is a symbolic link's target); both are committed.
`earlier` is committed first and
deleted again, so that it is in the history alone. `uncommitted` is written after the commit. `git`
are git commands run at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from preflight.model.problems import Severity

Edits = dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Broken:
    """One broken Space. `needs` is what it takes to see the fault: its folder, or its container."""

    id: str
    check: str
    severity: Severity | None = None
    """None for the check's own."""
    edit: Edits = field(default_factory=dict)
    files: Mapping[str, str | bytes | PurePath | None] = field(default_factory=dict)
    earlier: dict[str, str | bytes] = field(default_factory=dict)
    uncommitted: dict[str, str | bytes] = field(default_factory=dict)
    git: tuple[tuple[str, ...], ...] = ()
    base: str = "sound"
    folder: str | None = None
    """The folder's name; None for the id."""
    needs: str = "folder"
    hub: tuple[str, ...] = ()
    """Settings of the rehearsal for this Space, as in `--hub NAME=VALUE`."""
    sample: bool = False
    """Run always; the others with --selftest=all."""


def readme(old: str, new: str) -> Edits:
    return {"README.md": [(old, new)]}


def dockerfile(old: str, new: str) -> Edits:
    return {"Dockerfile": [(old, new)]}


def declared(old: str, new: str) -> Edits:
    return {".env.example": [(old, new)]}


def database(binding: str) -> Edits:
    """One more variable, declared as `binding`, read by the code."""
    return {
        **declared("# Origins", f"# Where signers are kept.\n# @optional\n{binding}\n\n# Origins"),
        "app.py": [("PORT = 7860", 'PORT = 7860\nDATABASE = os.environ.get("DATABASE_URL")')],
    }


CMD = 'CMD ["python", "app.py"]'
# Put together here, so that nobody who scans this repository takes it for a key.
TOKEN = "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNm12345678"
# The head of a PNG: a file of a kind that has a NUL near its beginning.
IMAGE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256))
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {{size}}\n"

SOUND = (
    *("sound", "fastapi", "flask_gunicorn", "express", "static_files", "static_binary"),
    "promises_nothing",
)

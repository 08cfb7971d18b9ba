"""Broken Spaces: each is a sound Space of `spaces/` with a single change, and the check that must find it.

Only that check may find the change, at its own severity or at the named severity; the checks in
`also` advise about a consequence. `edit` replaces
text. `files` writes files: None deletes a file, a path is a symbolic link's target. Both are
committed. `earlier` is committed first and deleted again, so it is in the history alone.
`uncommitted` is written after the commit. `git` lists git commands that run at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from preflight.model.problems import Severity

Edits = dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Broken:
    """One broken Space. `needs` is the target that shows the fault: the folder or the container."""

    id: str
    check: str
    severity: Severity | None = None
    """None for the check's own severity."""
    also: tuple[str, ...] = ()
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
    """Always run; the others run with --selftest=all."""


def readme(old: str, new: str) -> Edits:
    return {"README.md": [(old, new)]}


def dockerfile(old: str, new: str) -> Edits:
    return {"Dockerfile": [(old, new)]}


def declared(old: str, new: str) -> Edits:
    return {".env.example": [(old, new)]}


def database(binding: str) -> Edits:
    """Another variable, declared as `binding`, read by the code."""
    return {
        **declared("# Origins", f"# Where signers are kept.\n# @optional\n{binding}\n\n# Origins"),
        "app.py": [("PORT = 7860", 'PORT = 7860\nDATABASE = os.environ.get("DATABASE_URL")')],
    }


CMD = 'CMD ["python", "app.py"]'
# Joined here, so that a scanner does not take it for a key.
TOKEN = "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNm12345678"
# The head of a PNG: a file type with a NUL near its start.
IMAGE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256))
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {{size}}\n"

SOUND = (
    *("sound", "fastapi", "flask_gunicorn", "express", "static_files", "static_binary"),
    "promises_nothing",
)

"""The Spaces that tests change: those of the selftest, and the template of `preflight new`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "src" / "preflight" / "templates" / "python"


def folder_of(name: str) -> Path:
    """The folder of the Space `name`; `sound` is the template."""
    return TEMPLATE if name == "sound" else ROOT / "tests" / "selftest" / "spaces" / name

"""The vocabulary of a verdict: a check holds, is violated, warns, or does not apply.

A contract check is a pytest test whose docstring has three parts:

    The front matter says `sdk: docker`.

    On the Hub: Configuration error: Missing configuration in README

    Fix: Put `sdk: docker` into the front matter of README.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from preflight.model.problems import Problem


class Violation(AssertionError):
    """A rule does not hold. Carries what was expected, what was found, and a particular fix.

    `symptom`: what the Hub shows in this very case, where the rule's own symptom is one of several.
    """

    def __init__(
        self, expected: str, actual: str, fix: str | None = None, symptom: str | None = None
    ) -> None:
        super().__init__(f"expected {expected}; found {actual}")
        self.expected = expected
        self.actual = actual
        self.fix = fix
        self.symptom = symptom


def violated(
    *, expected: str, actual: str, fix: str | None = None, symptom: str | None = None
) -> NoReturn:
    """End the check: its rule does not hold.

    Raises:
        Violation: always.
    """
    raise Violation(expected, actual, fix, symptom)


def violated_if(promised: bool, *, expected: str, actual: str, fix: str | None = None) -> None:
    """A violation where the Space promises the rule; else a warning, as the Hub would not mind.

    Raises:
        Violation: when promised.
    """
    if promised:
        violated(expected=expected, actual=actual, fix=fix)
    warn(f"expected {expected}; found {actual}")


def require_none(problems: Iterable[Problem]) -> None:
    """Hold when there are no problems; otherwise one violation that names all of them.

    Raises:
        Violation: when there is a problem.
    """
    found = list(problems)
    if not found:
        return

    def joined(parts: Iterable[str]) -> str:
        return "\n".join(dict.fromkeys(parts))

    fixes = joined(problem.fix for problem in found if problem.fix)
    violated(
        expected=joined(problem.expected for problem in found),
        actual=joined(problem.actual for problem in found),
        fix=fixes or None,
    )


def warn(message: str) -> None:
    """Note something a user should know that would not break the Space on the Hub."""
    current.warnings.append(message)


def material(path: Path) -> None:
    """Name a folder or file with the full material (build output, logs) behind this check."""
    current.material.append(str(path))


def show(what: str, *rows: dict[str, Any]) -> None:
    """Give the run's page rows to draw; `page.Card` tells what it makes of `what`. Plain data only."""
    current.shown.setdefault(what, []).extend(rows)


def not_promised(what: str) -> NoReturn:
    """End the check: the Space does not promise what it asks for. A named skip, never a pass."""
    # Imported here: git's hook judges by these problems at every push, and has no use for pytest.
    import pytest

    pytest.skip(f"not promised: {what}")


@dataclass
class Notes:
    """What the running check has said besides its verdict; `report` empties it for each check."""

    warnings: list[str] = field(default_factory=list)
    material: list[str] = field(default_factory=list)
    shown: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


current = Notes()


@dataclass(frozen=True)
class Rule:
    """A contract check's docstring: the rule, what breaking it looks like on the Hub, the fix."""

    sentence: str
    symptom: str
    fix: str

    @classmethod
    def of_docstring(cls, docstring: str | None) -> Rule:
        """Read the three parts.

        Raises:
            ValueError: naming the part that is missing.
        """
        parts: dict[str, str] = {}
        for paragraph in re.split(r"\n\s*\n", docstring or ""):
            text = " ".join(paragraph.split())
            label = next((one for one in ("On the Hub:", "Fix:") if text.startswith(one)), "")
            parts.setdefault(label, text.removeprefix(label).strip())
        for label, meaning in (
            ("", "a first sentence that states the rule"),
            ("On the Hub:", "a paragraph `On the Hub:` with what a user would see there"),
            ("Fix:", "a paragraph `Fix:` with what to change"),
        ):
            if not parts.get(label):
                raise ValueError(f"its docstring needs {meaning}")
        return cls(parts[""], parts["On the Hub:"], parts["Fix:"])

"""The vocabulary of a verdict: a check holds, has findings, or does not apply.

A contract check is a pytest test whose docstring has these paragraphs:

    The front matter says `sdk: docker`.

    Severity: breaks

    On the Hub: Configuration error: Missing configuration in README

    Fix: Put `sdk: docker` into the front matter of README.md.

    Source: hub-docs spaces-config-reference.md

`Severity: risk; advice without conventions` gives a second severity for Spaces whose
`preflight.toml` does not say `conventions = true`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from preflight.model.problems import Problem, Severity


class Violation(AssertionError):
    """Ends a check: its rule does not hold. Carries one problem for each finding."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(
            "; ".join(
                f"expected {problem.expected}; found {problem.actual}" for problem in problems
            )
        )
        self.problems = problems


def violated(
    *,
    expected: str,
    actual: str,
    fix: str | None = None,
    on_the_hub: str | None = None,
    severity: Severity | None = None,
) -> NoReturn:
    """End the check with one finding; the arguments are `Problem`'s.

    Raises:
        Violation: always.
    """
    raise Violation(Problem(expected, actual, fix, on_the_hub, severity))


def require_none(problems: Iterable[Problem]) -> None:
    """Hold when there are no problems; otherwise end the check with a finding for each.

    Raises:
        Violation: when there is a problem.
    """
    if found := tuple(dict.fromkeys(problems)):
        raise Violation(*found)


def report(*problems: Problem) -> None:
    """Add a finding for each problem, and continue."""
    current.problems += problems


def advise(expected: str, actual: str, fix: str | None = None) -> None:
    """Add a finding of severity `advice`, and continue."""
    report(Problem(expected, actual, fix, severity=Severity.ADVICE))


def material(path: Path) -> None:
    """Attach the path of an artifact (build output, logs) to this check's finding."""
    current.material.append(str(path))


def show(what: str, *rows: dict[str, Any]) -> None:
    """Add rows to the run's page; `page.Card` draws them by their kind, `what`. Plain data only."""
    current.shown.setdefault(what, []).extend(rows)


def not_promised(what: str) -> NoReturn:
    """Skip the check with a reason, never pass it: the Space does not promise what the rule requires."""
    # Imported here: git's hook uses these problems at every push, and does not need pytest.
    import pytest

    pytest.skip(f"not promised: {what}")


@dataclass
class Notes:
    """What the running check reports besides its verdict. The report empties it before each check."""

    problems: list[Problem] = field(default_factory=list)
    material: list[str] = field(default_factory=list)
    shown: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


current = Notes()


UNDECLARED = (
    "there is no `.env.example` with Variables and Secrets, which `preflight init DIR` drafts"
)
"""Why a check of the declaration does not apply: one reason for all, so that they are counted together."""
LABELS = ("Severity:", "On the Hub:", "Fix:", "Source:", "Since:")
FIRST_VERSION = "0.2.0"


@dataclass(frozen=True)
class Rule:
    """A contract check's docstring: the rule, its severity, the symptom on the Hub, the fix and the
    source."""

    sentence: str
    severity: Severity
    without_conventions: Severity
    on_the_hub: str
    fix: str
    source: str
    since: str

    def severity_for(self, conventions: bool) -> Severity:
        """The severity for a Space that keeps the conventions, or does not."""
        return self.severity if conventions else self.without_conventions

    @classmethod
    def of_docstring(cls, docstring: str | None) -> Rule:
        """Read the paragraphs.

        Raises:
            ValueError: naming the paragraph that is missing or invalid.
        """
        parts: dict[str, str] = {}
        for paragraph in re.split(r"\n\s*\n", docstring or ""):
            text = " ".join(paragraph.split())
            label = next((known for known in LABELS if text.startswith(known)), "")
            parts.setdefault(label, text.removeprefix(label).strip())
        for label, meaning in (
            ("", "a first sentence that states the rule"),
            ("Severity:", f"a paragraph `Severity:` with one of {', '.join(Severity)}"),
            ("On the Hub:", "a paragraph `On the Hub:` with what a user sees there"),
            ("Fix:", "a paragraph `Fix:` with what to change"),
            ("Source:", "a paragraph `Source:` with the source of the consequence"),
        ):
            if not parts.get(label):
                raise ValueError(f"its docstring needs {meaning}")
        severities = re.fullmatch(r"(\w+)(?:; (\w+) without conventions)?", parts["Severity:"])
        named = [group for group in severities.groups() if group] if severities else []
        if not named or not set(named) <= set(Severity):
            raise ValueError(
                f"its docstring says `Severity: {parts['Severity:']}`; write one of "
                f"{', '.join(Severity)}, or `risk; advice without conventions`"
            )
        return cls(
            parts[""],
            Severity(named[0]),
            Severity(named[-1]),
            parts["On the Hub:"],
            parts["Fix:"],
            parts["Source:"],
            parts.get("Since:", FIRST_VERSION),
        )

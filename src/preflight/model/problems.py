"""The result of a rule for each fault that it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The effect of a finding on the Hub, the worst first."""

    BREAKS = "breaks"
    """The Hub does not accept, build or start the Space, or it does not answer."""
    RISK = "risk"
    """It runs, but leaks, loses data, or fails for some visitors."""
    ADVICE = "advice"
    """It runs, and would be better otherwise."""

    def reaches(self, threshold: Severity) -> bool:
        """Whether this is as bad as `threshold`, or worse."""
        order = list(Severity)
        return order.index(self) <= order.index(threshold)


class CannotJudge(Exception):
    """A check can't judge, for a reason outside the Space; the message is the reason."""


@dataclass(frozen=True)
class Problem:
    """One fault, as the pure rules of this library return it.

    `fix` and `on_the_hub` are specific to this case; None for the rule's texts. `severity`: None
    for the rule's severity. `file`: relative to the Space's folder. `line`: counted from 1.
    """

    expected: str
    actual: str
    fix: str | None = None
    on_the_hub: str | None = None
    severity: Severity | None = None
    file: str | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        """`Dockerfile:12`, `README.md`, or nothing."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file or ""

"""What a rule returns for each fault that it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding costs on the Hub, the worst first."""

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
    """A check can't come to a verdict, for a reason that is not the Space's; the message is the reason."""


@dataclass(frozen=True)
class Problem:
    """One fault, as the pure rules of this library return it.

    `fix` says more than the rule's own `Fix:` could, because it knows the case; so does
    `on_the_hub`. `severity`: None for the rule's own. `file`: relative to the Space's folder, with
    `line`, counted from 1, where the fault has a place in it.
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

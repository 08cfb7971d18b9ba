"""What a rule returns for each fault that it finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, as the pure rules of this library return it.

    `fix` says more than the rule's own `Fix:` could, because it knows the case. `on_the_hub` is
    how the Hub words it, where that is known.
    """

    expected: str
    actual: str
    fix: str | None = None
    on_the_hub: str | None = None

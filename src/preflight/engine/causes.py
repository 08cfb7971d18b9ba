"""The cause of a failed build or start, by its log: the table is causes.toml.

Standard library only: `preflight up` uses it before anything is installed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# Characters of a log that are searched: its end, in half a second.
LONGEST_LOG = 200_000


class Stage(StrEnum):
    BUILD = "build"
    START = "start"


@dataclass(frozen=True)
class Cause:
    """A pattern in a log, the cause, and the fix at each stage where it occurs."""

    pattern: str
    what: str
    at_build: str | None = None
    at_start: str | None = None
    name: str = ""

    def fix(self, stage: Stage) -> str | None:
        return self.at_build if stage is Stage.BUILD else self.at_start

    def found_in(self, text: str) -> bool:
        return re.search(self.pattern, text, re.I | re.M) is not None


def cause_in(text: str, stage: Stage) -> Cause | None:
    """The most specific cause of a failure at `stage`; None when no pattern matches the end of the log."""
    text = text[-LONGEST_LOG:]
    return next((cause for cause in CAUSES if cause.fix(stage) and cause.found_in(text)), None)


# Colours and other control sequences of a terminal. Source: ECMA-48, 5.4.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(text: str) -> str:
    """The text of a log without terminal escapes."""
    return _ESCAPES.sub("", text)


def last_lines(text: str, count: int) -> list[str]:
    """The last lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()][-count:]


def with_cause(
    last: Sequence[str], log: Sequence[str], count: int, cause: Cause | None
) -> list[str]:
    """At most `count` of the last lines; the line of `log` with the cause comes first if none of them has it.

    Standard and error output are interleaved, and a server prints on after its fault.
    """
    telling = [line for line in log if cause and cause.found_in(line)]
    if not telling or any(line in telling for line in last):
        return list(last)
    return [telling[-1], *last[1 - count :]]


def indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line[:300]}" for line in lines)


def _table() -> tuple[Cause, ...]:
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["cause"]
    return tuple(
        Cause(
            "|".join(cause["patterns"]),
            cause["what"],
            cause.get("at_build", cause.get("fix")),
            cause.get("at_start", cause.get("fix")),
            cause.get("name", ""),
        )
        for cause in listed
    )


CAUSES = _table()
_NAMED = {cause.name: cause for cause in CAUSES if cause.name}
NO_NETWORK, NO_NETWORK_AT_START = _NAMED["no network"], _NAMED["no network at the start"]
COMPOSE_SERVICE = _NAMED["compose service"]

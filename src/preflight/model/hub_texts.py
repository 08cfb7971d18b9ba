"""The Hub's messages about a Space that does not run, and their meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class HubText:
    """text: as the Hub shows it. stage: where. about: what it means. fix: what to do."""

    text: str
    pattern: str
    stage: str
    about: str
    fix: str


# Source: observed in the Hub's own records of 89 Docker Spaces, 2026-08, unless named.
TEXTS = (
    HubText(
        "Exit code: 1. Reason: …",
        r"Exit code: \d+\. Reason:",
        "RUNTIME_ERROR",
        "the process ended; the last 1,200 to 1,700 characters of the log follow",
        "`preflight check DIR` starts the Space in the same way and names the cause.",
    ),
    HubText(
        "Launch timed out, workload was not healthy after 30 min",
        r"workload was not healthy after",
        "RUNTIME_ERROR",
        "the container runs, and nothing answers on `app_port`",
        "See `start.serves`: another port, loopback alone, or too much work before it listens.",
    ),
    HubText(
        "Scheduling failure: unable to schedule",
        r"Scheduling failure",
        "RUNTIME_ERROR",
        "the platform found no machine; the Space is not the cause",
        "Restart the Space later, or choose other hardware.",
    ),
    HubText(
        "Flagged as abusive",
        r"Flagged as abusive",
        "PAUSED",
        "the Hub scans what runs: a search proxy, a VNC server, a tunnel or a proxy was found within minutes of a push",
        "Take the program out of the image, then write to the Hub's support; a restart does not help.",
    ),
    HubText(
        "Quota exceeded for flavor cpu-basic (requested=1): current=0, limit=0",
        r"Quota exceeded for flavor",
        "PAUSED",
        "the account has no plan that includes Docker Spaces (required since 2026-07-21)",
        "Choose a plan at huggingface.co/pricing, then restart the Space.",
    ),
    HubText(
        "402 Payment Required",
        r"\b402\b|Payment Required",
        "the API's answer",
        "the account may not create or restart a Docker Space: a plan is required since 2026-07-21",
        "Choose a plan at huggingface.co/pricing; pushing to a Space that exists may still work.",
    ),
)


def meaning_of(text: str) -> HubText | None:
    """The meaning of a text of the Hub; None when it is unknown."""
    return next((known for known in TEXTS if re.search(known.pattern, text)), None)

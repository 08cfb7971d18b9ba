"""The document of a run, preflight.json, from which every other output is made.

Its schema is docs/schema/preflight-1.json. A record is the result of one check of one Space;
`report` makes the records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from preflight.model.hub_profile import HUB
from preflight.model.policy import FILE, Policy
from preflight.model.problems import Severity

Record = dict[str, Any]
"""One entry of the document's `checks`."""

VERSION = 1
PACKAGE = "preflight-for-spaces"
HELD, FINDINGS, NOT_JUDGED, NOTHING = 0, 1, 2, 5
"""Exit codes. Nothing: there was nothing to judge."""

LIFE_CYCLE = [
    *("metadata", "push", "tree", "dockerfile", "build", "declaration", "image", "start", "edge"),
    *("frame", "page", "files", "environment", "health", "cors", "hour", "shutdown"),
]
"""The contract's modules, in the order of a Space's life."""
# If one of these does not hold, most other rules can't be judged.
FIRST = ["push.dockerfile_is_at_the_root", "image.builds", "start.serves"]


def document(
    records: Iterable[Record],
    policies: Mapping[str, Policy],
    folders: Mapping[str, Path | None],
    rules: Iterable[str],
) -> dict[str, Any]:
    """All results of a run.

    policies, folders: of each Space by its name. rules: the ids of all checks that exist.
    """
    checks = sorted(records, key=in_order)
    names = dict.fromkeys([*policies, *(check["space"] for check in checks)])
    known = set(rules)
    spaces = [
        space_entry(
            name,
            folders.get(name),
            policies.get(name, Policy()),
            [check for check in checks if check["space"] == name],
            known,
        )
        for name in names
    ]
    return {
        "version": VERSION,
        "tool": {"name": PACKAGE, "version": _metadata("Version")},
        "hub": HUB.profile,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "exit_code": exit_code(checks),
        "spaces": spaces,
        "checks": checks,
    }


def exit_code(records: Sequence[Record]) -> int:
    """0 all rules hold, 1 a finding of severity `fail-on` or higher, 2 a check could not judge, 5 nothing to judge."""
    if not records:
        return NOTHING
    if any(record["fails"] for record in records):
        return FINDINGS
    return NOT_JUDGED if any(record["outcome"] == "error" for record in records) else HELD


def space_entry(
    name: str, folder: Path | None, policy: Policy, records: Sequence[Record], rules: set[str]
) -> dict[str, Any]:
    """The counted results of one Space."""
    outcomes = Counter(record["outcome"] for record in records)
    counts = Counter(
        finding["severity"]
        for record in records
        for finding in record["findings"]
        if not finding["waived"]
    )
    fails = any(record["fails"] for record in records)
    return {
        "name": name,
        "folder": folder.as_posix() if folder else None,
        "verdict": "findings" if fails else "not judged" if outcomes["error"] else "held",
        "held": outcomes["held"],
        "found": outcomes["found"],
        "skipped": outcomes["skipped"],
        "not_judged": outcomes["error"],
        "findings": {str(severity): counts[severity] for severity in Severity},
        "waivers": [
            {"rule": rule, "reason": reason, "state": _state(rule, records, rules)}
            for rule, reason in policy.waivers.items()
        ],
    }


def _state(rule: str, records: Sequence[Record], rules: set[str]) -> str:
    """The state of a waiver: `used`, `unused` (it waived nothing), `no such rule`, or `not asked` (its rule was skipped)."""
    if rule not in rules:
        return "no such rule"
    own = [
        record for record in records if rule_of(record) == rule and record["outcome"] != "skipped"
    ]
    if not own:
        return "not asked"
    return "used" if any(record["findings"] for record in own) else "unused"


def waiver_notes(space: Mapping[str, Any]) -> list[str]:
    """A line for each waiver that waives nothing or names no rule."""
    meanings = {"unused": "waives nothing: delete it", "no such rule": "names no rule: preflight rules lists them"}  # fmt: skip
    return [
        f'{FILE}: "{waiver["rule"]}" {meanings[waiver["state"]]}'
        for waiver in space["waivers"]
        if waiver["state"] in meanings
    ]


def rule_of(record: Record) -> str:
    """The record's id without its parameters."""
    return str(record["id"]).partition("[")[0]


def in_order(record: Record) -> tuple[str, int, int]:
    """The sort key of records: first what stops a Space, then the order of its life."""
    rule = rule_of(record)
    at = FIRST.index(rule) if rule in FIRST else len(FIRST)
    return record["space"], at, position(rule)


def position(rule: str) -> int:
    """Where a rule's module comes in a Space's life."""
    module = rule.partition(".")[0]
    return LIFE_CYCLE.index(module) if module in LIFE_CYCLE else len(LIFE_CYCLE)


def findings(records: Iterable[Record], *, waived: bool = False) -> list[tuple[Record, Record]]:
    """Each finding with its record, the worst first. waived: only waived findings, instead of only the others."""
    order = list(Severity)
    found = [
        (record, finding)
        for record in records
        for finding in record["findings"]
        if bool(finding["waived"]) == waived
    ]
    return sorted(found, key=lambda pair: order.index(pair[1]["severity"]))


def place(finding: Record) -> str:
    """`Dockerfile:12`, `README.md`, or nothing."""
    if finding["file"] and finding["line"]:
        return f"{finding['file']}:{finding['line']}"
    return str(finding["file"] or "")


def rules_address() -> str | None:
    """The address of the published rule pages: the package's project URL `Rules`; None without it."""
    urls = _metadata_all("Project-URL")
    found = (url.partition(", ") for url in urls)
    return next((address.rstrip("/") for label, _, address in found if label == "Rules"), None)


def _metadata(name: str) -> str:
    return next(iter(_metadata_all(name)), "unknown")


def _metadata_all(name: str) -> list[str]:
    try:
        return list(metadata(PACKAGE).get_all(name) or [])
    except PackageNotFoundError:
        # Run from a checkout that was not installed.
        return []

"""The document of a run in formats for other programs: GitHub, GitLab, SARIF, JUnit, JSON."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as xml
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from preflight.model.problems import Severity
from preflight.pytest_plugin.document import PACKAGE, Record, findings, rule_of, rules_address

Document = Mapping[str, Any]

# The file of a finding that has no place, by module; otherwise the Dockerfile.
FILES = {"metadata": "README.md", "declaration": ".env.example", "environment": ".env.example"}


def as_json(document: Document) -> str:
    """The document itself; docs/schema/preflight-1.json is its schema."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_github(document: Document) -> str:
    """Workflow commands: an annotation at file and line for each finding.

    Source: docs.github.com, "Workflow commands for GitHub Actions".
    """
    levels = {Severity.BREAKS: "error", Severity.RISK: "warning", Severity.ADVICE: "notice"}
    lines = []
    for record, finding in findings(document["checks"]):
        file, line = located(document, record, finding)
        properties = {
            "file": file,
            "line": str(line),
            "title": f"{finding['severity']}: {record['id']}",
        }
        given = ",".join(f"{name}={_property(text)}" for name, text in properties.items())
        lines.append(
            f"::{levels[Severity(finding['severity'])]} {given}::{_data(message(record, finding))}"
        )
    for record in document["checks"]:
        if record["outcome"] == "error":
            text = _data(f"could not judge: {record['reason']}")
            lines.append(f"::error title={_property(record['id'])}::{text}")
    return "".join(f"{line}\n" for line in lines)


def github_summary(document: Document) -> str:
    """The step's summary: a table of the findings, in Markdown."""
    lines = []
    for space in document["spaces"]:
        lines += [f"### Preflight: {space['name']}: {space['verdict']}", ""]
        own = [check for check in document["checks"] if check["space"] == space["name"]]
        rows = [
            f"| {finding['severity']} | `{record['id']}` | {_cell(finding['actual'])} | {_cell(finding['fix'])} |"
            for record, finding in findings(own)
        ]
        rows += [
            f"| waived | `{record['id']}` | {_cell(finding['actual'])} | {_cell(finding['waived'])} |"
            for record, finding in findings(own, waived=True)
        ]
        if rows:
            head = ["| severity | rule | found | fix, or why it is waived |", "|---|---|---|---|"]
            lines += [*head, *rows, ""]
        lines += [f"{space['held']} checks held, {space['skipped']} not applicable.", ""]
    return "\n".join(lines)


def as_gitlab(document: Document) -> str:
    """A Code Quality report. Source: docs.gitlab.com, "Code Quality report format"."""
    levels = {Severity.BREAKS: "blocker", Severity.RISK: "major", Severity.ADVICE: "info"}
    entries = []
    for record, finding in findings(document["checks"]):
        file, line = located(document, record, finding)
        entries.append(
            {
                "description": message(record, finding),
                "check_name": record["id"],
                "fingerprint": fingerprint(record, finding),
                "severity": levels[Severity(finding["severity"])],
                "location": {"path": file, "lines": {"begin": line}},
            }
        )
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def as_sarif(document: Document) -> str:
    """A SARIF 2.1.0 log. Source: docs.oasis-open.org/sarif/sarif/v2.1.0; waivers are suppressions."""
    levels = {Severity.BREAKS: "error", Severity.RISK: "warning", Severity.ADVICE: "note"}
    pages = rules_address()
    rules: dict[str, dict[str, Any]] = {}
    for record in document["checks"]:
        rule = rule_of(record)
        text = f"{record['rule']}\n\nOn the Hub: {record['on_the_hub']}\n\nFix: {record['fix']}"
        rules[rule] = {
            "id": rule,
            "shortDescription": {"text": record["rule"]},
            "help": {"text": text, "markdown": text},
            "defaultConfiguration": {"level": levels[Severity(record["severity"])]},
            **({"helpUri": f"{pages}/{rule}.md"} if pages else {}),
        }
    results = []
    for waived in (False, True):
        for record, finding in findings(document["checks"], waived=waived):
            file, line = located(document, record, finding)
            result: dict[str, Any] = {
                "ruleId": rule_of(record),
                "level": levels[Severity(finding["severity"])],
                "message": {"text": message(record, finding)},
                "partialFingerprints": {"preflight/v1": fingerprint(record, finding)},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": file, "uriBaseId": "SRCROOT"},
                            "region": {"startLine": line},
                        }
                    }
                ],
            }
            if waived:
                result["suppressions"] = [{"kind": "external", "justification": finding["waived"]}]
            results.append(result)
    unjudged = [check for check in document["checks"] if check["outcome"] == "error"]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": PACKAGE,
                        "semanticVersion": document["tool"]["version"],
                        "rules": list(rules.values()),
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": not unjudged,
                        "exitCode": document["exit_code"],
                        "toolExecutionNotifications": [
                            {
                                "level": "error",
                                "message": {"text": f"{check['id']}: {check['reason']}"},
                            }
                            for check in unjudged
                        ],
                    }
                ],
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=1, ensure_ascii=False) + "\n"


def as_junit(document: Document) -> str:
    """A JUnit report: a suite for each Space, a case for each check."""
    suites = xml.Element("testsuites", name=PACKAGE)
    for space in document["spaces"]:
        own = [check for check in document["checks"] if check["space"] == space["name"]]
        suite = xml.SubElement(
            suites, "testsuite", name=space["name"], tests=str(len(own)), skipped=str(space["skipped"]),
            failures=str(sum(check["fails"] for check in own)), errors=str(space["not_judged"]),
        )  # fmt: skip
        for record in own:
            case = xml.SubElement(suite, "testcase", classname=space["name"], name=record["id"])
            text = "\n\n".join(message(record, finding) for finding in record["findings"])
            if record["fails"]:
                xml.SubElement(case, "failure", message=record["rule"]).text = text
            elif text:
                xml.SubElement(case, "system-out").text = text
            if record["outcome"] == "error":
                xml.SubElement(case, "error", message=record["reason"])
            if record["outcome"] == "skipped":
                xml.SubElement(case, "skipped", message=record["reason"])
    xml.indent(suites)
    return xml.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


FORMATS: dict[str, Callable[[Document], str]] = {
    "github": as_github,
    "gitlab": as_gitlab,
    "sarif": as_sarif,
    "json": as_json,
    "junit": as_junit,
}
FILES_OF_A_RUN = {
    "preflight.json": as_json,
    "preflight.sarif": as_sarif,
    "gitlab.json": as_gitlab,
    "preflight.xml": as_junit,
}
"""The files that each run writes to its report folder, besides the page."""


def message(record: Record, finding: Record) -> str:
    """A finding in plain text."""
    return (
        f"{record['rule']}\nFound: {finding['actual']}\nExpected: {finding['expected']}\n"
        f"On the Hub: {finding['on_the_hub']}\nFix: {finding['fix']}"
    )


def located(document: Document, record: Record, finding: Record) -> tuple[str, int]:
    """Path, relative to the folder where the run started, and line of a finding; without a place, its
    rule's file and line 1."""
    folders = {space["name"]: space["folder"] for space in document["spaces"]}
    module = str(record["id"]).partition(".")[0]
    file = finding["file"] or FILES.get(module, "Dockerfile")
    return (PurePosixPath(folders.get(record["space"]) or ".") / file).as_posix(), finding[
        "line"
    ] or 1


def fingerprint(record: Record, finding: Record) -> str:
    """A hash that is the same for the same finding in a later run, even if its line has moved."""
    parts: Iterable[str] = (record["space"], record["id"], finding["file"] or "", finding["actual"])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

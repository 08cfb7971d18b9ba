"""pytest plugin: makes a record for each contract check, and the run's document, page and verdict.

pytest's report carries each record in `user_properties` from xdist's workers to the controller. Only
the controller writes and prints.
"""

from __future__ import annotations

import json
import os
import traceback
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from preflight.contract import findings
from preflight.contract.findings import Rule, Violation
from preflight.engine.docker import DockerError
from preflight.model.policy import Policy
from preflight.model.problems import CannotJudge, Problem, Severity
from preflight.model.space import Space
from preflight.pytest_plugin import terminal
from preflight.pytest_plugin.document import Record, document, exit_code, position
from preflight.pytest_plugin.folders import report_folder
from preflight.pytest_plugin.formats import FILES_OF_A_RUN, FORMATS, github_summary
from preflight.pytest_plugin.reference import asked, rules_of
from preflight.pytest_plugin.running import run_of
from preflight.pytest_plugin.targets import SPACES

CONTRACT = terminal.CONTRACT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a contract check whose docstring lacks a paragraph. Sort the checks by the order of a
    Space's life, so that checks of the folder run before the build ends."""
    items.sort(key=lambda item: position(check_id(item)) if _is_contract(item) else -1)
    faults = []
    for item in items:
        if _is_contract(item):
            try:
                _rule(item)
            except ValueError as error:
                faults.append(f"{item.nodeid}: {error}")
    if faults:
        raise pytest.UsageError("\n".join(dict.fromkeys(faults)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    findings.current = findings.Notes()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Record the check's result. Only a finding of severity `fail-on` or higher fails a check."""
    report = yield
    if not _is_contract(item) or (call.when != "call" and report.passed):
        return report
    violation = call.excinfo.value if call.excinfo else None
    problems = list(findings.current.problems)
    if isinstance(violation, Violation):
        problems += violation.problems
    reason = _reason(item, report, call)
    record = _record(item, report, problems, isinstance(violation, Violation), reason)
    if record["outcome"] == "error":
        report.longrepr = f"could not judge {record['id']}: {reason}"
    if record["outcome"] == "found":
        # A stack trace would hide the finding.
        report.outcome = "failed" if record["fails"] else "passed"
        report.longrepr = finding(record) if record["fails"] else None
        if call.when == "setup" and not record["fails"]:
            # A fixture failed, so the check can't run.
            report.outcome, report.longrepr = "skipped", (str(item.path), 0, "it has findings")
    report.user_properties.append(("preflight", json.dumps(record)))
    return report


def _record(
    item: pytest.Item,
    report: pytest.TestReport,
    problems: list[Problem],
    violated: bool,
    reason: str,
) -> Record:
    """The result of one check, as an entry of preflight.json."""
    rule, space = _rule(item), _space(item)
    policy = space.policy if space else Policy()
    own = rule.severity_for(policy.conventions)
    fail_on = Severity(item.config.getoption("--fail-on") or policy.fail_on)
    waived = (
        None
        if item.config.getoption("--no-waivers")
        else policy.waivers.get(check_id(item).partition("[")[0])
    )
    severities = [problem.severity or own for problem in problems]
    found = [
        {
            "severity": severity,
            "expected": problem.expected,
            "actual": problem.actual,
            "on_the_hub": problem.on_the_hub or rule.on_the_hub,
            "fix": problem.fix or rule.fix,
            "file": problem.file,
            "line": problem.line,
            "waived": waived,
        }
        for problem, severity in zip(problems, severities, strict=True)
    ]
    if report.skipped:
        outcome = "skipped"
    elif report.failed and not violated:
        outcome = "error"
    else:
        outcome = "found" if found else "held"
    return {
        "id": check_id(item),
        "space": space.name if space else "all Spaces",
        "rule": rule.sentence,
        "severity": own,
        "on_the_hub": rule.on_the_hub,
        "fix": rule.fix,
        "outcome": outcome,
        "reason": reason if outcome in ("skipped", "error") else "",
        "fails": not waived and any(severity.reaches(fail_on) for severity in severities),
        "findings": found,
        "material": findings.current.material,
        "asked": asked(item.fixturenames) if isinstance(item, pytest.Function) else "",
        "shown": findings.current.shown,
    }


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(Collector(session.config), "preflight-collector")


class Collector:
    """Collects the records of all workers on the controller."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.records: dict[tuple[str, str], Record] = {}
        self.tests: Counter[str] = Counter()
        self.folder = report_folder(config)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self.tests[report.outcome] += 1
        for name, value in report.user_properties:
            if name == "preflight":
                record = json.loads(str(value))
                key = (record["space"], record["id"])
                # A failed tear-down must not hide the check's findings.
                if key not in self.records or self.records[key]["outcome"] == "held":
                    self.records[key] = record
                    if isinstance(self._reporter, terminal.Reporter):
                        self._reporter.found(record)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if not isinstance(self._reporter, terminal.Reporter):
            return
        # A stopped engine also stops a run. pytest reports Ctrl-C.
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if ended or session.shouldstop:
            session.exitstatus = exit_code(list(self.records.values()))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.records:
            return
        spaces = self.config.stash[SPACES]
        here = self.config.invocation_params.dir
        found = document(
            self.records.values(),
            {judged.name: judged.policy for judged in spaces},
            {judged.name: _relative(judged.working_folder, here) for judged in spaces},
            rules_of(CONTRACT),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, written in FILES_OF_A_RUN.items():
            (self.folder / name).write_text(written(found), encoding="utf-8")
        # Imported here: the template engine takes time to load, and no check needs it.
        from preflight.pytest_plugin import page

        alone = isinstance(terminalreporter, terminal.Reporter)
        at = page.write(self.folder, found, Counter() if alone else self.tests)
        if isinstance(terminalreporter, terminal.Reporter):
            self._print(terminalreporter, found, at)
        else:
            terminalreporter.section("preflight")
            for line in terminal.plain(found["checks"]):
                terminalreporter.line(line)
            for space in found["spaces"]:
                terminalreporter.line(f"{space['name']}: {terminal.verdict(space)}")
            terminalreporter.line(f"The page of this run: {at}")

    def _print(self, reporter: terminal.Reporter, found: dict[str, Any], at: Path) -> None:
        chosen = self.config.getoption("--format")
        if chosen == "text":
            reporter.summarise(found, at)
            return
        with self.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(FORMATS[chosen](found), end="", flush=True)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if chosen == "github" and summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(github_summary(found))

    @property
    def _reporter(self) -> object:
        return self.config.pluginmanager.getplugin("terminalreporter")


def _relative(folder: Path | None, to: Path) -> Path | None:
    if folder is None:
        return None
    return folder.relative_to(to) if folder.is_relative_to(to) else folder


PARTS = (
    *(("Severity", "severity"), ("Expected", "expected"), ("Actual", "actual")),
    *(("On the Hub", "on_the_hub"), ("Fix", "fix")),
)


def finding(record: Record) -> str:
    """A record's findings in plain text, for pytest's own report of a failed test."""
    rows = [("Space", record["space"]), ("Check", record["id"])]
    for label, key in PARTS:
        rows.append(
            (label, "\n".join(dict.fromkeys(finding[key] for finding in record["findings"])))
        )
    rows.append(("Written to", "\n".join(record["material"])))
    lines = []
    for label, text in rows:
        for number, line in enumerate(text.splitlines()):
            lines.append(f"{label if number == 0 else '':<11} {line}")
    return "\n".join(lines)


def check_id(item: pytest.Item) -> str:
    """`metadata.sdk_is_docker`, with the parameters other than the Space in brackets."""
    function = getattr(item, "originalname", item.name).removeprefix("test_")
    callspec = getattr(item, "callspec", None)
    others = [] if callspec is None else list(callspec._idlist)
    if callspec is not None and "space" in callspec.params:
        others = [other for other in others if other != callspec.params["space"].name]
    suffix = f"[{'-'.join(others)}]" if others else ""
    return f"{item.path.stem.removeprefix('test_')}.{function}{suffix}"


def _is_contract(item: pytest.Item) -> bool:
    return CONTRACT in item.path.parents


def _rule(item: pytest.Item) -> Rule:
    return Rule.of_docstring(getattr(getattr(item, "function", None), "__doc__", None))


def _space(item: pytest.Item) -> Space | None:
    callspec = getattr(item, "callspec", None)
    space = callspec.params.get("space") if callspec else None
    return space if isinstance(space, Space) else None


def _reason(item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    """Why a check was skipped or could not judge, in one line; a stack trace goes to the run's folder."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    if call.excinfo is None or isinstance(call.excinfo.value, Violation):
        return ""
    error = call.excinfo.value
    lines = str(error).strip().splitlines()
    if isinstance(error, (CannotJudge, DockerError)):
        return lines[0] if lines else "Docker failed and printed nothing"
    folder = run_of(item.config).folder
    folder.mkdir(parents=True, exist_ok=True)
    trace = folder / f"{check_id(item).replace('/', '-')}.trace.txt"
    trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    findings.current.material.append(str(trace))
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"

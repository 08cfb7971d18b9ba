"""pytest plugin: the verdicts of contract checks, as text for people and as data.

Each check's verdict travels as `user_properties` of pytest's own report, which reaches the
controller from xdist's workers and the JUnit file; the controller alone writes (preflight.json,
and index.html for people) and prints.

    python -m preflight.pytest_plugin.report     writes docs/troubleshooting.md from the checks' docstrings
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preflight.contract import findings
from preflight.contract.findings import Rule, Violation
from preflight.model.space import Space
from preflight.pytest_plugin import page
from preflight.pytest_plugin.folders import report_folder

CONTRACT = Path(__file__).resolve().parents[1] / "contract"
TROUBLESHOOTING = Path("docs") / "troubleshooting.md"

LIFE_CYCLE = [
    *("metadata", "push", "dockerfile", "declaration", "image", "start", "environment"),
    *("health", "cors", "shutdown", "isolation"),
]
"""The order of the contract's modules, which is that of a Space's life."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a contract check whose docstring does not say rule, symptom and fix."""
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
    report = yield
    if not _is_contract(item) or (call.when == "setup" and report.passed):
        return report
    if call.when == "teardown" and report.passed:
        return report
    rule = _rule(item)
    violation = call.excinfo.value if call.excinfo else None
    record: dict[str, Any] = {
        "id": check_id(item),
        "space": _space_name(item),
        "rule": rule.sentence,
        "expected": rule.sentence,
        "actual": "holds" if report.passed else _reason(report),
        "passed": report.passed,
        "outcome": "error" if report.failed and call.when != "call" else report.outcome,
        "fix": rule.fix,
        "symptom": rule.symptom,
        "warnings": findings.current.warnings,
        "material": findings.current.material,
        "asked": asked(item.fixturenames) if isinstance(item, pytest.Function) else "",
        "shown": findings.current.shown,
    }
    if isinstance(violation, Violation):
        record |= {"expected": violation.expected, "actual": violation.actual, "outcome": "failed"}
        record["fix"] = violation.fix or rule.fix
        record["symptom"] = violation.symptom or rule.symptom
        # The finding says all there is to say; a stack trace would bury it.
        report.longrepr = finding(record)
    report.user_properties.append(("preflight", json.dumps(record)))
    return report


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(Collector(session.config), "preflight-collector")


class Collector:
    """Gathers the verdicts of all workers on the controller."""

    def __init__(self, config: pytest.Config) -> None:
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        self.tests: Counter[str] = Counter()
        self.page: Path | None = None
        self.folder = report_folder(config)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self.tests[report.outcome] += 1
        for name, value in report.user_properties:
            if name == "preflight":
                record = json.loads(str(value))
                key = (record["space"], record["id"])
                # A failed tear-down must not hide what the check itself said.
                if key not in self.records or self.records[key]["passed"]:
                    self.records[key] = record

    def pytest_sessionfinish(self) -> None:
        if self.records:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(list(self.records.values()), indent=1, ensure_ascii=False)
            (self.folder / "preflight.json").write_text(text + "\n", encoding="utf-8")
            self.page = page.write(self.folder, list(self.records.values()), self.tests)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.records:
            return
        terminalreporter.section("preflight")
        for line in summary(list(self.records.values())):
            terminalreporter.line(line)
        terminalreporter.line(f"all of it, to look at: {self.page}")


def finding(record: dict[str, Any]) -> str:
    """The block that tells a user what is wrong, what it does on the Hub, and what to change."""
    rows = [
        ("Space", record["space"]),
        ("Check", record["id"]),
        ("Expected", record["expected"]),
        ("Actual", record["actual"]),
        ("On the Hub", record["symptom"]),
        ("Fix", record["fix"]),
        ("All of it", "\n".join(record["material"])),
    ]
    lines = []
    for label, text in rows:
        for number, line in enumerate(text.splitlines()):
            lines.append(f"{label if number == 0 else '':<11} {line}")
    return "\n".join(lines)


def summary(records: list[dict[str, Any]]) -> Iterator[str]:
    """One line per Space when all is well; otherwise also what failed. Skips always say why."""
    for space in dict.fromkeys(record["space"] for record in records):
        own = [record for record in records if record["space"] == space]
        bad = [one for one in own if not one["passed"] and one["outcome"] != "skipped"]
        skipped = Counter(one["actual"] for one in own if one["outcome"] == "skipped")
        warnings = [f"{one['id']}: {text}" for one in own for text in one["warnings"]]
        ran = len(own) - skipped.total()
        verdict = f"{len(bad)} of {ran} checks fail" if bad else f"{ran} checks hold"
        yield f"{space}: {verdict}, {len(warnings)} warnings, {skipped.total()} skipped"
        for record in bad:
            yield f"  {record['outcome']}: {record['id']}: {record['actual'].splitlines()[0]}"
        for warning in warnings:
            yield f"  warning: {warning}"
        for reason, count in skipped.items():
            yield f"  skipped: {count} x {reason}"


def asked(fixtures: Iterable[str]) -> str:
    """Where a check asks that takes these fixtures; empty for one that needs nothing running."""
    needed = set(fixtures)
    if needed & {"direct", "container", "pairs"}:
        return "at the Space's own port"
    return "at its port or through the edge" if "subject" in needed else ""


def check_id(item: pytest.Item) -> str:
    """`metadata.sdk_is_docker`, with the parameters other than the Space in brackets."""
    function = getattr(item, "originalname", item.name).removeprefix("test_")
    callspec = getattr(item, "callspec", None)
    others = [] if callspec is None else [one for one in callspec._idlist]
    if callspec is not None and "space" in callspec.params:
        others = [one for one in others if one != callspec.params["space"].name]
    suffix = f"[{'-'.join(others)}]" if others else ""
    return f"{item.path.stem.removeprefix('test_')}.{function}{suffix}"


def troubleshooting(contract: Path = CONTRACT) -> str:
    """docs/troubleshooting.md: each check's symptom, rule and fix, in the order of a Space's life."""
    modules = {path.stem.removeprefix("test_"): path for path in contract.glob("test_*.py")}
    known = [name for name in LIFE_CYCLE if name in modules]
    shared = ast.parse((contract / "conftest.py").read_text(encoding="utf-8"))
    lines = [
        "# Troubleshooting",
        "",
        "What the Hub shows, why, and what to change, in the order of a Space's life. Generated "
        "from the contract's checks by `python -m preflight.pytest_plugin.report`; edit their docstrings.",
    ]
    for name in [*known, *sorted(set(modules) - set(known))]:
        tree = ast.parse(modules[name].read_text(encoding="utf-8"))
        fixtures = _fixtures(shared) | _fixtures(tree)
        about = (ast.get_docstring(tree) or "").split("\n\n")[0]
        lines += ["", f"## {name.capitalize()}", "", " ".join(about.split())]
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                rule = Rule.of_docstring(ast.get_docstring(node))
                check = f"`{name}.{node.name.removeprefix('test_')}`"
                where = asked(_closure(_takes(node) | _marked(tree), fixtures))
                about = f"{check}, asked {where}" if where else check
                lines += ["", f"### {rule.symptom}", "", f"**Rule** ({about}): {rule.sentence}"]
                lines += ["", f"**Fix**: {rule.fix}"]
    return "\n".join(lines) + "\n"


def _fixtures(tree: ast.Module) -> dict[str, set[str]]:
    """The fixtures that a module defines, each with those that it takes."""
    return {
        node.name: _takes(node)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("fixture" in ast.unparse(one) for one in node.decorator_list)
    }


def _takes(function: ast.FunctionDef) -> set[str]:
    """The fixtures that a function takes, as arguments and by its marks."""
    marks = [one for mark in function.decorator_list for one in _names_in(mark)]
    return {one.arg for one in function.args.args} | set(marks)


def _marked(tree: ast.Module) -> set[str]:
    """The fixtures that the mark of a whole module asks for."""
    marks = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    return {name for mark in marks for name in _names_in(mark)}


def _names_in(mark: ast.expr) -> list[str]:
    """The names in `pytest.mark.usefixtures("name", …)`."""
    if not (isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("usefixtures")):
        return []
    return [str(one.value) for one in mark.args if isinstance(one, ast.Constant)]


def _closure(names: set[str], fixtures: dict[str, set[str]]) -> set[str]:
    """These fixtures and all that they take."""
    reached: set[str] = set()
    while left := names - reached:
        reached |= left
        names = names.union(*(fixtures.get(name, set()) for name in left))
    return reached


def _is_contract(item: pytest.Item) -> bool:
    return CONTRACT in item.path.parents


def _rule(item: pytest.Item) -> Rule:
    return Rule.of_docstring(getattr(getattr(item, "function", None), "__doc__", None))


def _space_name(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    space = callspec.params.get("space") if callspec else None
    return space.name if isinstance(space, Space) else "all Spaces"


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return report.longreprtext.strip().splitlines()[-1] if report.longreprtext.strip() else ""


if __name__ == "__main__":
    TROUBLESHOOTING.parent.mkdir(exist_ok=True)
    TROUBLESHOOTING.write_text(troubleshooting(), encoding="utf-8")

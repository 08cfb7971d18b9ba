"""pytest plugin: prints a run of the contract for people. Findings come first.

A finding of severity `breaks` is printed as soon as it is known. In a run of the contract alone, this
replaces pytest's reporter, whose dots, skips and stack traces belong to tests.
"""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from preflight.contract import __file__ as contract
from preflight.model.problems import Severity
from preflight.model.program import runnable
from preflight.pytest_plugin.document import (  # fmt: skip
    Record,
    findings,
    place,
    rule_of,
    rules_address,
    waiver_notes,
)

CONTRACT = Path(contract).resolve().parent
COLOURS = {Severity.BREAKS: "red", Severity.RISK: "yellow", Severity.ADVICE: "cyan"}
LABELS = 14
NARROWEST, WIDEST = 60, 110
SHOWN_REASONS = 3
SHOWN_LINES = 4


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not judges_alone(config):
        return
    standard = config.pluginmanager.getplugin("terminalreporter")
    if standard is None or hasattr(config, "workerinput"):
        return
    config.pluginmanager.unregister(standard)
    # Standard output is for the other program, so the text for people goes to standard error.
    file = sys.stderr if config.getoption("--format") != "text" else sys.stdout
    config.pluginmanager.register(Reporter(config, file), "terminalreporter")


def judges_alone(config: pytest.Config) -> bool:
    """Whether this run contains only the contract."""
    paths = [Path(arg.partition("::")[0]) for arg in config.args]
    resolved = [(config.invocation_params.dir / path).resolve() for path in paths]
    of_contract = [path == CONTRACT or CONTRACT in path.parents for path in resolved]
    return bool(of_contract) and all(of_contract) and not config.option.collectonly


class Reporter(TerminalReporter):  # type: ignore[misc]
    """Prints findings instead of tests.

    pytest marks its reporter as final, but has no other way to replace its output.
    """

    def __init__(self, config: pytest.Config, file: Any) -> None:
        super().__init__(config, file)
        self.printed: set[tuple[str, str]] = set()
        self.writer = Writer(self)

    def found(self, record: Record) -> None:
        """Print a record's findings now if they break the Space."""
        breaks = [
            finding for finding in record["findings"] if finding["severity"] == Severity.BREAKS
        ]
        if breaks and not breaks[0]["waived"] and self.config.getoption("--format") == "text":
            self.printed.add((record["space"], record["id"]))
            self.writer.finding(record, breaks)

    def summarise(self, document: Mapping[str, Any], page: Path | None) -> None:
        """Print the remaining findings and the verdict."""
        several = len(document["spaces"]) > 1
        for space in document["spaces"]:
            own = [check for check in document["checks"] if check["space"] == space["name"]]
            self.writer.space(space, own, self.printed, heading=several)
        if page:
            self.writer.line(f"The page of this run: {page}", dim=True)

    # These hooks suppress pytest's output about tests.
    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session
        if self.config.option.verbose > 0:
            self._write_report_lines_from_hooks(
                self.config.hook.pytest_report_header(config=self.config, start_path=self.startpath)
            )
        xdist = self.config.pluginmanager.getplugin("terminaldistreporter")
        if xdist:
            self.config.pluginmanager.unregister(xdist)

    def pytest_collection(self) -> None:
        pass

    def report_collect(self, final: bool = False) -> None:
        pass

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        pass

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        pass

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        pass

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        pass

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int | pytest.ExitCode
    ) -> Generator[None]:
        result = yield
        self.config.hook.pytest_terminal_summary(
            terminalreporter=self, exitstatus=exitstatus, config=self.config
        )
        for reason in (session.shouldfail, session.shouldstop):
            if reason:
                self.writer.line(str(reason), red=True)
        if exitstatus == pytest.ExitCode.INTERRUPTED and not session.shouldstop:
            self.writer.line("Stopped before the end: the findings above are incomplete.", red=True)
        return result

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        pass

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self) -> Generator[None]:
        self.summary_errors()
        return (yield)


class Writer:
    """Writes findings to a terminal, in its width and, if it supports them, in colours."""

    def __init__(self, reporter: TerminalReporter) -> None:
        self._out = reporter
        self._verbosity = reporter.config.option.verbose
        self._pages = rules_address()

    def line(self, text: str = "", **markup: bool) -> None:
        if "dim" in markup:
            markup = {"light": True}
        self._out.write_line(text, **markup)

    def finding(self, record: Record, found: Sequence[Record]) -> None:
        """Print a check's findings of one severity in full."""
        severity = Severity(found[0]["severity"])
        self._head(severity, record)
        self._part("", record["rule"])
        for label, key in (("Found", "actual"), ("On the Hub", "on_the_hub"), ("Fix", "fix")):
            texts = [
                self._placed(finding) if key == "actual" else finding[key] for finding in found
            ]
            self._part(label, runnable(_lines(texts)))
            if key == "actual":
                self._part("Expected", _lines(finding["expected"] for finding in found))
        self._part("Written to", "\n".join(record["material"]))
        self.line()

    def short(self, record: Record, found: Sequence[Record]) -> None:
        """Print a check's advice in about two lines."""
        self._head(Severity.ADVICE, record)
        self._part("", "; ".join(dict.fromkeys(self._placed(finding) for finding in found)))
        fixes = " ".join(dict.fromkeys(finding["fix"] for finding in found))
        self._part("", runnable(fixes), "→ ")

    def space(
        self,
        space: Mapping[str, Any],
        records: Sequence[Record],
        printed: set[tuple[str, str]],
        *,
        heading: bool,
    ) -> None:
        """Print all results of one Space that are not yet printed, and its verdict in one line."""
        for severity in Severity:
            grouped: dict[str, list[Record]] = {}
            of = {record["id"]: record for record in records}
            for record, finding in findings(records):
                if finding["severity"] == severity:
                    grouped.setdefault(record["id"], []).append(finding)
            for check, found in grouped.items():
                if severity == Severity.BREAKS and (space["name"], check) in printed:
                    continue
                if severity == Severity.ADVICE and self._verbosity <= 0:
                    if self._verbosity == 0:
                        self.short(of[check], found)
                else:
                    self.finding(of[check], found)
        for record, finding in findings(records, waived=True):
            self.line(f"waived   {record['id']}: {finding['actual'].splitlines()[0]}")
            self._part("", f"because {finding['waived']}")
        for note in waiver_notes(space):
            self.line(note, yellow=True)
        for record in records:
            if record["outcome"] == "error":
                self.line(f"could not judge {record['id']}: {record['reason']}", red=True)
                self._part("Written to", "\n".join(record["material"]))
        self._skips(records)
        for record in records if self._verbosity > 0 else ():
            if record["outcome"] == "held":
                self.line(f"held     {record['id']}: {record['rule']}", dim=True)
        name = f"{space['name']}: " if heading or space["name"] else ""
        colour = {"held": "green", "findings": "red", "not judged": "red"}[space["verdict"]]
        self.line(f"{name}{verdict(space)}", **{colour: True}, bold=True)

    def _skips(self, records: Sequence[Record]) -> None:
        reasons = Counter(
            skipped["reason"] for skipped in records if skipped["outcome"] == "skipped"
        )
        if self._verbosity > 0:
            for record in records:
                if record["outcome"] == "skipped":
                    self.line(f"skipped  {record['id']}: {record['reason']}", dim=True)
        elif reasons and self._verbosity == 0:
            shown = reasons.most_common(SHOWN_REASONS)
            parts = [f"{reason} x{count}" for reason, count in shown]
            if rest := reasons.total() - sum(count for _, count in shown):
                parts.append(f"{rest} more, which -v lists")
            self._part(
                "", "; ".join(parts), f"{plural(reasons.total(), 'check')} skipped: ", indent=0
            )

    def _head(self, severity: Severity, record: Record) -> None:
        self._out.write(f"{severity:<8}", bold=True, **{COLOURS[severity]: True})
        self._out.write(f" {self._linked(rule_of(record), record['id'])}", bold=True)
        self.line(f"   {record['space']}", dim=True)

    def _part(self, label: str, text: str, mark: str = "", indent: int = 2) -> None:
        if not text:
            return
        width = min(max(self._out._tw.fullwidth, NARROWEST), WIDEST)
        first = " " * indent + (f"{label:<{LABELS}}" if label else mark)
        rest = " " * (indent + (LABELS if label else 2 if mark or not indent else 0))
        for number, line in enumerate(text.splitlines()):
            start = first if number == 0 else rest
            folded = textwrap.wrap(
                line, width, initial_indent=start, subsequent_indent=rest,
                break_long_words=False, break_on_hyphens=False, drop_whitespace=True,
            )  # fmt: skip
            self._out.write_line("\n".join(folded or [start.rstrip()]))

    def _placed(self, finding: Record) -> str:
        return ": ".join(part for part in (place(finding), finding["actual"]) if part)

    def _linked(self, rule: str, text: str) -> str:
        """The rule's id; on a terminal, a link (OSC 8) to its page if the page has an address."""
        if not self._pages or not self._out.hasmarkup:
            return text
        return f"\033]8;;{self._pages}/{rule}.md\033\\{text}\033]8;;\033\\"


def verdict(space: Mapping[str, Any]) -> str:
    """The verdict on a Space, and how many checks had which outcome."""
    counts = [f"{count} {severity}" for severity, count in space["findings"].items() if count]
    parts = [plural(space["held"], "check") + " held"]
    if space["found"]:
        parts.append(
            f"{space['found']} found something" + (f" ({', '.join(counts)})" if counts else "")
        )
    if space["not_judged"]:
        parts.append(f"{space['not_judged']} could not judge")
    if space["skipped"]:
        parts.append(f"{space['skipped']} not applicable")
    words = {"held": "holds", "findings": "DOES NOT HOLD", "not judged": "COULD NOT BE JUDGED"}
    word = (
        words[space["verdict"]]
        if space["held"] or space["found"] or space["not_judged"]
        else "nothing was judged"
    )
    return f"{word}. {', '.join(parts)}."


def _lines(texts: Iterable[str]) -> str:
    """Each text once; of many, the first ones and how many the page has besides."""
    found = list(dict.fromkeys(texts))
    if len(found) > SHOWN_LINES + 1:
        found[SHOWN_LINES:] = [f"and {len(found) - SHOWN_LINES} more, which the page lists"]
    return "\n".join(found)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def plain(records: Sequence[Record]) -> Iterator[str]:
    """A line for each finding, for a run that contains other tests than the contract."""
    for record, finding in findings(records):
        if not record["fails"]:
            yield f"{finding['severity']}: {record['space']}: {record['id']}: {finding['actual'].splitlines()[0]}"

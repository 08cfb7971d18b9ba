"""The results of a run must come in the order of their weight, and each in its right words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preflight.contract import __file__ as contract
from preflight.engine import container as containers
from preflight.engine.container import Container
from preflight.model.problems import Severity
from preflight.pytest_plugin.document import LIFE_CYCLE, document, findings, in_order
from preflight.pytest_plugin.reference import entries
from preflight.pytest_plugin.terminal import verdict


def record(check: str, *severities: str, space: str = "mine") -> dict[str, Any]:
    """The record of one check with a finding of each severity."""
    found = [{"severity": severity, "waived": None} for severity in severities]
    return {"id": check, "space": space, "outcome": "found" if found else "held", "findings": found, "fails": False}  # fmt: skip


def test_what_stops_the_space_must_come_first() -> None:
    given = ["cors.allows", "metadata.colours_are_known", "start.serves", "image.builds"]
    ordered = sorted(map(record, given), key=in_order)
    assert [one["id"] for one in ordered] == [
        "image.builds",
        "start.serves",
        "metadata.colours_are_known",
        "cors.allows",
    ]


def test_advice_must_come_after_each_finding_that_may_break_the_space() -> None:
    given = [record("a.b", Severity.ADVICE, Severity.BREAKS), record("c.d", Severity.RISK)]
    shown = [finding["severity"] for _, finding in findings(given)]
    assert shown == [Severity.BREAKS, Severity.RISK, Severity.ADVICE]


def test_each_module_of_the_contract_must_have_its_place_in_the_order() -> None:
    modules = {path.stem.removeprefix("test_") for path in Path(contract).parent.glob("test_*.py")}
    assert modules == set(LIFE_CYCLE)


@pytest.mark.parametrize(("held", "words"), [(1, "1 check held"), (2, "2 checks held")])
def test_a_count_must_agree_with_its_noun(held: int, words: str) -> None:
    records = [record(f"start.rule_{number}") for number in range(held)]
    (space,) = document(records, {}, {}, [])["spaces"]
    assert verdict(space) == f"holds. {words}."


def test_a_rule_without_a_consequence_on_the_hub_must_be_advice() -> None:
    """What the Hub does not care about can't break a Space there, unless its owner chose to be strict."""
    harmless = [
        rule for entry in entries() if (rule := entry.rule).on_the_hub.startswith("nothing")
    ]
    assert harmless, "no rule speaks of a consequence elsewhere: delete this test"
    assert {rule.without_conventions for rule in harmless} == {Severity.ADVICE}


@pytest.mark.parametrize(
    ("load", "said"), [(0.5, ""), (4, ", for 240 s instead of 60: this machine is busy")]
)
def test_a_stretched_deadline_must_be_said(
    load: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who waits longer than on the Hub must read why."""
    waits: list[str] = []
    monkeypatch.setattr("os.getloadavg", lambda: (load * 2, 0, 0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(containers, "wait_until", lambda what, *_: waits.append(what))
    waiting = SimpleNamespace(name="mine", port=7860, _started=0)
    Container.wait_until_serving(waiting, "/", deadline=60)  # type: ignore[arg-type]
    assert waits == [f"mine: starting: waits for port 7860{said}"]

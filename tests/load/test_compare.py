"""The same load on two refs: what is a difference, and what is noise."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import pytest

from loadtests._compare import measure
from preflight.load.compare import (
    CannotCompare,
    Figures,
    Row,
    compare,
    of_reports,
    table,
    value_at,
)
from preflight.load.figures import three_digits

from .conftest import Bench

CHAT = "POST backend-py/chat"


def run(milliseconds: float, failures: int = 0) -> Figures:
    """Figures of one run whose latencies lie around a median."""
    spread = NormalDist(milliseconds, milliseconds / 4)
    exact = [spread.inv_cdf((number + 0.5) / 300) for number in range(300)]
    seen = Counter(three_digits(one) for one in exact)
    latencies = {f"{value:g}": count for value, count in seen.items()}
    return {CHAT: {"latencies": latencies, "samples": 300, "failures": failures}}


def change(old: Sequence[Figures], new: Sequence[Figures]) -> set[str]:
    return {row.change for row in compare(old, new)}


def test_noise_is_no_change() -> None:
    """Runs of one ref that differ by a third among each other."""
    noise = [10, 13, 11, 12, 10.5]
    shuffled = [11, 10, 12.5, 11.5, 13]
    assert change([run(ms) for ms in noise], [run(ms) for ms in shuffled]) == {"same"}


def test_slower_in_every_run_is_told() -> None:
    rows = compare([run(ms) for ms in (10, 13, 11)], [run(ms) for ms in (20, 19, 22)])
    assert {row.change for row in rows} == {"slower"}
    assert f"{CHAT}: p50 slower" in table(rows, "v1", "v2")
    assert change([run(20)] * 3, [run(10)] * 3) == {"faster"}


def test_a_certain_but_small_difference_is_nobodys_concern() -> None:
    assert change([run(100)] * 3, [run(104)] * 3) == {"same"}


def test_more_failures_are_worse_however_quick() -> None:
    assert change([run(10)] * 3, [run(5, failures=6)] * 3) == {"2.0% more fail"}


def test_nothing_in_common_can_not_be_compared() -> None:
    with pytest.raises(CannotCompare):
        compare([run(10)], [{"GET backend-py/": {}}])


def test_a_percentile_is_read_from_the_histogram() -> None:
    assert value_at({"1": 50, "2.5": 50}, 0.5) == 1
    assert value_at({"1": 49, "2.5": 51}, 0.5) == 2.5
    assert value_at({"150": 100}, 0.5) == 150


def reported(path: Path, figures: Figures, **differences: object) -> Path:
    """A load.json of one run."""
    machine = {"cpu": "a CPU", "cpus": 2, "calibration_ms": 2.0}
    rows = [{"name": name, "verdict": "held", **row} for name, row in figures.items()]
    report: dict[str, object] = {
        "verdict": "held",
        "reasons": [],
        "model": "closed",
        "arrivals": None,
    }
    report |= {"shape": "steady", "people": {"Caller": 10}, "machine": machine, "requests": rows}
    path.write_text(json.dumps(report | differences))
    return path


def test_two_reports_of_one_machine_tell_what_got_slower(tmp_path: Path) -> None:
    old = reported(tmp_path / "a.json", run(20))
    said = []
    for number, milliseconds in enumerate((20.5, 40, 10)):
        rows: list[Row] = of_reports(old, reported(tmp_path / f"{number}.json", run(milliseconds)))
        said.append({row.change for row in rows})
    assert said == [{"same"}, {"slower"}, {"faster"}]


@pytest.mark.parametrize(
    ("differences", "complaint"),
    [
        ({"machine": {"cpu": "another", "cpus": 2, "calibration_ms": 2.0}}, "another machine"),
        ({"machine": {"cpu": "a CPU", "cpus": 2, "calibration_ms": 3.0}}, "1.50 times as slow"),
        ({"people": {"Caller": 50}}, "people differs"),
        ({"model": "open"}, "model differs"),
        ({"verdict": "invalid", "reasons": ["why"]}, "invalid run: why"),
        ({"requests": []}, "no request was made in both"),
    ],
)
def test_reports_that_are_not_alike_are_not_compared(
    tmp_path: Path, differences: dict[str, object], complaint: str
) -> None:
    old = reported(tmp_path / "a.json", run(20))
    with pytest.raises(CannotCompare) as refusal:
        of_reports(old, reported(tmp_path / "b.json", run(20), **differences))
    assert complaint in str(refusal.value)


def test_what_is_no_report_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text("[]")
    with pytest.raises(CannotCompare, match=r"page\.json is not a load\.json"):
        of_reports(path, path)


@pytest.mark.thorough
def test_a_planted_slow_endpoint_is_found_and_its_own_like_is_not(bench: Bench) -> None:
    people = ["-u", 8, "-r", 8, "--tags", "backend-py"]
    sound, same, slow = (bench.stub(*faults) for faults in ((), (), ("--slow", "0.02")))
    equal = compare(*measure([*sound, *people], [*same, *people], 4, 5, bench.slo()))
    assert not [row for row in equal if row.worse], table(equal, "sound", "same")
    unequal = compare(*measure([*sound, *people], [*slow, *people], 3, 5, bench.slo()))
    worse = {row.name for row in unequal if row.worse}
    assert worse == {CHAT}, table(unequal, "sound", "slow")

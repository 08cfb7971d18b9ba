"""The comparison of two refs must distinguish a difference from noise."""

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
from tests.cli.documents import typed

from .conftest import Bench

CHAT = "POST backend-py/chat"


def run(milliseconds: float, failures: int = 0) -> Figures:
    """The figures of a run whose latencies spread around a median."""
    spread = NormalDist(milliseconds, milliseconds / 4)
    exact = [spread.inv_cdf((number + 0.5) / 300) for number in range(300)]
    seen = Counter(three_digits(value) for value in exact)
    latencies = {f"{value:g}": count for value, count in seen.items()}
    return {CHAT: {"latencies": latencies, "samples": 300, "failures": failures}}


def change(old: Sequence[Figures], new: Sequence[Figures]) -> set[str]:
    return {row.change for row in compare(old, new)}


def test_noise_must_not_count_as_a_change() -> None:
    """Equal runs that differ from each other by a third must count as "same"."""
    noise = [10, 13, 11, 12, 10.5]
    shuffled = [11, 10, 12.5, 11.5, 13]
    assert change([run(ms) for ms in noise], [run(ms) for ms in shuffled]) == {"same"}


def test_slower_in_every_run_must_be_reported() -> None:
    rows = compare([run(ms) for ms in (10, 13, 11)], [run(ms) for ms in (20, 19, 22)])
    assert {row.change for row in rows} == {"slower"}
    assert f"{CHAT}: p50 slower" in table(rows, "v1", "v2")
    assert change([run(20)] * 3, [run(10)] * 3) == {"faster"}


def test_a_certain_but_small_difference_must_count_as_same() -> None:
    assert change([run(100)] * 3, [run(104)] * 3) == {"same"}


def test_more_failures_must_be_worse_however_quick() -> None:
    assert change([run(10)] * 3, [run(5, failures=6)] * 3) == {"2.0% more fail"}


def test_runs_without_a_common_request_must_be_refused() -> None:
    with pytest.raises(CannotCompare):
        compare([run(10)], [{"GET backend-py/": {}}])


def test_a_percentile_must_be_read_from_the_histogram() -> None:
    assert value_at({"1": 50, "2.5": 50}, 0.5) == 1
    assert value_at({"1": 49, "2.5": 51}, 0.5) == 2.5
    assert value_at({"150": 100}, 0.5) == 150


def reported(path: Path, figures: Figures, **differences: object) -> Path:
    """Write the load.json of a run."""
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


def test_two_reports_of_one_machine_must_show_what_got_slower(tmp_path: Path) -> None:
    old = reported(tmp_path / "a.json", run(20))
    said = []
    for number, milliseconds in enumerate((20.5, 40, 10)):
        rows: list[Row] = of_reports(old, reported(tmp_path / f"{number}.json", run(milliseconds)))
        said.append({row.change for row in rows})
    assert said == [{"same"}, {"slower"}, {"faster"}]


def test_the_command_must_compare_two_reports(bench: Bench, tmp_path: Path) -> None:
    command = typed(
        "preflight load compare monday.json load.json",
        {
            "monday.json": str(reported(tmp_path / "monday.json", run(20))),
            "load.json": str(reported(tmp_path / "load.json", run(40))),
        },
    )
    compared = bench.types(command)
    assert compared.exit_code == 1, compared.output
    assert f"{CHAT}: p50 slower" in compared.output


@pytest.mark.parametrize(
    ("differences", "complaint"),
    [
        ({"machine": {"cpu": "another", "cpus": 2, "calibration_ms": 2.0}}, "different machines"),
        ({"machine": {"cpu": "a CPU", "cpus": 2, "calibration_ms": 3.0}}, "1.50 times as long"),
        ({"people": {"Caller": 50}}, "people differs"),
        ({"model": "open"}, "model differs"),
        ({"verdict": "invalid", "reasons": ["why"]}, "invalid run: why"),
        ({"requests": []}, "no request name has enough samples in both runs"),
    ],
)
def test_reports_with_differences_must_be_refused(
    tmp_path: Path, differences: dict[str, object], complaint: str
) -> None:
    old = reported(tmp_path / "a.json", run(20))
    with pytest.raises(CannotCompare) as refusal:
        of_reports(old, reported(tmp_path / "b.json", run(20), **differences))
    assert complaint in str(refusal.value)


def test_an_invalid_report_must_be_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text("[]")
    with pytest.raises(CannotCompare, match=r"page\.json is not a load\.json"):
        of_reports(path, path)


@pytest.mark.thorough
def test_a_planted_slow_endpoint_must_be_found_and_an_equal_must_not(bench: Bench) -> None:
    people = ["-u", 8, "-r", 8, "--tags", "backend-py"]
    sound, same, slow = (bench.stub(*faults) for faults in ((), (), ("--slow", "0.02")))
    equal = compare(*measure([*sound, *people], [*same, *people], 4, 5, bench.slo()))
    assert not [row for row in equal if row.worse], table(equal, "sound", "same")
    unequal = compare(*measure([*sound, *people], [*slow, *people], 3, 5, bench.slo()))
    worse = {row.name for row in unequal if row.worse}
    assert worse == {CHAT}, table(unequal, "sound", "slow")

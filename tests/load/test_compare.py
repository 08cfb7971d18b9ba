"""The same load on two refs: what is told apart, and what is noise."""

from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import pytest

from preflight.load.compare import CannotTell, Figures, compare, measure, table, value_at

from .conftest import Bench

CHAT = "POST backend-py/chat"


def run(milliseconds: float, failures: int = 0) -> Figures:
    """Figures of one run whose latencies lie around a median, as Locust rounds them."""
    spread = NormalDist(milliseconds, milliseconds / 4)
    exact = [spread.inv_cdf((number + 0.5) / 300) for number in range(300)]
    seen = Counter(round(one) if one < 100 else round(one, -1) for one in map(int, exact))
    latencies = {str(value): count for value, count in seen.items()}
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
    with pytest.raises(CannotTell):
        compare([run(10)], [{"GET backend-py/": {}}])


def test_a_percentile_lies_between_the_rounded_latencies() -> None:
    assert value_at({"1": 50, "2": 50}, 0.5) == 1.5
    assert value_at({"1": 25, "2": 50, "3": 25}, 0.5) == 2.0
    assert value_at({"150": 100}, 0.5) == 150


@pytest.mark.thorough
def test_a_planted_slow_endpoint_is_found_and_its_own_like_is_not(bench: Bench) -> None:
    people = ["-u", 8, "-r", 8, "--tags", "backend-py"]
    sound, same, slow = (bench.stub(*faults) for faults in ((), (), ("--slow", "0.02")))
    equal = compare(*measure([*sound, *people], [*same, *people], 4, 5, bench.slo()))
    assert not [row for row in equal if row.worse], table(equal, "sound", "same")
    unequal = compare(*measure([*sound, *people], [*slow, *people], 3, 5, bench.slo()))
    worse = {row.name for row in unequal if row.worse}
    assert worse == {CHAT}, table(unequal, "sound", "slow")

"""What slo.toml makes of a run."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from loadtests._report import junit, markdown, table
from loadtests._slo import Figures, Limits, Run, Slo, SloError, hopeless, judge, load, quantile

CHAT = "POST backend-py/chat"
LIMITS = Limits(cpu=0.9, late_ms=30, steal=0.1, busy=0.3)
SLOS = {CHAT: Slo(CHAT, "Reader", 50, 100, 200, 0.01, 20, 1, 0, "why not")}
GOOD = Figures(samples=200, latencies={10: 190, 90: 8, 150: 2})
RUN = Run(seconds=10, people={"Reader": 4}, figures={CHAT: GOOD})


def with_chat(**changes: object) -> Run:
    return replace(RUN, figures={CHAT: replace(GOOD, **changes)})  # type: ignore[arg-type]


def test_a_run_within_its_thresholds_is_held() -> None:
    verdict = judge(LIMITS, SLOS, RUN)
    assert (verdict.state, verdict.exit_code, verdict.reasons) == ("held", 0, [])


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (with_chat(latencies={60: 200}), "p50 60 ms > 50 ms"),
        (with_chat(latencies={10: 180, 110: 20}), "p95 110 ms > 100 ms"),
        (with_chat(latencies={10: 190, 210: 10}), "p99 210 ms > 200 ms"),
        (with_chat(failures=4, errors=("4 of: answered 500",)), "2.0% failed > 1.0% (4 of: answ"),
        (with_chat(limited=1), "1 answers 429"),
        (replace(RUN, seconds=300), "0.67 requests a second < 1"),
        (replace(RUN, figures={**RUN.figures, "GET backend-py/new": GOOD}), "does not know"),
    ],
)
def test_a_crossed_threshold_is_told(run: Run, reason: str) -> None:
    verdict = judge(LIMITS, SLOS, run)
    assert verdict.exit_code == 1
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]


def test_a_name_that_saw_no_request_crosses() -> None:
    other = replace(SLOS[CHAT], name="GET backend-py/old")
    verdict = judge(LIMITS, {**SLOS, other.name: other}, RUN)
    assert verdict.exit_code == 1
    assert verdict.reasons == ["GET backend-py/old: no request was made"]


def test_a_name_whose_people_were_not_chosen_is_left_out() -> None:
    other = replace(SLOS[CHAT], name="GET backend-node/", by="Visitor")
    verdict = judge(LIMITS, {**SLOS, other.name: other}, RUN)
    assert verdict.exit_code == 0
    assert [row.state for row in verdict.rows] == ["held", "not run"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (replace(RUN, figures={}), "no request was made"),
        (replace(RUN, people={"Reader": 4, "Visitor": 0}), "there was no Visitor"),
        (replace(RUN, cpu=0.95), "CPU-bound"),
        (replace(RUN, late_ms=45), "late (45 ms > 30 ms)"),
        (replace(RUN, steal=0.2), "the host took 20%"),
        (replace(RUN, busy=0.5), "other work: 50% of its CPU"),
        (replace(RUN, faults=("worker a was lost",)), "worker a was lost"),
        (with_chat(samples=19, latencies={10: 19}), "only 19 samples, 20 are needed"),
        (with_chat(failures=200, unanswered=200), "no request was answered"),
    ],
)
def test_an_invalid_run_is_never_called_slow(run: Run, reason: str) -> None:
    slow = {name: replace(f, latencies={900: f.samples}) for name, f in run.figures.items()}
    for figures in (run.figures, slow):
        verdict = judge(LIMITS, SLOS, replace(run, figures=figures))
        assert verdict.exit_code == 2
        assert reason in "\n".join(verdict.reasons)


def test_a_percentile_needs_a_sample_beyond_it() -> None:
    assert quantile({5: 99}, 0.99) is None
    assert quantile({5: 99, 900: 1}, 0.99) == 5
    assert quantile({5: 98, 900: 2}, 0.99) == 900


def test_a_run_ends_early_only_when_nothing_can_change_its_verdict() -> None:
    def after(seconds: float, failures: int) -> bool:
        seen = Figures(samples=100, failures=failures, latencies={10: 100})
        run = Run(seconds=seconds, people={"Reader": 4}, figures={CHAT: seen})
        return hopeless(SLOS, run, planned=30)

    # At twice the rate, 100 requests in 10 s become 500: five may fail.
    assert [after(10, failures) for failures in (5, 6)] == [False, True]
    assert not after(4, 100)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[generator]\ncpu = 1\nlate_ms = 1\nbusy = 1", "[generator] lacks steal"),
        ('["GET a/"]\nby = "Reader"', "the table [generator] is missing"),
        ("[generator]\ncpu = 1\nlate_ms = 1\nsteal = 1\nbusy = 1", "no request name has a table"),
        ("[generator]\ncpu = 1\nlate = 1", "[generator] has an unknown key late; known are cpu,"),
        ('[generator]\ncpu = "1"\nlate_ms = 1\nsteal = 1\nbusy = 1', "cpu must be a number, 0 or more"),
        ("[generator]\ncpu = -1\nlate_ms = 1\nsteal = 1\nbusy = 1", "cpu must be a number, 0 or more"),
        ("cpu = 1 2", "line 1"),
    ],
)
def test_a_faulty_slo_file_is_refused_by_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(text)
    with pytest.raises(SloError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert complaint in str(error.value)


def test_every_report_names_the_crossed_request_and_the_reason() -> None:
    verdict = judge(LIMITS, SLOS, with_chat(latencies={60: 200}))
    for report in (table(verdict), markdown(verdict)):
        assert f"{CHAT}: p50 60 ms > 50 ms" in report
    suite = xml.fromstring(junit(verdict))
    assert suite.attrib["failures"] == "1"
    failure = suite.find(f"testcase[@name='{CHAT}']/failure")
    assert failure is not None
    assert (failure.attrib["message"], failure.text) == ("p50 60 ms > 50 ms", "why not")


def test_junit_calls_an_invalid_run_an_error() -> None:
    suite = xml.fromstring(junit(judge(LIMITS, SLOS, replace(RUN, cpu=1))))
    assert (suite.attrib["errors"], suite.attrib["failures"]) == ("1", "0")

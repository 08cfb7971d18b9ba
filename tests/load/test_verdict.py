"""A run must get the verdict that slo.toml defines."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree as xml

import jsonschema
import pytest

from preflight.load.figures import (
    Arrivals,
    Figures,
    Generator,
    Run,
    quantile,
    since,
    three_digits,
)
from preflight.load.judge import capacities, hopeless, judge
from preflight.load.machine import calibrated
from preflight.load.report import data, junit, markdown, prometheus, table
from preflight.load.slo import Growth, Limits, Slo, SloError, Thresholds, Wake, load
from preflight.load.watch import Watched

CHAT = "POST backend-py/chat"
SLO = Slo(CHAT, "Reader", p50=50, p95=100, p99=200, samples=20, rate=1, why="why not")
LIMITS = Limits(cpu=0.9, late_ms=30, steal=0.1, busy=0.3)
THRESHOLDS = Thresholds(LIMITS, Growth(20, 20, 20, 20), Wake(60), {CHAT: SLO})
GOOD = Figures(samples=200, latencies={10: 190, 90: 8, 150: 2})
RUN = Run(seconds=10, people={"Reader": 4}, figures={CHAT: GOOD})


def and_also(slo: Slo) -> Thresholds:
    return replace(THRESHOLDS, slos={CHAT: SLO, slo.name: slo})


def with_chat(**changes: object) -> Run:
    return replace(RUN, figures={CHAT: replace(GOOD, **changes)})  # type: ignore[arg-type]


def test_a_run_within_its_thresholds_must_hold() -> None:
    verdict = judge(THRESHOLDS, RUN)
    assert (verdict.state, verdict.exit_code, verdict.reasons) == ("held", 0, [])


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (with_chat(latencies={60: 200}), "p50 60 ms > 50 ms"),
        (with_chat(latencies={10: 180, 110: 20}), "p95 110 ms > 100 ms"),
        (with_chat(latencies={10: 190, 210: 10}), "p99 210 ms > 200 ms"),
        (with_chat(failures=4, errors=("4 of: answered 500",)), "2.0% failed > 1.0% (4 of: answ"),
        (with_chat(limited=1), "1 responses 429"),
        (replace(RUN, seconds=300), "0.67 requests a second < 1"),
        (
            replace(RUN, growth={"backend-py": {"memory": 21}}),
            "backend-py: grows by 21 MB of memory",
        ),
        (
            replace(RUN, growth={"backend-py": {"disk": 21}}),
            "backend-py: grows by 21 MB on disk an",
        ),
        (
            replace(RUN, growth={"a": {"connections": 21}}),
            "a: grows by 21 connections an hour > 20",
        ),
        (replace(RUN, seconds=90, woke={"backend-py": 61}), "backend-py: woke after 61.0 s > 60 s"),
        (
            replace(RUN, figures={}, woke={"backend-py": None}),
            "backend-py: did not wake within 10 s",
        ),
        (
            replace(RUN, figures={**RUN.figures, "GET backend-py/new": GOOD}),
            "has no table for this name",
        ),
    ],
)
def test_a_crossed_threshold_must_be_reported(run: Run, reason: str) -> None:
    verdict = judge(THRESHOLDS, run)
    assert verdict.exit_code == 1
    assert len(verdict.reasons) == 1
    assert reason in verdict.reasons[0]


def test_the_rate_must_count_from_the_wake_on() -> None:
    slow = replace(RUN, seconds=210, woke={"backend-py": 20.0})
    assert judge(THRESHOLDS, slow).exit_code == 0
    assert judge(THRESHOLDS, slow).notes == ["backend-py woke after 20.0 s"]
    assert judge(THRESHOLDS, replace(slow, woke={})).exit_code == 1


def test_a_name_without_requests_must_make_the_run_invalid() -> None:
    other = replace(SLO, name="GET backend-py/old")
    verdict = judge(and_also(other), RUN)
    assert verdict.exit_code == 2
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("GET backend-py/old: no request was made")


def test_steps_after_a_failing_step_must_not_be_judged() -> None:
    later = replace(SLO, name="POST backend-py/later")
    verdict = judge(and_also(later), with_chat(failures=200))
    assert verdict.exit_code == 1
    assert [row.state for row in verdict.rows] == ["crossed", "not judged"]


def test_a_name_without_chosen_people_must_be_left_out() -> None:
    other = replace(SLO, name="GET backend-node/", by="Visitor")
    verdict = judge(and_also(other), RUN)
    assert verdict.exit_code == 0
    assert [row.state for row in verdict.rows] == ["held", "not run"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (replace(RUN, figures={}), "no request was made"),
        (replace(RUN, people={"Reader": 4, "Visitor": 0}), "there was no Visitor"),
        (replace(RUN, generators={"": Generator(cpu={95: 9})}), "CPU-bound"),
        (
            replace(RUN, generators={"a": Generator(), "b": Generator(late={45: 9})}),
            "late (45 ms > 30 ms)",
        ),
        (replace(RUN, steal=0.2), "the host took 20%"),
        (replace(RUN, busy=0.5), "other work: 50% of its CPU"),
        (replace(RUN, faults=("worker a was lost",)), "worker a was lost"),
        (with_chat(samples=99, latencies={10: 99}), "only 99 samples, p99 needs 100"),
        (replace(RUN, wanted=60), "only 4 of 60 people started"),
        (replace(RUN, wanted=4, complete=3), "all 4 people were active for only 3 s of 10 s"),
        (
            replace(RUN, arrivals=Arrivals("50 a second", due=500, dropped=6)),
            "the generator could not keep the rate: 6 of 500 arrivals found all 4 people waiting",
        ),
        (with_chat(failures=200, unanswered=200), "no request was answered"),
    ],
)
def test_an_invalid_run_must_never_be_called_slow(run: Run, reason: str) -> None:
    slow = {name: replace(f, latencies={900: f.samples}) for name, f in run.figures.items()}
    for figures in (run.figures, slow):
        verdict = judge(THRESHOLDS, replace(run, figures=figures))
        assert verdict.exit_code == 2
        assert reason in "\n".join(verdict.reasons)


def test_a_run_with_all_its_people_and_its_rate_must_be_judged() -> None:
    kept = replace(RUN, wanted=4, complete=9, arrivals=Arrivals("50 a second", due=500, dropped=5))
    assert judge(THRESHOLDS, kept).exit_code == 0


def test_a_space_that_died_must_cross_whatever_its_machine_did() -> None:
    verdict = judge(THRESHOLDS, replace(RUN, busy=1, died={"backend-py": 4.2}))
    assert verdict.exit_code == 1
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("backend-py: answered until second 4 and then no more")


def test_a_percentile_without_a_limit_must_not_be_judged() -> None:
    few = with_chat(samples=30, latencies={10: 28, 900: 2})
    slo = replace(SLO, p95=None, p99=None)
    assert judge(replace(THRESHOLDS, slos={CHAT: slo}), few).exit_code == 0
    assert judge(replace(THRESHOLDS, slos={CHAT: replace(slo, p95=100)}), few).exit_code == 1


def test_latencies_must_keep_three_digits() -> None:
    """Latencies must keep three digits: Locust's two would turn 1,849 ms into 1,800."""
    kept = [three_digits(ms) for ms in (0.0123, 9.876, 12.345, 123.45, 1849.0, 12345.0)]
    assert kept == [0.01, 9.88, 12.3, 123, 1850, 12300]
    assert quantile({1.0: 999}, 0.999) is None
    assert quantile({1.0: 998, 70.0: 2}, 0.999) == 70.0


def test_a_percentile_must_have_a_sample_beyond_it() -> None:
    assert quantile({5: 99}, 0.99) is None
    assert quantile({5: 99, 900: 1}, 0.99) == 5
    assert quantile({5: 98, 900: 2}, 0.99) == 900


def test_a_run_must_end_early_only_with_a_certain_verdict() -> None:
    def after(seconds: float, failures: int) -> bool:
        seen = Figures(samples=100, failures=failures, latencies={10: 100})
        run = Run(seconds=seconds, people={"Reader": 4}, figures={CHAT: seen})
        return hopeless(THRESHOLDS.slos, run, planned=30)

    # At twice the rate, 100 requests in 10 s become 500: five may fail.
    assert [after(10, failures) for failures in (5, 6)] == [False, True]
    assert not after(4, 100)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[generator]\ncpu = 1", 'no request name has a table; write one, such as ["GET /"]'),
        ('generator = 1\n["GET /"]', "generator must be a table"),
        ("[generator]\nlate = 1", "[generator] has an unknown key late; known are cpu,"),
        ('[generator]\ncpu = "1"', "[generator] cpu must be a number, 0 or more, not '1'"),
        ("[generator]\ncpu = -1", "[generator] cpu must be a number, 0 or more, not -1"),
        ('["GET /"]\nsamples = 1.5', "samples must be a whole number"),
        ('["GET /"]\nstream = 1', "stream must be true or false"),
        ('["GET /"]\npath = "x"', "path must start with /"),
        ('["POST /file"]\nupload = "none.bin"', "none.bin is missing"),
        ("[health]\np50 = 1", "[health] is not a request name"),
        ("cpu = 1 2", "line 1"),
    ],
)
def test_an_invalid_slo_file_must_be_refused_by_key(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(text)
    with pytest.raises(SloError) as error:
        load(path)
    assert str(path) in str(error.value)
    assert complaint in str(error.value)


def test_every_report_must_name_the_crossed_request_and_the_reason() -> None:
    verdict = judge(THRESHOLDS, with_chat(latencies={60: 200}))
    for report in (table(verdict), markdown(verdict)):
        assert f"{CHAT}: p50 60 ms > 50 ms" in report
    suite = xml.fromstring(junit(verdict))
    assert suite.attrib["failures"] == "1"
    failure = suite.find(f"testcase[@name='{CHAT}']/failure")
    assert failure is not None
    assert (failure.attrib["message"], failure.text) == ("p50 60 ms > 50 ms", "why not")


def test_every_report_must_name_its_target_and_its_model() -> None:
    targets = {"backend-py": "http://127.0.0.1:7861"}
    closed = judge(THRESHOLDS, replace(RUN, targets=targets))
    open_ = judge(THRESHOLDS, replace(RUN, targets=targets, arrivals=Arrivals("9 a second", 90, 0)))
    for report in (table, markdown, junit, data):
        assert "http://127.0.0.1:7861" in report(closed)
    for report in (table, markdown):
        assert "closed model" in report(closed)
        assert "open model (9 a second, latency from the intended start, 0 of 90" in report(open_)


def test_the_json_report_must_match_its_schema() -> None:
    schema = json.loads((files("preflight.load") / "report.schema.json").read_text())
    open_run = replace(RUN, arrivals=Arrivals("9 a second", 90, 0), targets={"": "http://a"})
    for verdict in (judge(THRESHOLDS, RUN), judge(THRESHOLDS, open_run)):
        report = json.loads(data(verdict, (), calibrated(), "steady"))
        jsonschema.validate(report, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**report, "verdict": "maybe"}, schema)


def test_the_prometheus_file_must_hold_the_figures() -> None:
    text = prometheus(judge(THRESHOLDS, with_chat(latencies={10.5: 200})), "steady")
    assert f'preflight_load_latency_seconds{{request="{CHAT}",quantile="0.5"}} 0.0105' in text
    assert 'preflight_load_verdict{shape="steady"} 0' in text
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+\{([a-z]+="[^"]*",?)+\} [0-9.e+-]+', line) for line in samples)


def test_junit_must_call_an_invalid_run_an_error() -> None:
    suite = xml.fromstring(junit(judge(THRESHOLDS, replace(RUN, busy=1))))
    assert (suite.attrib["errors"], suite.attrib["failures"]) == ("1", "0")


def test_a_step_run_must_report_the_rate_that_a_space_holds() -> None:
    def step(people: int, latency: int) -> Run:
        seen = Figures(samples=people * 100, latencies={latency: people * 100})
        return Run(seconds=10, people={"Reader": people}, figures={CHAT: seen})

    rising = [step(10, 5), step(15, 20), step(22, 300), step(33, 5)]
    words = "150 requests a second, 15 people; with 22 people POST backend-py/chat: p50 300 ms > 50"
    assert capacities(THRESHOLDS, rising)["backend-py"] == (f"{words} ms", True)
    assert capacities(THRESHOLDS, rising[:2])["backend-py"][1] is False


def test_a_part_of_a_run_must_hold_only_its_figures() -> None:
    then = replace(RUN, generators={"": Generator(late={1: 5})})
    more = replace(GOOD, samples=300, failures=3, latencies={10: 190, 90: 108, 150: 2})
    now = replace(RUN, seconds=15, figures={CHAT: more}, generators={"": Generator(late={1: 7})})
    part = since(now, then)
    assert part.seconds == 5
    assert part.figures[CHAT] == Figures(samples=100, failures=3, latencies={90: 100})
    assert part.generators[""].late == {1: 2}


def test_growth_must_be_a_trend_after_the_warm_up() -> None:
    space = Watched("backend-py", f"pid:{os.getpid()}")

    def growth(memory: Sequence[float]) -> dict[str, float]:
        space.seconds = [float(second) for second in range(60)]
        space.memory, space.files, space.disk = list(memory), [10] * 60, [0.0] * 60
        space.connections = [second // 2 for second in range(60)]
        return space.growth()

    warm_up_and_noise = [50 + min(second, 15) * 4 + second % 3 for second in range(60)]
    assert growth(warm_up_and_noise) == {
        "memory": 0.0,
        "files": 0.0,
        "connections": pytest.approx(1800, rel=0.01),
        "disk": 0.0,
    }
    assert growth([50 + second / 4 for second in range(60)])["memory"] == pytest.approx(900)

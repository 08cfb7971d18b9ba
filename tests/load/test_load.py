"""A short run against the stack."""

from collections.abc import Callable
from pathlib import Path

from preflight.container import Container

from .conftest import LoadRun


def test_both_spaces_answer_many_people_at_once(
    load_run: Callable[..., LoadRun],
    slo: Callable[..., Path],
    backend_py: Container,
    backend_node: Container,
) -> None:
    """`make load`, shorter and without latencies: other tests run beside it."""
    targets = ["--backend-py", backend_py.url, "--backend-node", backend_node.url]
    thresholds = slo(samples=1, p50=10000, p95=10000, p99=10000)
    run = load_run("-u", 10, "-r", 10, "-t", "12s", *targets, "--slo", thresholds)
    assert run.exit_code == 0, run.output

"""A short run against the stack: both Spaces hold what loadtests/slo.toml promises."""

from collections.abc import Callable

from preflight.container import Container

from .conftest import LoadRun


def test_both_spaces_hold_their_thresholds(
    load_run: Callable[..., LoadRun], backend_py: Container, backend_node: Container
) -> None:
    """`make load`, shorter."""
    targets = ["--backend-py", backend_py.url, "--backend-node", backend_node.url]
    run = load_run("--users", "10", "--spawn-rate", "10", "--run-time", "12s", *targets)
    assert run.exit_code == 0, run.output

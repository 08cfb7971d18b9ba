"""The environment matrix must stay quick enough to run before every push."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from preflight.engine.docker import docker
from preflight.engine.image import Image
from preflight.engine.matrix import cases, try_case
from preflight.engine.rehearsal import AT_ONCE
from preflight.engine.run import Run
from preflight.model.hub_profile import HUB
from preflight.model.space import Space

SECONDS_PER_CASE = 1.5


@pytest.mark.alone
def test_an_environment_case_must_be_quick(
    run: Run,
    own_spaces: dict[str, Space],
    image_of: Callable[[Space], Image],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A case (start, refuse, verdict) must take at most 1.5 s in parallel, and less than `docker compose up --wait` and `down` do."""
    space = own_spaces["backend-node"]
    assert space.declaration is not None
    chosen = [case for case in cases(space.declaration) if case.refused][:6]
    image = image_of(space)

    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(
            pool.map(lambda case: try_case(run, space, image, case, HUB.start_deadline), chosen)
        )
    ours = (time.monotonic() - began) / len(chosen)
    assert all(outcome.code for outcome in outcomes), (
        "a case did not refuse, so no refusal was timed"
    )

    # They run one after the other, so two measure as much as many.
    few = chosen[:2]
    began = time.monotonic()
    for number, case in enumerate(few):
        service = {"image": image.tag, "environment": case.environment, "labels": run.labels[1:]}
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({"services": {"space": service}}))
        project = ("compose", f"--file={path}", f"--project-name={run.id}-naive")
        docker(*project, "up", "--detach", "--wait", check=False)
        assert docker(*project, "logs").stdout, "Compose got no refusal"
        docker(*project, "down", "--timeout=0")
    naive = (time.monotonic() - began) / len(few)

    with capsys.disabled():
        print(f"\nenvironment case: {ours:.2f} s, one after the other with compose: {naive:.2f} s")
    assert ours <= SECONDS_PER_CASE
    assert ours < naive

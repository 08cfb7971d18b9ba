"""compose.yaml must pass each Space all variables that it declares, and none of the other's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from preflight.model.space import Space, spaces_of_compose

COMPOSE = Path(__file__).resolve().parents[2] / "compose.yaml"
# The Hub's variables, and the port inside the container, which compose.yaml maps.
NOT_PASSED = {"SYSTEM", "SPACE_HOST", "PORT"}


@pytest.mark.parametrize("service", spaces_of_compose(COMPOSE), ids=lambda service: service.name)
def test_every_declared_variable_can_be_set(service: Space) -> None:
    """A value that a user sets in `.env` must reach the Space that declares it, and only that Space."""
    passed = yaml.safe_load(COMPOSE.read_text())["services"][service.name]["environment"]
    assert service.declaration
    declared = {variable.name for variable in service.declaration.variables}
    assert set(passed) == declared - NOT_PASSED

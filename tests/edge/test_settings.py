"""Settings must be documented: Caddyfile, compose.yaml, the rehearsal's fields and docs/rehearsal.md agree."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import yaml

from preflight.model.hub_profile import Rehearsal

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "rehearsal.md").read_text()
# Set by the container's entrypoint from WAKE_SECONDS; the others belong to the Space or to `preflight serve`.
INNER = {"WAKE_UNTIL": "WAKE_SECONDS", "APP_PORT": None, "FRAMED": None, "FRAMED_AS": None}


def settings() -> dict[str, str]:
    """The settings of the Caddyfile with their defaults."""
    caddyfile = (ROOT / "src/preflight/engine/assets/edge/Caddyfile").read_text()
    found = dict(re.findall(r"\{\$(\w+):([^}]*)\}", re.sub(r"(?m)^\s*#.*$", "", caddyfile)))
    assert found, "the Caddyfile has no setting"
    return {
        name: default
        for inner, default in found.items()
        if (name := INNER.get(inner, inner)) is not None
    }


def test_the_guide_names_each_setting_of_the_edge_with_its_default() -> None:
    """docs/rehearsal.md must list each setting with its default."""
    for name, default in settings().items():
        listed = re.search(rf"`{name}`(?: = `([^`]*)`)?", GUIDE)
        assert listed, f"docs/rehearsal.md does not list {name}"
        assert listed.group(1) in (default, None), f"{name}: the Caddyfile's default is {default}"


def test_compose_passes_each_setting_of_the_edge() -> None:
    """`NAME=value make edge` must reach the edge for every setting, and for nothing else."""
    compose = yaml.safe_load(
        (ROOT / "compose.edge.yaml").read_text().replace("!reset", "").replace("!override", "")
    )
    assert set(compose["services"]["edge"]["environment"]) == set(settings())


def test_the_profile_page_names_each_field_that_a_run_can_set() -> None:
    """docs/hub-profile.md must list each field of the Hub's profile."""
    page = (ROOT / "docs" / "hub-profile.md").read_text()
    missing = {field.name for field in fields(Rehearsal)} - set(re.findall(r"`(\w+)`", page))
    assert not missing, f"docs/hub-profile.md does not list {missing}"

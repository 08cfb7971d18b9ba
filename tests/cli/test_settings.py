"""`push --set` must enter missing settings by name, after consent, without printing a value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from preflight.cli.hub import Refused, SpaceId
from preflight.cli.push import _enter_missing
from preflight.cli.settings import compare
from preflight.model.environment import EnvironmentDeclaration

if TYPE_CHECKING:
    from preflight.local_hub.box import HubInABox

SPACE = SpaceId("acme", "settings-to-enter")
DECLARATION = EnvironmentDeclaration.of_text(
    "# Key.\n# @required @sensitive\nKEY=\n\n# Mode.\n# @required @example=on\nMODE=\n"
)


@pytest.fixture
def created(hub: HubInABox, monkeypatch: pytest.MonkeyPatch) -> SpaceId:
    hub.api.create_repo(str(SPACE), repo_type="space", space_sdk="docker", exist_ok=True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    for module in ("settings",):
        monkeypatch.setattr(f"preflight.cli.{module}.HfApi", lambda: hub.api)
        monkeypatch.setattr(f"preflight.cli.{module}.get_token", lambda: "hf_any_token")
    return SPACE


def test_missing_names_must_be_entered_by_kind(
    created: SpaceId,
    hub: HubInABox,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / ".env").write_text("KEY=s3cret-value\n")
    monkeypatch.setenv("MODE", "on")
    report = compare(created, DECLARATION)
    assert report.missing == ["KEY", "MODE"]

    with patch("click.confirm", return_value=True):
        _enter_missing(tmp_path, report)

    assert set(hub.api.get_space_secrets(str(created))) == {"KEY"}
    assert hub.api.get_space_variables(str(created))["MODE"].value == "on"
    printed = capsys.readouterr().out
    assert "KEY as a Secret" in printed and "MODE as a Variable" in printed
    assert "s3cret-value" not in printed
    assert compare(created, DECLARATION).missing == []
    hub.api.delete_repo(str(created), repo_type="space")


def test_nothing_must_be_entered_without_consent(
    created: SpaceId, hub: HubInABox, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("KEY=s3cret-value\n")
    with (
        patch("click.confirm", return_value=False),
        pytest.raises(Refused, match="nothing was entered"),
    ):
        _enter_missing(tmp_path, compare(created, DECLARATION))
    assert not hub.api.get_space_secrets(str(created))
    hub.api.delete_repo(str(created), repo_type="space")

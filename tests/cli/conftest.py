"""A desk to push from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.desk import Desk


@pytest.fixture(scope="session")
def first_desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The original, which no test changes: each test has a copy."""
    return Desk.new(tmp_path_factory.mktemp("desk") / "the first desk")


@pytest.fixture
def desk(first_desk: Desk, tmp_path: Path) -> Desk:
    return first_desk.copy(tmp_path / "a desk")

"""A desk to push from."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploy.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "a desk")

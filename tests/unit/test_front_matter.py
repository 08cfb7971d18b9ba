"""A key that the Hub ignores must be reported with the key that was meant."""

from __future__ import annotations

import pytest

from preflight.model.frontmatter import FrontMatter
from preflight.rules.metadata import idle_key_problems


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("app-port: 8000", "Write `app_port`, or delete the line."),
        ("appPort: 8000", "Write `app_port`, or delete the line."),
        ("dockerfile: Dockerfile", "Delete `dockerfile`."),
        ("flavour: vanilla", "Delete `flavour`."),
    ],
)
def test_the_fix_must_name_the_known_key(line: str, fix: str) -> None:
    front = FrontMatter.of_readme(f"---\nsdk: docker\n{line}\n---\n".encode())
    (found,) = idle_key_problems(front)
    assert found.fix == fix

"""`pytest --space DIR --fix` must fix the mechanical faults of front matter, and change nothing else."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from preflight.model.frontmatter import FrontMatter
from preflight.rules.fixing import fixed

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = "FROM python:3.11-slim-bookworm\nEXPOSE 7860\n"
SOUND = """---
title: Signer   # what it does
emoji: 🖋️
colorFrom: indigo
sdk: docker
app_port: 7860
tags:
  - signatures
custom_headers:
  cross-origin-opener-policy: same-origin
---

# Signer\tand text
"""


@pytest.mark.parametrize(
    ("fault", "right"),
    [
        ("colorFrom: Indigo", "colorFrom: indigo"),
        ("colorFrom: GREY", "colorFrom: gray"),
        ('colorFrom: "Light Blue"', 'colorFrom: "Light Blue"'),
        ("colorFrom: orange", "colorFrom: orange"),
        ("colorfrom: red", "colorFrom: red"),
        ("color_from: Red", "colorFrom: red"),
        ("colour: red", "colour: red"),
        ("colorFrom:\tred", "colorFrom: red"),
        ("colorFrom:red", "colorFrom: red"),
        ('app_port: "8000"', "app_port: 8000"),
        ("app-port: 8000", "app_port: 8000"),
        ("app_port: eight", "app_port: eight"),
        ("app_port: 80", "app_port: 80"),
        ("pinned: yes", "pinned: true"),
        ('pinned: "False"', "pinned: false"),
        ("pinned: maybe", "pinned: maybe"),
        ("emoji: :rocket:", "emoji: 🚀"),
        ("emoji: rocket", "emoji: rocket"),
        ("title: 2048", 'title: "2048"'),
        ("title: Signer: the sequel", 'title: "Signer: the sequel"'),
        ('title: "Signer: the sequel"  # good', 'title: "Signer: the sequel"  # good'),
        ("license: MIT", "license: mit"),
        ("license: Apache 2.0", "license: apache-2.0"),
        ("license: my own", "license: my own"),
        ("suggested_hardware: CPU basic", "suggested_hardware: cpu-basic"),
        ("base_path: docs", "base_path: /docs"),
        ("short_description: " + "x" * 61, "short_description: " + "x" * 61),
        ("models: [a/b, c/d]", "models: [a/b, c/d]"),
        ("unknown: 'as it is'   # kept", "unknown: 'as it is'   # kept"),
    ],
)
def test_an_unambiguous_line_must_be_fixed(fault: str, right: str) -> None:
    before = f"---\nsdk: docker\n{fault}\n---\ntext\n"
    assert fixed(before.encode(), None).decode() == f"---\nsdk: docker\n{right}\n---\ntext\n"


@pytest.mark.parametrize("spelling", ["Docker", "DOCKER", "docker ", "dokcer", "doker", '"Docker"'])
def test_sdk_must_be_spelt_correctly(spelling: str) -> None:
    assert b"\nsdk: docker\n" in fixed(
        f"---\ntitle: A\nsdk: {spelling}\n---\n".encode(), DOCKERFILE
    )


@pytest.mark.parametrize("other", ["gradio", "static", "streamlit", "node"])
def test_another_sdk_must_stay(other: str) -> None:
    readme = f"---\nsdk: {other}\n---\n".encode()
    assert fixed(readme, DOCKERFILE) == readme


@pytest.mark.parametrize(
    ("before", "what"),
    [
        ("\ufeff" + SOUND, "byte order mark"),
        ("\n\n" + SOUND, "blank lines before the block"),
        (SOUND.replace("---\n", "--- \n", 1), "space behind the opening line"),
        ("\ufeff" + SOUND.replace("\n", "\r\n"), "byte order mark and CRLF"),
        (SOUND.replace("\n", "\r"), "CR"),
        (SOUND.replace("  - sig", "\t- sig").replace("  cross", "\tcross"), "tabs"),
        (SOUND.replace("sdk: docker\n", "sdk: docker\nsdk: docker\n"), "a line that stands twice"),
    ],
    ids=lambda value: value if "\n" not in value and "\r" not in value else "",
)
def test_the_block_must_become_readable_and_the_text_must_stay(before: str, what: str) -> None:
    assert fixed(before.encode(), DOCKERFILE).decode() == SOUND, what


def test_keys_from_the_dockerfile_must_be_added() -> None:
    result = fixed(b"---\ntitle: A\n---\n", DOCKERFILE.replace("7860", "8000"))
    assert result == b"---\ntitle: A\nsdk: docker\napp_port: 8000\n---\n"
    # Two ports are ambiguous, and the Hub does not accept 80.
    for exposed in ("EXPOSE 8000\nEXPOSE 9000\n", "EXPOSE 80\n", "EXPOSE $PORT\n"):
        assert b"app_port" not in fixed(b"---\nsdk: docker\n---\n", exposed)


@pytest.mark.parametrize(
    "readme",
    [
        SOUND.encode(),
        SOUND.replace("\n", "\r\n").encode(),
        b"",
        b"# No block\n",
        b"Text\n---\nsdk: Docker\n---\n",
        b"---\nsdk: Docker\n",
        b"---\nsdk: [Docker\n---\n",
        b"---\ntitle: \xff\nsdk: Docker\n---\n",
    ],
)
def test_sound_and_unfixable_text_must_stay(readme: bytes) -> None:
    assert fixed(readme, DOCKERFILE) == readme


def test_a_second_fix_must_change_nothing() -> None:
    once = fixed(SOUND.replace("\n", "\r\n").replace("indigo", "Indigo").encode(), DOCKERFILE)
    assert fixed(once, DOCKERFILE) == once
    assert FrontMatter.of_readme(once).values == FrontMatter.of_readme(SOUND.encode()).values


def test_the_option_must_print_the_difference_and_judge_the_result(tmp_path: Path) -> None:
    folder = tmp_path / "the space"
    folder.mkdir()
    readme = folder / "README.md"
    readme.write_bytes("\ufeff---\r\ncolorFrom: Blue\r\nsdk: Docker\r\n---\r\n".encode())
    (folder / "Dockerfile").write_text(DOCKERFILE)

    done = pytest_on(folder, "--fix")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "--- the space/README.md\n+++ the space/README.md" in done.stdout
    assert "-<BOM>---<CR>\n-colorFrom: Blue<CR>" in done.stdout
    assert "+colorFrom: blue\n+sdk: docker" in done.stdout
    assert readme.read_bytes() == b"---\ncolorFrom: blue\nsdk: docker\n---\n"


def test_the_printed_command_must_fix_what_it_names(tmp_path: Path) -> None:
    """A finding that `--fix` can correct must come with a command that does so, as a shell reads it."""
    folder = tmp_path / "the space"
    folder.mkdir()
    (folder / "README.md").write_text("---\nsdk: Docker\n---\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (command,) = re.findall(r"that --fix corrects: (.*)", pytest_on(folder).stdout)

    typed = f"{command} -k metadata --report-dir={shlex.quote(str(tmp_path))}"
    done = subprocess.run(typed, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert (folder / "README.md").read_text() == "---\nsdk: docker\n---\n", done.stderr


def test_a_commit_must_not_be_changed(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nsdk: Docker\n---\n")
    said = pytest_on(tmp_path, "--fix", "--ref=HEAD").stderr
    assert "write --space DIR --fix, without --ref" in said
    assert (tmp_path / "README.md").read_text() == "---\nsdk: Docker\n---\n"


def pytest_on(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            "src/preflight/contract/test_metadata.py",
            f"--space={folder}",
        ),
        *("-q", "-p", "no:cacheprovider", f"--junitxml={folder.parent / 'junit.xml'}"),
        *(f"--report-dir={folder.parent}", *options),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

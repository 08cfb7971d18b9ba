"""Texts must keep to docs/style.md, as far as a program can detect it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spaces import ROOT, added

WORDS = ROOT / "docs" / "style-words.txt"
# Licences, locks and data: their sentences come from elsewhere, or imitate users.
NOT_OURS = re.compile(
    r"LICENSE|requirements[\w-]*\.txt$|package-lock\.json$|style-words\.txt$|test_language\.py$|"
    r"\.(toml|json|svg|png|txt|tsv|csv|pdf|html\.gz)$|/books?/|/doubles/|docs/style\.md$"
)
PHRASES = {
    r"(?<![Tt]here )\bis no (?!longer|more|later|earlier|less|need)": "write `is not a …`, `is invalid` or `is absent`",
    r"\bRows? \d": "the table of rows is not in this repository; write the obligation",
    r"\bwhere to\?": "name the option that is missing",
}
# Subjects are checked from this commit on: earlier commits are older than the rule.
SUBJECTS_SINCE = "2e20ce4d23"
SUBJECT = re.compile(r"(?:[\w./ -]+: \S.*|Merge .*|Revert .*)")


def files() -> list[Path]:
    """Every text of the repository that was written here."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    users = tuple(f"{space}/" for space in added())
    found = [
        name for name in listed if name and not NOT_OURS.search(name) and not name.startswith(users)
    ]
    assert len(found) > 300
    return [ROOT / name for name in found if (ROOT / name).is_file()]


def test_texts_must_use_the_fields_words() -> None:
    """No text may have a word of docs/style-words.txt, which codespell reads instead of its own list."""
    command = [sys.executable, "-m", "codespell_lib", "-D", str(WORDS), "--quiet-level=35"]
    done = subprocess.run(
        [*command, *map(str, files())], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout.replace(f"{ROOT}/", "")


def test_the_word_list_must_work(tmp_path: Path) -> None:
    """A text with a listed word must be found; a sound text must pass."""
    command = [sys.executable, "-m", "codespell_lib", "-D", str(WORDS)]
    for text, code in (("Whoever mended it.\n", 65), ("The owner fixed it.\n", 0)):
        (tmp_path / "text.md").write_text(text)
        done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=30)
        assert done.returncode == code, done.stdout


@pytest.mark.parametrize("pattern", PHRASES)
def test_texts_must_not_use_a_phrase(pattern: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, f"{PHRASES[pattern]}:\n" + "\n".join(found)


def test_commit_subjects_must_keep_their_form() -> None:
    """Each subject must be `area: imperative summary`, at most 72 characters."""
    shown = subprocess.run(
        ["git", "log", "--format=%s", f"{SUBJECTS_SINCE}..HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if shown.returncode:
        pytest.skip("the history is incomplete: a shallow clone")
    wrong = [
        line for line in shown.stdout.splitlines() if len(line) > 72 or not SUBJECT.fullmatch(line)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("subject", "right"),
    [
        ("edge: forward the public host name", True),
        ("Merge branch 'main'", True),
        ("forwarding the host name", False),
        (f"edge: {'x' * 70}", False),
    ],
)
def test_the_form_of_a_subject_must_be_recognised(subject: str, right: bool) -> None:
    assert (len(subject) <= 72 and bool(SUBJECT.fullmatch(subject))) == right

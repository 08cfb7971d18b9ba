"""`evaluate` must measure the answers of a book and refuse questions that do not fit it."""

import io
from pathlib import Path

import pytest

from app.ingest import main

QUESTIONS = """questions = [
  { text = "Why does my boat leak?", gold = ["boats#why-does-my-boat-leak"] },
  { text = "what to do with sails in a storm", kind = "typo", gold = ["boats"] },
  { text = "and in a storm?", after = ["What are sails for?", "Wind."], gold = ["boats#sails"] },
  { text = "Why does my boat leak?", kind = "typo", gold = ["boats#sails"] },
  { text = "Who won the chess olympiad?", kind = "off-topic" },
  { text = "boat sails wind storm", kind = "off-topic" },
]
"""


def evaluate(index_path: Path, questions: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(questions))
    return main(["evaluate", "-", "--index", str(index_path)])


def test_prints_rates_and_what_was_wrong(
    index_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(index_path, QUESTIONS, monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {}
    for line in lines:
        if line.startswith("| "):
            name, *cells = line.strip("| ").split(" | ")
            rows[name] = cells
    assert rows["real"][:5] == ["2", "100%", "100%", "1.00", "0%"]
    # The section on leaks comes first, and the expected one is among the next.
    assert rows["typo"][0:2] == ["2", "50%"]
    assert rows["all with an answer"][0:2] == ["4", "75%"]
    assert "Off-topic questions answered: 1 of 2." in lines
    assert "- boat sails wind storm" in lines
    assert "- Who won the chess olympiad?" not in lines


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ('questions = [{ text = "x", gold = ["boats#gone"] }]', "'boats#gone' is not a section"),
        ('questions = [{ txet = "x" }]', "questions.0.text: Field required"),
        ("questions = []", "questions: List should have at least 1 item"),
        ("questions", "not TOML"),
    ],
)
def test_questions_that_do_not_fit_are_refused_in_one_line(
    questions: str,
    said: str,
    index_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(index_path, questions, monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("-: ") and said in line


def test_a_missing_index_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "-", "--index", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("--index: ")

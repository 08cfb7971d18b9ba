"""The parser of `.env.example` must read valid text, and name line, fault and fix of invalid text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError

TESTS = Path(__file__).resolve().parents[1]

BOOK = """\
# Prose may speak of @sensitive = a Secret, and of @required ones.

# Where answers come from.
# @required @type=enum(embedded, cloud) @example=embedded
MODE=

# Key of the upstream service.
# @required=forEq($MODE, cloud) @sensitive @type=string(minLength=20)
UPSTREAM_KEY=

# Session signing key.
# @required @sensitive @type=string(minLength=32) @sample=sample-for-this-machine-only-0123456789
SESSION_KEY=

# Seconds to wait. # @optional
# @type=number(min=0.5, max=60)
TIMEOUT=5

# Origins that may call.
# @example="https://a.example, https://b.example" # the second is for tests
CORS_ORIGINS=
"""


@pytest.fixture
def book() -> EnvironmentDeclaration:
    return EnvironmentDeclaration.of_text(BOOK)


def test_secrets_and_variables_must_be_distinguished(book: EnvironmentDeclaration) -> None:
    assert [secret.name for secret in book.secrets] == ["UPSTREAM_KEY", "SESSION_KEY"]
    assert [variable.name for variable in book.variables_public] == [
        "MODE",
        "TIMEOUT",
        "CORS_ORIGINS",
    ]
    assert book["CORS_ORIGINS"].example == "https://a.example, https://b.example"
    assert book["SESSION_KEY"].description == "Session signing key."
    assert book["SESSION_KEY"].line == 13


def test_a_valid_environment_must_honour_conditions(book: EnvironmentDeclaration) -> None:
    assert set(book.valid_environment()) == {"MODE", "SESSION_KEY", "CORS_ORIGINS"}
    assert set(book.valid_environment(MODE="cloud")) >= {"UPSTREAM_KEY"}


def test_secret_values_must_be_random_and_repeatable(book: EnvironmentDeclaration) -> None:
    first, again, other = (book.valid_environment(seed)["SESSION_KEY"] for seed in (1, 1, 2))
    assert first == again != other
    assert book["SESSION_KEY"].accepts(first)


def test_the_matrix_must_have_each_fault_and_its_twin(book: EnvironmentDeclaration) -> None:
    cases = {case.id: case for case in book.faulty_cases(book["SESSION_KEY"])}
    refused = {name for name, case in cases.items() if case.refused}
    assert refused == {"unset", "empty", "blank", "too-short", "sample-on-the-hub"}
    assert set(cases) - refused == {"valid", "shortest", "sample-here"}
    assert len(cases["too-short"].environment["SESSION_KEY"]) == 31
    assert len(cases["shortest"].environment["SESSION_KEY"]) == 32
    assert all(cases[name].names_expected == ("SESSION_KEY",) for name in refused)


def test_the_matrix_must_set_the_condition_of_a_variable(book: EnvironmentDeclaration) -> None:
    cases = {case.id: case for case in book.faulty_cases(book["UPSTREAM_KEY"])}
    assert cases["unset"].refused and cases["unset"].environment["MODE"] == "cloud"
    elsewhere = cases["unset-where-not-required"]
    assert not elsewhere.refused and elsewhere.environment["MODE"] == "embedded"


def test_a_group_of_variables_must_be_complete_or_absent() -> None:
    mail = EnvironmentDeclaration.of_text(
        "# Sends mail.\n# @type=url @example=https://mail.example.com\nMAIL_URL=\n"
        "# @sensitive @required=not(isEmpty($MAIL_URL))\nMAIL_KEY=\n"
    )
    assert mail["MAIL_KEY"].description == "Sends mail."
    url = {case.id: case for case in mail.faulty_cases(mail["MAIL_URL"])}
    assert not url["unset"].refused and url["unset"].environment == {}
    key = {case.id: case for case in mail.faulty_cases(mail["MAIL_KEY"])}
    assert key["unset"].refused and set(key["unset"].environment) == {"MAIL_URL"}
    assert key["unset-where-not-required"].environment == {}


def test_optional_variable_may_be_empty_and_not_malformed(book: EnvironmentDeclaration) -> None:
    refused = {case.id for case in book.faulty_cases(book["TIMEOUT"]) if case.refused}
    assert refused == {"not-a-number", "too-low", "too-high"}


def test_an_empty_environment_must_name_every_required_variable(
    book: EnvironmentDeclaration,
) -> None:
    assert book.everything_missing().names_expected == ("MODE", "SESSION_KEY")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# @requird\nA=", ":1: @requird is not a known decorator; did you mean @required?"),
        ("# @required\nA=\n# B\nA=", ":4: A is declared again (first in line 2)"),
        ("# @type=strng\nA=", ":1: @type=strng is not a known type; did you mean string?"),
        ("# @type=string(minLen=3)\nA=", ":1: @type=string takes"),
        ("# @type=string(minLength=x)\nA=", ":1: @type=string: minLength=x is not a whole number"),
        ("# @type=enum\nA=", ":1: @type=enum needs its members"),
        ("# @type=number(min=1\nA=", ":1: @type cannot be read: it has an opening ("),
        ("# @type=port @example=abc\nA=", ":1: A: its @example 'abc' is not valid"),
        ("# @required=sometimes\nA=", ":1: @required=sometimes is not known"),
        ("# @required=forEq($B, x)\nA=", ":2: A is required when B is x, and B is not declared"),
        ("# @required @optional\nA=", ":1: A is both @required and @optional"),
        ("# @sensitive\n\nA=", ":1: @sensitive stands above no variable"),
        ("# @example=two words\nA=", ":1: 'words' follows @example; quote a value"),
        ("# @required\nA=\nno binding", ":3: 'no binding' is not a `NAME=value` line"),
        ("# @required\nA=\n2B=1", ":3: '2B' is not a valid name"),
        ("# @sensitive @type=port\nA=secret", ":2: A: its value is not valid"),
    ],
)
def test_a_fault_must_be_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(EnvironmentDeclarationError) as caught:
        EnvironmentDeclaration.of_text(text)
    assert f".env.example{message}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_all_faults_must_be_named_at_once() -> None:
    with pytest.raises(EnvironmentDeclarationError) as caught:
        EnvironmentDeclaration.of_text("# @requird\nA=\n# @type=strng\nB=\nC\n")
    assert [fault.line for fault in caught.value.faults] == [1, 3, 5]


def test_a_plain_list_of_names_must_promise_nothing() -> None:
    declaration = EnvironmentDeclaration.of_text("# see the wiki\nKEY=abc\nHOST=\nnonsense here\n")
    assert not declaration.decorated
    assert declaration.valid_environment() == {"KEY": "abc"}
    assert not any(case.refused for case in declaration.faulty_cases(declaration["KEY"]))


def run_table(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "preflight", "settings", str(folder)],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_the_table_must_list_the_settings_to_enter(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(BOOK)
    done = run_table(tmp_path)
    assert done.returncode == 0
    rows = [[cell.strip() for cell in row.split("|")[1:4]] for row in done.stdout.splitlines()]
    assert ["`UPSTREAM_KEY`", "Secret", "when MODE is cloud"] in rows
    assert ["`CORS_ORIGINS`", "Variable", "no"] in rows


def test_the_table_of_a_folder_without_declaration_must_be_an_error(tmp_path: Path) -> None:
    done = run_table(tmp_path)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr and "Traceback" not in done.stderr
